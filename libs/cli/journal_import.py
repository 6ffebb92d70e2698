"""A whole journal into a ledger: currencies, accounts, entries, and the proof that every balance is as expected."""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from libs.cli import books, output
from libs.cli.beancount_journal import ConvertedJournal, entry_line
from libs.cli.books import Difference, Posted
from libs.cli.client import Client
from libs.cli.exits import Ended, Exit
from libs.common.journal import LedgerRequest

_SHOWN_MAX = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """What an import did. `balances_compared` is 0 where the file says nothing about balances."""

    sent: int
    posted: Posted
    accounts_opened: int = 0
    zero_lines_dropped: int = 0
    empty_entries_dropped: int = 0
    balances_compared: int = 0
    differences: Sequence[Difference] = field(default_factory=tuple)

    def sentence(self) -> str:
        """The outcome for a person."""
        posted = output.counted(self.posted.new, "entry", "entries")
        said = [f"{posted} posted, {self.posted.already_there} were there already."]
        if self.zero_lines_dropped:
            lines = output.counted(self.zero_lines_dropped, "line", "lines")
            entries = output.counted(self.empty_entries_dropped, "entry", "entries")
            said.append(f"{lines} of amount zero left out, and {entries} of nothing else.")
        if self.balances_compared:
            equal = self.balances_compared - len(self.differences)
            said.append(f"{equal} of {self.balances_compared} balances equal beancount's own.")
        return "\n".join(said)

    def require_whole(self) -> None:
        """Raises Ended where an entry was rejected or got no answer, and (exit code 4) where a balance differs."""
        posted = self.posted
        if posted.rejected_count:
            shown = "\n".join(
                f"  line {row['index'] + 1}: {row.get('code')}: {row.get('detail')}" for row in posted.rejected
            )
            raise Ended(f"{posted.rejected_count} of {self.sent} entries were rejected:\n{shown}")
        if posted.total != self.sent:
            raise Ended(f"{self.sent} entries were sent and {posted.total} results came back; import the file again.")
        if self.differences:
            shown = "\n".join(
                f"  {wrong.code}: {wrong.found}, beancount says {wrong.expected} {wrong.currency}"
                for wrong in self.differences[:_SHOWN_MAX]
            )
            raise Ended(f"{len(self.differences)} balances differ:\n{shown}", Exit.BOOKS_DIFFER)


async def import_journal(client: Client, ledger: str, journal: ConvertedJournal) -> Imported:
    """Takes over a converted journal; opens its ledger where it does not exist. What was rejected is in the result."""
    name = journal.title[:200] or ledger
    await books.ensure_ledger(
        client, LedgerRequest(code=ledger, name=name, functional_currency=journal.functional_currency)
    )
    await books.ensure_currencies(client, journal.currencies)
    opened = await books.open_accounts(client, ledger, journal.accounts)
    count = len(journal.entries)
    with output.progress(f"posting {count} entries", count) as advance:
        posted = await books.post_entries(
            client,
            ledger,
            lambda: map(entry_line, journal.entries),
            f"beancount-{journal.digest[:40]}",
            ids_name_content=True,
            advance=advance,
        )
    is_whole = posted.total == count and not posted.rejected_count
    return Imported(
        sent=count,
        posted=posted,
        accounts_opened=opened,
        zero_lines_dropped=journal.zero_lines_dropped,
        empty_entries_dropped=journal.empty_entries_dropped,
        balances_compared=len(journal.balances) if is_whole else 0,
        differences=await books.differences(client, ledger, journal.balances) if is_whole else (),
    )


async def import_lines(client: Client, ledger: str, path: Path) -> Imported:
    """Posts a file of NDJSON entries. The key is the file's digest: the same file twice posts nothing twice."""
    digest, count = await asyncio.to_thread(_digest_and_count, path)
    with output.progress(f"posting {count} entries", count) as advance:
        posted = await books.post_entries(client, ledger, lambda: _lines(path), f"file-{digest[:40]}", advance=advance)
    return Imported(sent=count, posted=posted)


def _lines(path: Path) -> Iterator[bytes]:
    """The file's lines, empty ones left out, each with its end."""
    with path.open("rb") as file:
        for line in file:
            if stripped := line.strip():
                yield stripped + b"\n"


def _digest_and_count(path: Path) -> tuple[str, int]:
    digest, count = sha256(), 0
    for line in _lines(path):
        digest.update(line)
        count += 1
    return digest.hexdigest(), count
