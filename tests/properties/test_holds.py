"""Whatever is held, captured, released and posted: what is available can be counted by hand, and is never too little.

A model keeps every hold and every posted line as plain rows and adds them up anew after each request. The rules' state
has to agree with it on every account, and an account without overdraft never has less than nothing available; whether
a request about a hold is taken has to be what the rows say.
"""

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Literal
from uuid import UUID

from hypothesis import given, settings
from hypothesis import strategies as st

from libs.common.errors import Rejection
from libs.common.holds import CapturedLine, CaptureRequest, ExpireRequest, HoldLineRequest, HoldRequest, ReleaseRequest
from libs.common.journal import AccountRequest, EntryRequest, LineRequest, Overdraft, Side
from libs.common.money import to_text
from services.ledger.domain import Accepted, Request
from services.ledger.records import EntryPosted
from tests.ledger.attempts import NOON, Attempt
from tests.ledger.plain_books import PlainBooks

ACCOUNTS: dict[str, Literal["asset", "liability"]] = {"BANK": "asset", "ALICE": "liability", "BOB": "liability"}
LOWERS = {"BANK": "credit", "ALICE": "debit", "BOB": "debit"}
CODES = st.sampled_from([*ACCOUNTS])
AMOUNTS = st.integers(1, 900)


@dataclass
class Row:
    """A line of a hold as a child would write it down: cents, and how many of them are captured."""

    account: str
    side: Side
    amount: int
    captured: int = 0


@dataclass
class Notes:
    """Every line that was posted, every hold that is pending."""

    posted: list[Row] = field(default_factory=list)
    held: dict[UUID, list[Row]] = field(default_factory=dict)
    ends: dict[UUID, int] = field(default_factory=dict)

    def available(self, account: str) -> int:
        """Added up anew."""
        lowers = LOWERS[account]
        lines = [row for row in self.posted if row.account == account]
        balance = sum(-row.amount if row.side == lowers else row.amount for row in lines)
        pending = [row for rows in self.held.values() for row in rows if row.account == account and row.side == lowers]
        return balance - sum(row.amount - row.captured for row in pending)


Pairs = list[tuple[str, str, int]]
Step = tuple[str, int, Pairs, int, int]
"""What, of which hold, the pairs of accounts (debit, credit) and cents, how much of it, and how soon."""
SIDES: list[Side] = ["debit", "credit"]


@st.composite
def steps(draw: st.DrawFn) -> Step:
    what = draw(st.sampled_from(["hold", "hold", "capture", "capture", "lines", "rest", "release", "expire", "entry"]))
    pairs = draw(st.lists(st.tuples(CODES, CODES, AMOUNTS), min_size=1, max_size=3))
    return what, draw(st.integers(1, 12)), pairs, draw(AMOUNTS), draw(st.integers(0, 8))


def cents(amount: int) -> str:
    return to_text(amount, 2)


def request_of(step: Step, minute: int) -> Request:
    """The request that a step stands for."""
    what, number, pairs, amount, _ = step
    hold = UUID(int=number)
    match what:
        case "hold" | "entry":
            lines = [
                LineRequest(code, side, cents(each))
                for source, target, each in pairs
                for code, side in zip((source, target), SIDES, strict=True)
            ]
            if what == "entry":
                return EntryRequest(lines=lines)
            expires_at = NOON + timedelta(minutes=minute + 5) if number % 2 else None
            held = [HoldLineRequest(line.account, line.side, line.amount) for line in lines]
            return HoldRequest(lines=held, id=hold, expires_at=expires_at)
        case "capture":
            return CaptureRequest(hold_id=hold, amount=cents(amount))
        case "lines":
            return CaptureRequest(hold_id=hold, lines=[CapturedLine(cents(amount), line=n) for n in (1, 2)])
        case "rest":
            return CaptureRequest(hold_id=hold)
        case "release":
            return ReleaseRequest(hold_id=hold)
        case _:
            return ExpireRequest(hold_id=hold)


def expected(notes: Notes, request: Request, minute: int) -> bool | None:
    """Whether a request about a pending hold is taken, by the rows alone; None where the balances decide."""
    if isinstance(request, EntryRequest | HoldRequest):
        return None
    assert isinstance(request, CaptureRequest | ReleaseRequest | ExpireRequest)
    rows = notes.held.get(request.hold_id)
    over = minute >= notes.ends.get(request.hold_id, 1_000_000)
    if rows is None or isinstance(request, ReleaseRequest):
        return rows is not None
    if isinstance(request, ExpireRequest):
        return over
    if over or (request.amount is not None and len(rows) != 2):
        return False
    wanted = request.amount or (request.lines[0].amount if request.lines else None)
    left = [row.amount - row.captured for row in rows[:2]]
    return wanted is None or int(wanted.replace(".", "")) <= min(left)


def note(notes: Notes, request: Request, decision: Accepted, minute: int) -> None:
    """Writes down what was accepted."""
    for record in decision.records:
        if isinstance(record, EntryPosted):
            notes.posted += [Row(each.account.code, each.side, each.amount) for each in record.entry_lines]
    match request:
        case HoldRequest():
            assert request.id is not None
            notes.held[request.id] = [
                Row(each.account, each.side, int(each.amount.replace(".", ""))) for each in request.lines
            ]
            if request.expires_at is not None:
                notes.ends[request.id] = minute + 5
        case CaptureRequest():
            rows = notes.held[request.hold_id]
            wanted = request.amount or (request.lines[0].amount if request.lines else None)
            for row in rows if wanted is None else rows[:2]:
                row.captured = row.amount if wanted is None else row.captured + int(wanted.replace(".", ""))
            if all(row.captured == row.amount for row in rows):
                del notes.held[request.hold_id]
        case ReleaseRequest() | ExpireRequest():
            del notes.held[request.hold_id]
        case _:
            pass


@settings(max_examples=300, deadline=None)
@given(st.lists(steps(), min_size=5, max_size=60))
def test_what_is_available_is_what_can_be_counted(
    taken: list[tuple[str, int, list[tuple[str, str, int]], int, int]],
) -> None:
    books, notes, minute = PlainBooks(), Notes(), 0
    requests: list[tuple[Request, int]] = [
        (AccountRequest(code=code, name=code, type=type_, currency="USD",
                        overdraft=Overdraft(policy="unlimited" if code == "BANK" else "none")), 0)
        for code, type_ in ACCOUNTS.items()
    ]  # fmt: skip
    for request, _ in requests:
        assert isinstance(books.decide(Attempt("", request, "", {}, key=str(request))), Accepted)
    for place, step in enumerate(taken):
        minute += step[4] // 4
        request = request_of(step, minute)
        should = expected(notes, request, minute)
        decision = books.decide(Attempt("", request, "", {}, key=f"k{place}", at=NOON + timedelta(minutes=minute)))
        assert not isinstance(decision, Rejection) or decision.code != "malformed"
        if should is not None:
            assert isinstance(decision, Accepted) == should, (request, decision)
        if isinstance(decision, Accepted):
            note(notes, request, decision, minute)
        for code in ACCOUNTS:
            available = books.state.accounts[code].available
            assert available == notes.available(code)
            assert available >= 0 or code == "BANK"
