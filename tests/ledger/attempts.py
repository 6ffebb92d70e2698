"""Tables of attempts: one row is one attempt, its last column the verdict.

    open     | CASH asset USD                                                   | opened
    entry    | RENT debit 10.00; CASH credit 10.00; id 1; on 2026-03-01          | posted CASH=-10.00
    transfer | ALICE -> BOB 5.00                                                 | insufficient-funds available=0.00
    reverse  | 1; as invoicing                                                   | already-reversed
    change   | CASH name=Till parent=ASSETS overdraft=none version=2             | changed
    freeze   | CASH in                                                           | changed
    close    | CASH                                                              | account-not-empty

Rows act on one ledger (functional currency USD, own units WEI with 18 decimals and POINT-X with 0) in their order. A
verdict is `opened` or `posted` with balances on their accounts' normal sides, or a rejection's code with facts of it.
Steps of closing: `close-day DATE`, `soft-close`, `close-month`, `reopen-month PERIOD`, `close-year`, `reopen-year YEAR`
(with `retained ACCOUNT`): `done` with what is closed after it (`days=`, `softly=`, `months=`), or `stands` where it is.
A posted entry may say `on=`, `value=`, `permits=` and `backdated=` of its record.
Parts of an attempt are divided by `;`. Besides lines: `id N`, `external TEXT`, `on DATE`, `value DATE`,
`rate BASE/COUNTER RATE`, `as SERVICE`, `with SCOPES`, `kind KIND`, `next-open-day`, `key TEXT`, `body TEXT` (what the
fingerprint is of), `size BYTES`, `metadata BYTES`, `lines N` (the first two lines over and over).
Options of an account: `normal=`, `overdraft=`, `limit=`, `owner=`, `parent=`, `summary`,
`metadata=BYTES`.
"""

from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from hashlib import sha256
from itertools import count
from pathlib import Path
from typing import Literal
from uuid import UUID

from libs.common.account_changes import AccountChangeRequest, AccountPatch, StandingRequest
from libs.common.errors import Rejection
from libs.common.journal import (
    AccountRequest,
    EntryRequest,
    IfClosed,
    LineRequest,
    Metadata,
    Overdraft,
    Rate,
    ReversalRequest,
    TransferRequest,
    ledger_id,
    organization_id,
)
from libs.common.money import ISO_4217, Currency, to_text
from libs.common.periods import DayClose, FiscalCalendar, PeriodStep, YearStep
from services.ledger.account_records import AccountChanged, AccountOpened
from services.ledger.closing import STEPS, Step
from services.ledger.closing_records import PeriodMoved
from services.ledger.domain import Accepted, Request, Stamp, decide
from services.ledger.records import EntryPosted, Record, append
from services.ledger.state import (
    AccountSheet,
    ClosingFacts,
    Described,
    EntryToReverse,
    KnownEntry,
    KnownRequest,
    Ledger,
    LedgerState,
    Posted,
    ReversedLine,
)
from tests.ledger.asking import line

RULES = Path(__file__).with_name("rules")
NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
OWN_UNITS = {"WEI": Currency("WEI", 18), "POINT-X": Currency("POINT-X", 0)}
LEDGER = Ledger(
    id=ledger_id("demo", "main"),
    no=1,
    organization_id=organization_id("demo"),
    organization="demo",
    code="main",
    functional_currency=ISO_4217["USD"],
    time_zone="UTC",
    day_cut_off=time(0),
)


@dataclass(slots=True)
class Attempt:
    """One row, read."""

    row: str
    request: Request
    verdict: str
    words: dict[str, str]
    service: str = "api"
    key: str = ""
    fingerprint: bytes = b""
    size: int = 200
    permits: frozenset[str] = frozenset()


def rules(name: str) -> list[Attempt]:
    """The rows of the file `rules/<name>.txt`."""
    return table((RULES / f"{name}.txt").read_text(encoding="utf-8"))


def table(text: str) -> list[Attempt]:
    """The rows of a table; empty ones and those that begin with # say nothing."""
    rows = [row.strip() for row in text.splitlines()]
    return [_attempt(row) for row in rows if row and not row.startswith("#")]


def _attempt(row: str) -> Attempt:
    kind, asked, verdict = (column.strip() for column in row.split("|"))
    parts = [part.strip() for part in asked.split(";")]
    named = {name: rest for name, _, rest in (part.partition(" ") for part in parts) if name in _NAMED}
    plain = [part for part in parts if part.partition(" ")[0] not in _NAMED | {"rate"}]
    rates = [part.split()[1:] for part in parts if part.startswith("rate ")]
    code, *facts = verdict.split()
    attempt = Attempt(row, _request(kind, plain, named, rates), code, dict(fact.split("=") for fact in facts))
    attempt.service = named.get("as", "api")
    attempt.key = named.get("key", f"row {next(_ROWS)}")
    attempt.fingerprint = sha256(named.get("body", asked).encode()).digest()
    attempt.size = int(named.get("size", 200))
    attempt.permits = frozenset(named.get("with", "").split())
    return attempt


_ROWS = count(1)
_NAMED = {
    "id", "external", "on", "as", "key", "body", "size", "metadata", "lines", "with", "kind", "next-open-day", "value",
    "retained",
}  # fmt: skip


def _request(kind: str, plain: list[str], named: dict[str, str], rates: list[list[str]]) -> Request:
    if kind == "open":
        return _account(plain[0])
    if kind in ("change", "freeze", "unfreeze", "close"):
        return _change(kind, plain[0])
    if kind in _STEPS:
        return _step(kind, plain[0], named)
    id_ = UUID(int=int(named["id"])) if "id" in named else None
    effective_on = date.fromisoformat(named["on"]) if "on" in named else None
    metadata: Metadata = {"m": "x" * int(named["metadata"])} if "metadata" in named else {}
    if_closed: IfClosed = "next-open-day" if "next-open-day" in named else "reject"
    match kind:
        case "reverse":
            entry_id = UUID(int=int(plain[0]))
            return ReversalRequest(entry_id=entry_id, id=id_, effective_on=effective_on, if_closed=if_closed)
        case "transfer":
            source, _, target, amount, *currency = plain[0].split()
            return TransferRequest(
                source=source,
                target=target,
                amount=amount,
                currency=currency[0] if currency else None,
                id=id_,
                external_id=named.get("external"),
                effective_on=effective_on,
                if_closed=if_closed,
                metadata=metadata,
            )
        case "entry":
            lines = [line(part) for part in plain if part]
            return EntryRequest(
                lines=_repeated(lines, int(named["lines"])) if "lines" in named else lines,
                id=id_,
                external_id=named.get("external"),
                kind=named.get("kind", "normal"),  # type: ignore[arg-type] # a table's author names a kind that is
                effective_on=effective_on,
                value_on=date.fromisoformat(named["value"]) if "value" in named else None,
                if_closed=if_closed,
                metadata=metadata,
                rates=[Rate(pair.partition("/")[0], pair.partition("/")[2], rate) for pair, rate in rates],
            )
        case _:
            raise AssertionError(f"nobody attempts to {kind}")


def _change(kind: str, asked: str) -> AccountChangeRequest | StandingRequest:
    code, *rest = asked.split()
    options = dict(option.partition("=")[::2] for option in rest)
    expected = int(options.pop("version")) if "version" in options else None
    if kind != "change":
        changes: dict[str, Literal["frozen", "unfrozen", "closed"]] = {
            "freeze": "frozen", "unfreeze": "unfrozen", "close": "closed"
        }  # fmt: skip
        direction = rest[0] if kind == "freeze" else None
        return StandingRequest(
            code=code,
            change=changes[kind],
            direction=direction,  # type: ignore[arg-type] # a table's author names one that is
            reason="why",
            expected_version=expected,
        )
    patch = AccountPatch()
    if "name" in options:
        patch["name"] = options["name"]
    if "parent" in options:
        patch["parent"] = options["parent"] or None
    if "metadata" in options:
        patch["metadata"] = {"m": "x" * int(options["metadata"])}
    if "class" in options:
        patch["cash_flow_class"] = "operating"
    if "cash" in options:
        patch["cash"] = True
    if "limit" in options:
        patch["overdraft"] = Overdraft(policy="limit", limit=options["limit"])
    if "overdraft" in options:
        patch["overdraft"] = Overdraft(policy=options["overdraft"])  # type: ignore[arg-type] # and a policy
    if expected is not None:
        patch["expected_version"] = expected
    return AccountChangeRequest(code=code, patch=patch)


_STEPS = ("close-day", "soft-close", "close-month", "reopen-month", "close-year", "reopen-year")


def _step(kind: str, asked: str, named: dict[str, str]) -> Step:
    match kind:
        case "close-day":
            return DayClose(day=date.fromisoformat(asked))
        case "close-year":
            return YearStep(year=int(asked), step="close", retained_earnings=named.get("retained"))
        case "reopen-year":
            return YearStep(year=int(asked), step="reopen", reason="tried")
        case "reopen-month":
            return PeriodStep(period=asked, step="reopen", reason="tried")
        case _:
            return PeriodStep(period=asked, step="close" if kind == "close-month" else "soft-close")


def _repeated(lines: list[LineRequest], times: int) -> list[LineRequest]:
    return [lines[place % len(lines)] for place in range(times)]


def _account(asked: str) -> AccountRequest:
    code, type_, *rest = asked.split()
    options = dict(option.partition("=")[::2] for option in rest)
    currencies = [word for word in rest if word.isupper() and "=" not in word]
    limit = options.get("limit")
    return AccountRequest(
        code=code,
        name=code,
        type=type_,  # type: ignore[arg-type] # a table's author names a type that is
        currency=currencies[0] if currencies else None,
        normal_side=options.get("normal"),  # type: ignore[arg-type] # and a side
        parent=options.get("parent"),
        summary="summary" in options,
        control_owner=options.get("owner"),
        overdraft=Overdraft(policy="limit", limit=limit)
        if limit
        else Overdraft(policy=options.get("overdraft", "unlimited")),  # type: ignore[arg-type] # and a policy
        metadata={"m": "x" * int(options["metadata"])} if "metadata" in options else {},
    )


@dataclass(slots=True)
class PlainBooks:
    """A ledger in memory: what the writer keeps of it, with nothing below."""

    state: LedgerState = field(
        default_factory=lambda: LedgerState(LEDGER, 1, 1, bytes(32), NOON, 1, currencies=dict(OWN_UNITS))
    )
    drawn: int = 1_000_000
    sheets: dict[str, tuple[AccountSheet, int]] = field(default_factory=dict)
    posted: list[EntryPosted] = field(default_factory=list)
    closed_years: dict[int, list[UUID]] = field(default_factory=dict)

    def decide(self, attempt: Attempt) -> Accepted | Rejection | KnownRequest:
        """The verdict on one attempt; what is accepted moves the state."""
        state = self.state
        self.drawn += 1
        stamp = Stamp(
            recorded_at=NOON,
            today=NOON.date(),
            service=attempt.service,
            subject="alice",
            scope=attempt.service,
            key=attempt.key,
            fingerprint=attempt.fingerprint,
            size=attempt.size,
            entry_id=UUID(int=self.drawn),
            permits=attempt.permits,
        )
        self._describe(attempt.request)
        if isinstance(attempt.request, STEPS):
            state.closing = self._closing(attempt.request)
        decision = decide(state, attempt.request, stamp)
        if isinstance(decision, Accepted):
            for record in decision.records:
                append(state, record, stamp)
                if isinstance(record, AccountOpened | AccountChanged):
                    self.sheets[record.account.code] = (record.sheet, state.sequence)
                if isinstance(record, EntryPosted):
                    self._know(record)
                if isinstance(record, PeriodMoved):
                    self._close(record)
            if not decision.records:
                return decision
            state.requests[stamp.scope, stamp.key] = KnownRequest(stamp.fingerprint, Posted(state.sequence))
        elif isinstance(decision, Rejection) and decision.code != "key-reused-with-other-content":
            state.requests[stamp.scope, stamp.key] = KnownRequest(stamp.fingerprint, decision)
        return decision

    def _describe(self, request: Request) -> None:
        """What the tables would say of an account that is to change."""
        self.state.described.clear()
        if not isinstance(request, AccountChangeRequest | StandingRequest) or request.code not in self.sheets:
            return
        sheet, version = self.sheets[request.code]
        accounts = self.state.accounts
        children = [
            code for code, (below, _) in self.sheets.items() if below.parent and below.parent.code == request.code
        ]
        above = []
        code = request.patch.get("parent") if isinstance(request, AccountChangeRequest) else None
        while code in self.sheets:
            above.append(code)
            parent = self.sheets[code][0].parent
            code = parent.code if parent else None
        open_children = [code for code in children if not accounts[code].closed]
        self.state.described[request.code] = Described(sheet, version, open_children, above)

    def _closing(self, step: Step) -> ClosingFacts:
        """What the store would say."""
        first_on = min((record.effective_on for record in self.posted), default=None)
        facts = ClosingFacts(first_on, dict(self.closed_years))
        if isinstance(step, YearStep):
            calendar = FiscalCalendar(self.state.ledger.fiscal_year_start)
            ends = calendar.ends(calendar.last_month(step.year))
            sums: dict[str, int] = {}
            for record in self.posted:
                for entry_line in record.entry_lines:
                    account = entry_line.account
                    if record.effective_on <= ends and account.type in ("income", "expense"):
                        amount = entry_line.amount if entry_line.side == "debit" else -entry_line.amount
                        sums[account.code] = sums.get(account.code, 0) + amount
            facts.nominal = [(code, balance) for code, balance in sorted(sums.items()) if balance]
        return facts

    def _close(self, record: PeriodMoved) -> None:
        if record.type == "year-closed":
            self.closed_years[int(record.period)] = list(record.entries)
        elif record.type == "year-reopened":
            del self.closed_years[int(record.period)]

    def _know(self, record: EntryPosted) -> None:
        state = self.state
        self.posted.append(record)
        known = KnownEntry(record.id, state.sequence, None)
        state.entries[record.id] = known
        if record.external_id is not None:
            state.external_ids[record.external_id] = record.id
        lines = [
            ReversedLine(
                entry_line.account.code,
                entry_line.side,
                to_text(entry_line.amount, entry_line.account.exponent),
                entry_line.party,
            )
            for entry_line in record.entry_lines
        ]
        state.to_reverse[record.id] = EntryToReverse(known, record.description, lines, record.kind)
        if record.reverses is not None:
            reversed_ = state.to_reverse[record.reverses]
            reversed_.known = reversed_.known._replace(reversed_by=record.id)

    def balance(self, code: str) -> str:
        """The posted balance on the account's normal side, in major units."""
        account = self.state.accounts[code]
        return to_text(account.posted, account.exponent)

    def check(self, attempt: Attempt) -> None:
        """The row's verdict has to be the one that is reached."""
        decision = self.decide(attempt)
        if isinstance(decision, KnownRequest):
            reached, found = "replayed", {}
        elif isinstance(decision, Rejection):
            reached, found = decision.code, {name: str(value) for name, value in decision.facts.items()}
        elif isinstance(attempt.request, STEPS):
            assert isinstance(decision, Accepted)
            reached, found = "done" if decision.records else "stands", self.closed()
        else:
            changed = isinstance(attempt.request, AccountChangeRequest | StandingRequest)
            reached = "changed" if changed else "opened" if isinstance(attempt.request, AccountRequest) else "posted"
            found = {code: self.balance(code) for code in attempt.words if code in self.state.accounts}
            found |= record_words(decision.records[-1])
        assert (reached, {word: found.get(word) for word in attempt.words}) == (attempt.verdict, attempt.words), (
            f"\n{attempt.row}\n  gives {decision}"
        )

    def closed(self) -> dict[str, str]:
        """Through which days the ledger is closed, and how many entries the year's end made."""
        return {name: str(day) for name, day in zip(("days", "softly", "months"), self.state.closed, strict=True)}


def record_words(record: Record) -> dict[str, str]:
    """What a row may say of an entry's record."""
    if not isinstance(record, EntryPosted):
        return {}
    return {
        "on": str(record.effective_on),
        "value": str(record.value_on),
        "permits": ",".join(record.permits) or "none",
        "backdated": str(record.backdated),
    }


def play(rows: list[Attempt]) -> PlainBooks:
    """Attempts all rows of a table, each with its verdict; gives the books they leave."""
    books = PlainBooks()
    for attempt in rows:
        books.check(attempt)
    return books
