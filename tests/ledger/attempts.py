"""Tables of attempts: one row is one attempt, its last column the verdict.

    open     | CASH asset USD                                                   | opened
    entry    | RENT debit 10.00; CASH credit 10.00; id 1; on 2026-03-01          | posted CASH=-10.00
    transfer | ALICE -> BOB 5.00                                                 | insufficient-funds available=0.00
    reverse  | 1; as invoicing                                                   | already-reversed
    change   | CASH name=Till parent=ASSETS overdraft=none version=2             | changed
    freeze   | CASH in                                                           | changed
    close    | CASH                                                              | account-not-empty
    hold     | ALICE debit 5.00; BOB credit 5.00; id 1; expires 13:00:00         | held ALICE=0.00/5.00
    capture  | 1; amount 2.00; at 12:30:00                                       | captured ALICE=0.00/3.00
    capture  | 1; line 1 2.00; account BOB 2.00; entry 7                         | captured
    release  | 1                                                                 | released
    expire   | 1                                                                 | hold-not-expired

Rows act on one ledger (functional currency USD, own units WEI with 18 decimals and POINT-X with 0) in their order. A
verdict is `opened` or `posted` with balances on their accounts' normal sides; `held`, `captured`, `released` or
`expired` with what is available and, behind a /, what is reserved; or a rejection's code with facts of it.
Steps of closing: `close-day DATE`, `soft-close`, `close-month`, `reopen-month PERIOD`, `close-year`, `reopen-year YEAR`
(with `retained ACCOUNT`): `done` with what is closed after it (`days=`, `softly=`, `months=`), or `stands` where it is.
A posted entry may say `on=`, `value=`, `permits=` and `backdated=` of its record.
Parts of an attempt are divided by `;`. Besides lines: `id N`, `external TEXT`, `on DATE`, `value DATE`,
`rate BASE/COUNTER RATE`, `as SERVICE`, `with SCOPES`, `kind KIND`, `next-open-day`, `key TEXT`, `body TEXT` (what the
fingerprint is of), `size BYTES`, `metadata BYTES`, `lines N` (the first two lines over and over). Options of an
account: `normal=`, `overdraft=`, `limit=`, `owner=`, `parent=`, `summary`, `metadata=BYTES`. The id of a capture's
entry is `entry N`. It is noon until a row says `at TIME`.
"""

from dataclasses import astuple, dataclass
from datetime import UTC, date, datetime, time
from hashlib import sha256
from itertools import count
from pathlib import Path
from typing import Literal, TypeVar
from uuid import UUID

from libs.common.account_changes import AccountChangeRequest, AccountPatch, StandingRequest
from libs.common.holds import (
    CapturedLine,
    CaptureRequest,
    ExpireRequest,
    HoldLineRequest,
    HoldRequest,
    ReleaseRequest,
)
from libs.common.journal import (
    AccountRequest,
    EntryRequest,
    IfClosed,
    Metadata,
    Overdraft,
    Rate,
    ReversalRequest,
    TransferRequest,
    ledger_id,
    organization_id,
)
from libs.common.money import ISO_4217, Currency
from libs.common.periods import DayClose, PeriodStep, YearStep
from services.ledger.closing import Step
from services.ledger.domain import Request
from services.ledger.state import (
    Ledger,
)
from tests.ledger.asking import line

L = TypeVar("L")
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
    at: datetime | None = None
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
    at = named.get("at")
    rates = [part.split()[1:] for part in parts if part.startswith("rate ")]
    code, *facts = verdict.split()
    attempt = Attempt(row, _request(kind, plain, named, rates), code, dict(fact.split("=") for fact in facts))
    attempt.service = named.get("as", "api")
    attempt.key = named.get("key", f"row {next(_ROWS)}")
    attempt.fingerprint = sha256(named.get("body", asked).encode()).digest()
    attempt.size = int(named.get("size", 200))
    attempt.at = _instant(at) if at else None
    attempt.permits = frozenset(named.get("with", "").split())
    return attempt


def _instant(text: str) -> datetime:
    return datetime.combine(NOON.date(), time.fromisoformat(text), UTC)


_ROWS = count(1)
_NAMED = {
    "id", "external", "on", "as", "key", "body", "size", "metadata", "lines", "expires", "at", "entry", "amount",
    "with", "kind", "next-open-day", "value", "retained",
}  # fmt: skip
HOLDS = {"hold": "held", "capture": "captured", "release": "released", "expire": "expired"}
"""What is attempted of a hold, and what it is called once it is done."""


def _request(kind: str, plain: list[str], named: dict[str, str], rates: list[list[str]]) -> Request:
    if kind == "open":
        return _account(plain[0])
    if kind in ("change", "freeze", "unfreeze", "close"):
        return _change(kind, plain[0])
    if kind in HOLDS:
        return _hold(kind, plain, named)
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


def _hold(kind: str, plain: list[str], named: dict[str, str]) -> Request:
    if kind == "hold":
        lines = [HoldLineRequest(*astuple(line(part))[:5]) for part in plain if part]
        return HoldRequest(
            lines=_repeated(lines, int(named["lines"])) if "lines" in named else lines,
            id=UUID(int=int(named["id"])) if "id" in named else None,
            expires_at=_instant(named["expires"]) if "expires" in named else None,
            metadata={"m": "x" * int(named["metadata"])} if "metadata" in named else {},
        )
    hold_id = UUID(int=int(plain[0]))
    if kind != "capture":
        return ReleaseRequest(hold_id=hold_id) if kind == "release" else ExpireRequest(hold_id=hold_id)
    words = [part.split() for part in plain[1:]]
    lines_of = [
        CapturedLine(amount, line=int(name)) if by == "line" else CapturedLine(amount, account=name)
        for by, name, amount in words
    ]
    return CaptureRequest(
        hold_id=hold_id,
        id=UUID(int=int(named["entry"])) if "entry" in named else None,
        amount=named.get("amount"),
        lines=lines_of or None,
        effective_on=date.fromisoformat(named["on"]) if "on" in named else None,
        external_id=named.get("external"),
    )


def _repeated(lines: list[L], times: int) -> list[L]:
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
