"""A file into a ledger: what the ledger reads itself is sent to it whole; a beancount journal of another program goes
through beancount's own loader first and brings the proof that every balance is as beancount computes it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from libs.cli import books, output
from libs.cli.beancount_journal import ConvertedJournal, entry_line
from libs.cli.books import Difference, Posted
from libs.cli.client import Client
from libs.cli.exits import Ended, Exit
from libs.common.journal import LedgerRequest

FORMATS: Final = ("auto", "ndjson", "hledger", "beancount", "beancount-loader", "accounts-csv", "accounts-json")

_SHOWN_MAX = 20
_PIECE_BYTES = 64 * 1024
_MARK = b"; ledgerbus journal 1"
_SUFFIXES: Final = {
    ".ndjson": "ndjson", ".jsonl": "ndjson", ".journal": "hledger", ".hledger": "hledger", ".j": "hledger",
    ".beancount": "beancount", ".bean": "beancount", ".csv": "accounts-csv", ".json": "accounts-json",
}  # fmt: skip


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
    left_out: Mapping[str, int] = field(default_factory=dict)
    is_refused: bool = False
    checked: int = 0

    def sentence(self) -> str:
        """The outcome for a person."""
        if self.checked:
            return f"{output.counted(self.checked, 'entry', 'entries')} checked, nothing was posted."
        posted = output.counted(self.posted.new, "entry", "entries")
        said = [f"{posted} posted, {self.posted.already_there} were there already."]
        if self.accounts_opened:
            said.append(f"{output.counted(self.accounts_opened, 'account', 'accounts')} opened.")
        if self.left_out:
            said.append(f"Left out: {', '.join(f'{count} x {what}' for what, count in self.left_out.items())}.")
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
                f"  line {row.get('line', row['index'] + 1)}: {row.get('code')}: {row.get('detail')}"
                for row in posted.rejected
            )
            if self.is_refused:
                raise Ended(f"Nothing was posted, because of {posted.rejected_count} faults in the file:\n{shown}")
            raise Ended(f"{posted.rejected_count} of {self.sent} entries were rejected:\n{shown}")
        if posted.total != self.sent and not self.checked:
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


async def take_over(client: Client, ledger: str, path: Path, format_: str, *, dry_run: bool = False) -> Imported:
    """Lets the ledger take a file over; it knows by each entry's id or content what it has already."""
    posted, opened, faults, summary = Posted(), 0, [], dict[str, Any]()
    with output.progress(f"importing {path.name}", None) as advance:
        async for result in client.bulk(
            f"/ledgers/{ledger}/import/{format_}",
            lambda: _pieces(path),
            key=None,
            parameters={"dry_run": str(dry_run).lower()},
            content_type="application/octet-stream",
        ):
            status, is_account = result["status"], "account" in result
            if "line" not in result:
                summary = result
            elif status == "rejected":
                faults.append(result)
            elif is_account:
                opened += status == "opened"
            else:
                posted.new += status == "posted"
                posted.already_there += status == "unchanged"
            advance(result["index"] + 1)
    posted.rejected_count, posted.rejected = summary.get("faults", len(faults)), faults[:_SHOWN_MAX]
    return Imported(
        sent=posted.total or sum(summary["entries"].values()),
        posted=posted,
        accounts_opened=opened,
        left_out=summary["left_out"],
        is_refused=summary["status"] == "refused",
        checked=sum(summary["entries"].values()) if dry_run else 0,
    )


def format_of(path: Path) -> str:
    """The format a file seems to have. Raises Ended where its name says none."""
    with path.open("rb") as file:
        is_ours = file.readline(200).strip() == _MARK
    format_ = _SUFFIXES.get(path.suffix.lower())
    if format_ is None:
        raise Ended(f"{path.name} ends with none of {', '.join(_SUFFIXES)}; say --format.", Exit.USAGE)
    return "beancount-loader" if format_ == "beancount" and not is_ours else format_


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(_PIECE_BYTES):
            yield piece
