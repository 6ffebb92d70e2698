"""Imports: a journal, a log or a chart as a stream in, one NDJSON result an account and entry out, in order.

    body -> a file on disk, looked at while it comes in (import_check.py)
         -> accounts, parents first -> entries, through the writer's queue as in bulk.py -> a last line that sums up

Nothing is posted before the whole file was read and found well formed, nor any entry before every account is there. The
file lies on disk, so memory does not grow with it. An entry's id is the file's own, or derives from its content; one
that the ledger has already, with the same content, counts as unchanged: importing twice posts nothing twice. Keys are
"<Idempotency-Key>/n" where one was sent; else they are drawn, so that what was refused may be tried again.
"""

import asyncio
import tempfile
from collections import Counter, deque
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from typing import IO, Any, Final
from uuid import UUID

import orjson

from libs.common.clock import derived_id, new_id
from libs.common.db import Pool
from libs.common.errors import Rejection, Transient
from libs.common.journal import NORMAL_SIDE, AccountRequest, EntryRequest, ReversalRequest
from libs.common.money import to_text
from services.ledger import commands, exchange_reads, reads, store
from services.ledger.bulk import Postings, Spool, answered_while_read, rejected_result, result_line
from services.ledger.commands import Asker, Books, Wish, fingerprint_of
from services.ledger.deciding import Outcome
from services.ledger.exchange.found import Unreadable
from services.ledger.exchange.journal_lines import scaled
from services.ledger.exchange.takeover import EntryIds, WantedAccount
from services.ledger.import_check import ACCOUNT, ImportCheck, ImportFormat, Wanted, checked, fault_result, second_look
from services.ledger.seen_store import SeenStore
from services.ledger.state import Ledger

ACCOUNTS_AT_ONCE: Final = 200
ENTRIES_BETWEEN_PAUSES: Final = 50
QUEUE_FULL_PAUSE_S: Final = 0.05

_BOM: Final = "\ufeff"
_STRUCTURE: Final = ("type", "currency", "normal_side", "summary", "control_owner")
"""What an account that exists must share with a journal's, or the journal would mean something else."""


@dataclass(slots=True)
class JournalImport:
    """One import into one ledger."""

    books: Books
    reader: Pool
    ledger: Ledger
    asker: Asker
    format: ImportFormat
    key: str | None
    traceparent: str | None
    dry_run: bool
    head: str | None = None
    """The hash of the last record that is due, where the caller knows it."""
    _index: int = 0
    _accounts: Counter[str] = field(default_factory=Counter)
    _entries: Counter[str] = field(default_factory=Counter)
    _under_way: deque[tuple[int, Wanted]] = field(default_factory=deque)

    def results(self, body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """Takes the file over and gives the result lines."""
        return answered_while_read(lambda spool: self._run(body, spool))

    async def _run(self, body: AsyncIterator[bytes], spool: Spool) -> None:
        try:
            with tempfile.TemporaryFile() as file:
                check = ImportCheck(self.format, self._currencies_of)
                await _receive(body, file, check)
                self._require_head(check)
                await self._take_over(check, file, spool)
        except BaseException as error:
            spool.end(error)
            raise
        else:
            spool.end()

    async def _currencies_of(self, codes: list[str]) -> Mapping[str, str | None]:
        async with reads.as_reader(self.reader, self.ledger.organization, self.ledger) as connection:
            return await exchange_reads.load_currencies_of(connection, self.ledger, codes)

    def _require_head(self, check: ImportCheck) -> None:
        if self.head is not None and not check.fault_count and check.chain_head != self.head.lower():
            detail = f"The log ends with hash {check.chain_head}, due is {self.head[:64]}: records are missing."
            check.refuse(Unreadable(0, "chain-broken", detail, final=True))

    async def _take_over(self, check: ImportCheck, file: IO[bytes], spool: Spool) -> None:
        accounts: list[WantedAccount] = []
        for wanted in check.plan.in_order():
            if isinstance(wanted, Unreadable):
                check.refuse(wanted)
            else:
                accounts.append(wanted)
        requests = _requests(accounts, check)
        for fault in check.faults:
            spool.put(result_line(fault_result(self._next(), fault)))
        if check.fault_count:
            self._sum_up(check, spool, "refused")
            return
        if self.dry_run:
            self._accounts["checked"], self._entries["checked"] = len(requests), check.entries
            self._sum_up(check, spool, "checked")
            return
        await self._open_accounts(requests, spool)
        if self._accounts["rejected"]:
            self._sum_up(check, spool, "refused")
            return
        await self._post_entries(check, file, spool)
        self._sum_up(check, spool, "done")

    def _next(self) -> int:
        index, self._index = self._index, self._index + 1
        return index

    def _sum_up(self, check: ImportCheck, spool: Spool, status: str) -> None:
        summary: dict[str, Any] = {
            "index": self._next(),
            "status": status,
            "accounts": dict(self._accounts),
            "entries": dict(self._entries),
            "left_out": dict(check.left_out),
        }
        if check.fault_count:
            summary["faults"] = check.fault_count
        if check.chain_head is not None:
            summary["chain_head"] = check.chain_head
        spool.put(result_line(summary))

    # --- accounts -----------------------------------------------------------------------------------------------------

    async def _open_accounts(self, requests: list[tuple[int, AccountRequest]], spool: Spool) -> None:
        waiting = iter(requests)
        while batch := list(islice(waiting, ACCOUNTS_AT_ONCE)):
            known = await self._known([request.code for _, request in batch])
            missing = [request for _, request in batch if request.code not in known]
            opened = await self._ask_for(missing)
            taken = [code for code, refusal in opened.items() if refusal and refusal.code == "account-code-taken"]
            known |= await self._known(taken)
            for line, request in batch:
                result = self._account_result(request, known.get(request.code), opened)
                self._accounts[result["status"]] += 1
                spool.put(result_line({"index": self._next(), "line": line, **result, "account": request.code}))

    async def _known(self, codes: list[str]) -> dict[str, dict[str, Any]]:
        if not codes:
            return {}
        async with reads.as_reader(self.reader, self.ledger.organization, self.ledger) as connection:
            return await exchange_reads.load_known_accounts(connection, self.ledger, codes)

    async def _ask_for(self, requests: list[AccountRequest]) -> dict[str, Rejection | None]:
        """What the ledger says to each: None where it is open now. Raises Transient where it cannot say."""
        futures = []
        for request in requests:
            fingerprint = fingerprint_of(orjson.loads(orjson.dumps(request)))
            wish = Wish(
                self.asker, self.ledger.code, request, str(new_id()), fingerprint, 1_000, False, self.traceparent
            )
            futures.append(await self._enqueue(wish))
        outcomes = await asyncio.gather(*futures)
        return {request.code: outcome.rejection for request, outcome in zip(requests, outcomes, strict=True)}

    async def _enqueue(self, wish: Wish) -> "asyncio.Future[Outcome]":
        while True:
            try:
                return commands.enqueue(self.books, self.ledger, wish)
            except Transient:
                await asyncio.sleep(QUEUE_FULL_PAUSE_S)

    def _account_result(
        self, request: AccountRequest, known: dict[str, Any] | None, opened: Mapping[str, Rejection | None]
    ) -> dict[str, Any]:
        if known is None:
            refusal = opened[request.code]
            if refusal is None:
                return {"status": "opened"}
            result = rejected_result(0, refusal)
            del result["index"]
            return result
        differing = differences(request, known)
        conflicts = [name for name in differing if self.format.is_chart or name in _STRUCTURE]
        if not conflicts:
            return {"status": "unchanged", **({"differs": list(differing)} if differing else {})}
        name = conflicts[0]
        wanted, found = differing[name]
        return {
            "status": "rejected",
            "code": "account-differs",
            "detail": f"The account {request.code} exists and differs: its {name} is {found}, wanted is {wanted}.",
            "facts": {"account": request.code, "field": name, "fields": conflicts, "wanted": wanted, "found": found},
            "errors": [{"pointer": f"/{field}", "detail": "differs"} for field in conflicts],
        }

    # --- entries ------------------------------------------------------------------------------------------------------

    async def _post_entries(self, check: ImportCheck, file: IO[bytes], spool: Spool) -> None:
        async def told(results: list[dict[str, Any]]) -> None:
            spool.put(await self._told(results))

        postings = Postings(self.books, self.ledger, told)
        file.seek(0)
        organization = self.ledger.organization

        def derive(day: datetime, document: str) -> UUID:
            return derived_id(day, organization, "import", document, "import")

        with SeenStore() as seen:
            entries = second_look(self.format, _lines(file), check.plan, EntryIds(derive, seen.count))
            for ordinal, (line, request) in enumerate(entries):
                key = f"{self.key}/{ordinal}" if self.key is not None else str(new_id())
                body = orjson.dumps(request)
                wish = Wish(
                    self.asker, self.ledger.code, request, key, fingerprint_of(orjson.loads(body)), len(body), True,
                    self.traceparent,
                )  # fmt: skip
                if ordinal % ENTRIES_BETWEEN_PAUSES == 0:
                    await asyncio.sleep(0)
                if isinstance(request, ReversalRequest):
                    await postings.drain()  # the entry it takes back has to be stored
                self._under_way.append((line, request))
                await postings.put(self._next(), wish)
        await postings.drain()

    async def _told(self, results: list[dict[str, Any]]) -> bytes:
        """The result lines of entries, in order; an entry that was there already with this content is unchanged."""
        wanted = [self._under_way.popleft() for _ in results]
        there = [result["facts"]["sequence"] for result in results if result.get("code") == "duplicate-entry-id"]
        stored: Mapping[int, tuple[bytes, bytes, Any]] = {}
        if there:
            async with self.books.pool.acquire() as connection:
                stored = await store.load_payloads(connection, self.ledger.no, there)
        told = []
        for result, (line, request) in zip(results, wanted, strict=True):
            answer = {**result, "line": line}
            if result.get("code") == "duplicate-entry-id":
                sequence = result["facts"]["sequence"]
                if sequence in stored and is_same(request, orjson.loads(stored[sequence][0]).get("entry") or {}):
                    answer = {
                        "index": result["index"], "status": "unchanged", "id": str(request.id), "sequence": sequence,
                        "line": line,
                    }  # fmt: skip
            elif answer.pop("replayed", False):
                answer["status"] = "unchanged"
            self._entries[answer["status"]] += 1
            told.append(result_line(answer))
        return b"".join(told)


def _requests(accounts: list[WantedAccount], check: ImportCheck) -> list[tuple[int, AccountRequest]]:
    """Each account's line and request; what cannot be one is refused."""
    requests = []
    for wanted in accounts:
        request = checked(ACCOUNT, wanted.body)
        if isinstance(request, Rejection):
            check.refuse((wanted.line, request))
        else:
            requests.append((wanted.line, request))
    return requests


async def _receive(body: AsyncIterator[bytes], file: IO[bytes], check: ImportCheck) -> None:
    """Puts the body on disk and has every line of it looked at.

    Where nothing behind a fault counts, the rest is read and thrown away: many clients read no answer before they have
    sent everything.
    """
    lines, size = _Lines(), 0
    async for piece in body:
        size += len(piece)
        if size > check.format.bytes_max:
            detail = f"The file is longer than {check.format.bytes_max} bytes."
            check.refuse(Unreadable(lines.number + 1, "file-too-long", detail, final=True))
            return
        if check.has_ended():
            continue
        file.write(piece)
        for line in lines.whole(piece):
            await _look_at(line, lines.number, check)
            if check.has_ended():
                break
        if lines.begun_bytes > check.format.line_bytes_max and not check.has_ended():
            detail = f"The line is longer than {check.format.line_bytes_max} bytes."
            check.refuse(Unreadable(lines.number + 1, "line-too-long", detail, final=True))
        await asyncio.sleep(0)
    if not check.has_ended() and (last := lines.rest()):
        await _look_at(last, lines.number + 1, check)
    if not check.has_ended():
        await check.end()


@dataclass(slots=True)
class _Lines:
    """Cuts pieces into lines; `number` is the last whole one's."""

    number: int = 0
    begun_bytes: int = 0
    _begun: list[bytes] = field(default_factory=list)

    def whole(self, piece: bytes) -> Iterator[bytes]:
        """The lines that end in the piece."""
        first, *rest = piece.split(b"\n")
        self._begun.append(first)
        self.begun_bytes += len(first)
        for last in rest:
            self.number += 1
            line, self._begun, self.begun_bytes = b"".join(self._begun), [last], len(last)
            yield line

    def rest(self) -> bytes:
        """What stands behind the last line's end."""
        return b"".join(self._begun)


async def _look_at(line: bytes, number: int, check: ImportCheck) -> None:
    try:
        text = line.decode()
    except UnicodeDecodeError as broken:
        detail = f"Byte {broken.start + 1} of the line begins no valid UTF-8 character."
        check.refuse(Unreadable(number, "not-utf-8", detail, final=True))
        return
    if "\0" in text:
        check.refuse(Unreadable(number, "malformed", "A NUL character cannot be stored.", final=True))
        return
    await check.take(number, _without_end(text, number))


def _without_end(text: str, number: int) -> str:
    """A line without CR, and the first without its byte order mark."""
    return (text.removeprefix(_BOM) if number == 1 else text).removesuffix("\n").removesuffix("\r")


def _lines(file: IO[bytes]) -> Iterator[str]:
    for number, line in enumerate(file, 1):
        yield _without_end(line.decode(), number)


def differences(request: AccountRequest, known: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """What was wanted and what is, of each field in which an account that exists is not the one wanted."""
    wanted = orjson.loads(orjson.dumps(request))
    wanted["normal_side"] = request.normal_side or NORMAL_SIDE[request.type]
    wanted["overdraft"] = _overdraft(request.overdraft.policy, request.overdraft.limit)
    limit = to_text(int(known["overdraft_limit"]), known["decimals"]) if known["overdraft_policy"] == "limit" else None
    found = {**known, "overdraft": _overdraft(known["overdraft_policy"], limit)}
    return {name: (value, found[name]) for name, value in wanted.items() if value != found[name]}


def _overdraft(policy: str, limit: str | None) -> list[Any]:
    return [policy, str(scaled(limit)) if policy == "limit" and limit is not None else None]


def is_same(request: Wanted, stored: Mapping[str, Any]) -> bool:
    """Whether a stored entry is the one wanted; what the ledger added to it (a pair's lines) is no difference."""
    if request.effective_on is not None and request.effective_on.isoformat() != stored.get("effective_on"):
        return False
    if not isinstance(request, EntryRequest):
        return str(request.entry_id) == stored.get("reverses")
    if (request.kind, request.description, request.external_id) != (
        stored["kind"],
        stored["description"],
        stored.get("external_id"),
    ):
        return False
    if len(request.lines) > len(stored["lines"]):
        return False
    return all(
        (line.account, line.side, scaled(line.amount), line.party)
        == (posted["account"], posted["side"], scaled(posted["amount"]), posted.get("party"))
        for line, posted in zip(request.lines, stored["lines"], strict=False)
    )
