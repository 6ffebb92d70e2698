"""The first look at a file that is to be imported: is it whole, is it well formed, does every entry balance.

A file is read to its end before anything of it is posted. What is found wrong is told by line and refuses the file, so
nobody has to find out which half of it was posted. Whether the ledger takes an entry (an account may be frozen, a day
closed) is decided later, line by line. Memory grows with accounts and faults, not with entries.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import orjson
from pydantic import TypeAdapter, ValidationError

from libs.common.errors import Fault, Rejection
from libs.common.journal import AccountRequest, EntryRequest, ReversalRequest
from libs.common.problems import faults_of
from services.ledger.accounts import pair_currency, shape_faults
from services.ledger.bulk import rejected_result
from services.ledger.exchange.beancount_text import BeancountReader
from services.ledger.exchange.chart_file import CHART_BYTES_MAX, ChartReader, csv_accounts, json_accounts
from services.ledger.exchange.found import FoundAccount, FoundEntry, LeftOut, Reader, Unreadable
from services.ledger.exchange.hledger_text import HledgerReader
from services.ledger.exchange.journal_lines import sentence_of, still_open
from services.ledger.exchange.log_lines import NdjsonReader
from services.ledger.exchange.takeover import AccountPlan, EntryIds

GIB: Final = 1024 * 1024 * 1024
LINE_BYTES_MAX: Final = 2 * 1024 * 1024
"""A record of 512 KiB at most, its quotes escaped once more."""

FAULTS_TOLD_MAX: Final = 1_000
CURRENCIES_KEPT_MAX: Final = 200_000

ENTRY: Final = TypeAdapter(EntryRequest)
ACCOUNT: Final = TypeAdapter(AccountRequest)
REVERSAL: Final = TypeAdapter(ReversalRequest)

Wanted = EntryRequest | ReversalRequest


class ImportFormat(NamedTuple):
    """How a format is taken. `is_chart`: accounts alone, each field compared with an account that exists."""

    reader: Callable[[], Reader]
    media_types: frozenset[str]
    is_chart: bool
    bytes_max: int
    line_bytes_max: int


_TEXT: Final = frozenset({"text/plain", "application/octet-stream"})

IMPORTS: Final[Mapping[str, ImportFormat]] = {
    "ndjson": ImportFormat(
        NdjsonReader, _TEXT | {"application/x-ndjson", "application/jsonl"}, False, 4 * GIB, LINE_BYTES_MAX
    ),
    "hledger": ImportFormat(HledgerReader, _TEXT | {"text/x-hledger"}, False, 4 * GIB, LINE_BYTES_MAX),
    "beancount": ImportFormat(BeancountReader, _TEXT | {"text/x-beancount"}, False, 4 * GIB, LINE_BYTES_MAX),
    "accounts-csv": ImportFormat(
        lambda: ChartReader(csv_accounts), _TEXT | {"text/csv"}, True, CHART_BYTES_MAX, CHART_BYTES_MAX
    ),
    "accounts-json": ImportFormat(
        lambda: ChartReader(json_accounts), _TEXT | {"application/json"}, True, CHART_BYTES_MAX, CHART_BYTES_MAX
    ),
}


@dataclass(slots=True)
class ImportCheck:
    """What the first look found. `currencies_of` asks the ledger in which currencies it keeps accounts."""

    format: ImportFormat
    currencies_of: Callable[[list[str]], Awaitable[Mapping[str, str | None]]]
    plan: AccountPlan = field(default_factory=AccountPlan)
    left_out: Counter[str] = field(default_factory=Counter)
    faults: list[Unreadable | tuple[int, Rejection]] = field(default_factory=list)
    fault_count: int = 0
    entries: int = 0
    _ended: bool = False
    _reader: Reader | None = None
    _currencies: dict[str, str | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._reader = self.format.reader()
        self.plan.names_are_codes = isinstance(self._reader, NdjsonReader) or self.format.is_chart

    @property
    def chain_head(self) -> str | None:
        """The hash of the last record, where the file is a log whose chain is whole."""
        reader = self._reader
        return reader.hash.hex() if isinstance(reader, NdjsonReader) and reader.is_log else None

    async def take(self, number: int, text: str) -> None:
        """The next line of the file."""
        assert self._reader is not None
        for found in self._reader.take(number, text):
            await self._look_at(found)

    async def end(self) -> None:
        """The file's end."""
        assert self._reader is not None
        for found in self._reader.end():
            await self._look_at(found)
        for fault in self.plan.finish():
            self.refuse(fault)

    def refuse(self, fault: Unreadable | tuple[int, Rejection]) -> None:
        """One more thing that is wrong."""
        self.fault_count += 1
        if len(self.faults) < FAULTS_TOLD_MAX:
            self.faults.append(fault)
        self._ended = self._ended or (isinstance(fault, Unreadable) and fault.final)

    def has_ended(self) -> bool:
        """Whether nothing behind what was read counts any more."""
        return self._ended

    async def _look_at(self, found: FoundAccount | FoundEntry | Unreadable | LeftOut) -> None:
        if isinstance(found, FoundEntry):
            self.entries += 1
            self.plan.use(found)
            await self._look_at_entry(found)
        elif isinstance(found, FoundAccount):
            fault = self._fault_of_account(found) or self.plan.declare(found)
            if fault is not None:
                self.refuse(fault)
        elif isinstance(found, LeftOut):
            self.left_out[found.what] += 1
        else:
            self.refuse(found)

    def _fault_of_account(self, found: FoundAccount) -> tuple[int, Rejection] | None:
        if found.body is None:
            return None
        request = checked(ACCOUNT, found.body)
        if isinstance(request, Rejection):
            return found.line, request
        if pair_currency(request.code) is not None:
            self.left_out["position account"] += 1
            return None
        faults = shape_faults(request)
        return (found.line, _malformed(faults)) if faults else None

    async def _look_at_entry(self, found: FoundEntry) -> None:
        request = entry_of(found, self.plan)
        if isinstance(request, Rejection):
            self.refuse((found.line, request))
            return
        if found.body.get("rates"):
            return
        lines: list[dict[str, Any]] = found.body["lines"]
        unknown = [
            line["account"]
            for line in lines
            if line.get("currency") is None
            and self.plan.currency(line["account"]) is None
            and line["account"] not in self._currencies
        ]
        if unknown:
            await self._ask(unknown)
        sides = [(self._currency(line), line["side"], line["amount"]) for line in lines]
        left = still_open((currency, side, amount) for currency, side, amount in sides if currency is not None)
        if left and all(currency is not None for currency, _, _ in sides):
            detail = sentence_of(left)
            self.refuse((found.line, Rejection("entry-not-balanced", detail, {}, [Fault("/lines", detail)])))

    def _currency(self, line: Mapping[str, Any]) -> str | None:
        name = line["account"]
        return line.get("currency") or self.plan.currency(name) or self._currencies.get(name)

    async def _ask(self, codes: list[str]) -> None:
        if len(self._currencies) > CURRENCIES_KEPT_MAX:
            self._currencies.clear()
        found = await self.currencies_of(codes)
        self._currencies.update({code: found.get(code) for code in codes})


def entry_of(found: FoundEntry, plan: AccountPlan) -> Wanted | Rejection:
    """The request for an entry, its accounts' names turned into codes; of a reversal, the request for that."""
    body = found.body
    lines = body.get("lines")
    if isinstance(lines, list) and not plan.names_are_codes:
        coded = [{**line, "account": plan.code(line["account"], line["currency"])[:128]} for line in lines]
        body = {**body, "lines": coded}
    request: EntryRequest | Rejection = checked(ENTRY, body)
    if isinstance(request, Rejection) or found.reverses is None:
        return request
    return _reversal(found, request)


def _reversal(found: FoundEntry, entry: EntryRequest) -> Wanted | Rejection:
    wanted = {
        "entry_id": found.reverses,
        "id": entry.id,
        "effective_on": entry.effective_on,
        "description": entry.description,
    }
    request: ReversalRequest | Rejection = checked(REVERSAL, wanted)
    return request


def wanted_entry(found: FoundEntry, plan: AccountPlan, ids: EntryIds) -> Wanted:
    """The request for an entry that the first look let pass, with an id."""
    ids.complete(found.body)
    request = entry_of(found, plan)
    assert not isinstance(request, Rejection), "the first look refuses the file"
    return request


def second_look(
    format_: ImportFormat, lines: Iterator[str], plan: AccountPlan, ids: EntryIds
) -> Iterator[tuple[int, Wanted]]:
    """Line and request of each entry of a file that the first look let pass."""
    reader = format_.reader()
    for number, text in enumerate(lines, 1):
        for found in reader.take(number, text):
            if isinstance(found, FoundEntry):
                yield found.line, wanted_entry(found, plan, ids)
    for found in reader.end():
        if isinstance(found, FoundEntry):
            yield found.line, wanted_entry(found, plan, ids)


def checked(model: TypeAdapter[Any], body: Any) -> Any:
    """The body as a request by JSON's rules, or why it is none."""
    try:
        return model.validate_json(orjson.dumps(body))
    except ValidationError as error:
        return _malformed(faults_of(error.errors(include_url=False), body))


def _malformed(faults: list[Fault]) -> Rejection:
    return Rejection("malformed", f"{faults[0].pointer or 'It'} {faults[0].detail}.", {}, faults)


def fault_result(index: int, fault: Unreadable | tuple[int, Rejection]) -> dict[str, Any]:
    """The result line of something that is wrong, with its line in the file."""
    if isinstance(fault, Unreadable):
        rejection = Rejection(fault.code, fault.detail[:1_000], fault.facts)
        return {**rejected_result(index, rejection), "line": fault.line}
    line, rejection = fault
    return {**rejected_result(index, rejection), "line": line}
