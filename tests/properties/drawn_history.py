"""Histories of a ledger, drawn from a seed: what is asked next looks at what the plain model has by then.

A history is plain values (steps of commands), so that it can be played again whole, in part, or shrunk. The commands of
a step are queued together, at one of two writers. Most of them are acceptable; some of everything is not.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final
from uuid import UUID

from libs.common.account_changes import AccountChangeRequest, AccountPatch, StandingRequest
from libs.common.holds import CapturedLine, CaptureRequest, ExpireRequest, HoldLineRequest, HoldRequest, ReleaseRequest
from libs.common.journal import (
    AccountRequest,
    Condition,
    EntryRequest,
    LineRequest,
    Overdraft,
    ReversalRequest,
    TransferRequest,
)
from libs.common.money import to_text
from libs.common.periods import ADJUST, BACKDATE, DayClose, PeriodStep, YearStep
from services.ledger.domain import AtomicRequest, Request
from tests.ledger.asking import account
from tests.properties.plain_model import PlainModel
from tests.properties.plain_values import Command

BEGIN: Final = datetime(2020, 2, 3, 4, 5, 6, 7, UTC)
CHART: Final = (
    account("BANK"),
    account("CASH", overdraft="none"),
    account("ALICE", "liability", overdraft="none"),
    account("BOB", "liability", overdraft=Overdraft(policy="limit", limit="20.00")),
    account("SALES", "income"),
    account("RENT", "expense"),
    account("RETAINED", "equity"),
    account("EURO", currency="EUR"),
    account("EURODEBT", "liability", "EUR", overdraft="none"),
    account("OWED", control_owner="api"),
    account("STOCK", control_owner="stock"),
    account("ALL", currency=None, summary=True),
)
DOLLARS: Final = ("BANK", "CASH", "ALICE", "BOB", "SALES", "RENT", "CASH", "ALICE", "BOB", "SALES", "OWED")
ODD: Final = ("ALL", "STOCK", "NOBODY", "EURO", "OWED")
ANY_CODE: Final = ("BANK", "BANK", "SALES", "CASH", "ALICE", "BOB", "ALL", "N1", "N2", "N3", "N1", "N2", "N3")
PERMITS: Final = (frozenset[str](), frozenset[str](), frozenset({BACKDATE}), frozenset({ADJUST, BACKDATE}))


@dataclass(frozen=True)
class Step:
    """Commands that are queued together at one of two writers, after the clock was moved."""

    commands: list[Command]
    clock: timedelta = timedelta()
    writer: int = 0


class Drawing:
    """One history being drawn."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.model = PlainModel(BEGIN, BEGIN)
        self._named = 0

    def draw(self, steps: int) -> list[Step]:
        """The chart, and then so many steps; the model has them all behind it afterwards."""
        history = [Step([Command(request, f"chart {request.code}") for request in CHART])]
        for command in history[0].commands:
            self.model.answer(command)
        while len(history) <= steps:
            history.append(self._step())
        return history

    def _step(self) -> Step:
        clock = timedelta()
        if self._rarely(5):
            clock = timedelta(hours=self.random.choice([1, 7, 30, 30, 100, -3]))
        self.model.now += clock
        commands = []
        for _ in range(self.random.choice([1, 1, 1, 2, 5])):
            commands.append(self._command())
            self.model.answer(commands[-1])
        return Step(commands, clock, self.random.randrange(2))

    def _command(self) -> Command:
        if self._rarely(25) and self.model.keys:
            return self._again()
        request = self._weighed()(self)
        posts = isinstance(request, EntryRequest | TransferRequest | ReversalRequest)
        sure = isinstance(request, EntryRequest) and all(line.condition for line in request.lines)
        return Command(
            request,
            f"own {self._number()}",
            "api" if not self._rarely(12) else "stock",
            self.random.choice(PERMITS),
            dry_run=posts and self._rarely(2 if sure else 10),
            lookup=not posts or self._rarely(3),
        )

    def _again(self) -> Command:
        """A key that was used: with what was asked then, or something else."""
        (service, key), (request, _) = self.random.choice(list(self.model.keys.items()))
        other = self._weighed()(self) if self._rarely(3) else request
        return Command(other, key, service, lookup=not isinstance(other, EntryRequest) or self._rarely(2))

    def _weighed(self) -> "Callable[[Drawing], Request]":
        makers, weights = zip(*MAKERS.items(), strict=True)
        maker: Callable[[Drawing], Request] = self.random.choices(makers, weights)[0]
        return maker

    def _rarely(self, times: int) -> bool:
        return self.random.randrange(times) == 0

    def _number(self) -> int:
        self._named += 1
        return self._named

    # --- entries ------------------------------------------------------------------------------------------------------

    def _amount(self) -> str:
        if self._rarely(25):
            return self.random.choice(["0.00", "-1.00", "1.001", "0.001"])
        return to_text(self.random.choice([1, 100, 250, 700, 1_999]), 2)

    def _code(self) -> str:
        return self.random.choice(ODD if self._rarely(15) else (*DOLLARS, *self._opened()))

    def _opened(self) -> list[str]:
        return [code for code in ("N1", "N2") if code in self.model.accounts]

    def _day(self) -> date | None:
        if self._rarely(2):
            return None
        if self._rarely(60):
            return self.random.choice([date(1899, 12, 31), date(2031, 1, 1), date(2030, 12, 31)])
        return self.model.now.date() - timedelta(days=self.random.choice([-2, 0, 1, 2, 5, 20, 40, 70]))

    def _id(self) -> UUID:
        if self._rarely(40) and self.model.entries:
            return self.random.choice(list(self.model.entries))
        return UUID(int=self._number())

    def _line(self, code: str, side: Any, amount: str) -> LineRequest:
        party = "somebody" if code in ("OWED", "STOCK") and not self._rarely(10) else None
        currency = self.random.choice(["USD", "USD", "EUR"]) if self._rarely(30) else None
        condition = self._condition(code) if self._rarely(12) else None
        return LineRequest(code, side, amount, currency, party, None, condition)

    def _condition(self, code: str) -> Condition | None:
        """About what is so, or just not."""
        kept = self.model.accounts.get(code)
        if kept is None or kept.summary:
            return None
        near = to_text(self.model.posted(code) + self.random.choice([0, 100, -100]), 2)
        match self.random.randrange(3):
            case 0:
                return Condition(available_at_least=near)
            case 1:
                return Condition(posted_equals=near)
            case _:
                return Condition(version_equals=kept.moved - (0 if self._rarely(2) else 1))

    def _pairs(self) -> list[LineRequest]:
        lines = []
        for _ in range(self.random.choice([1, 1, 2])):
            amount, sides = self._amount(), self.random.sample(["debit", "credit"], 2)
            codes = ("EURO", "EURODEBT") if self._rarely(8) else (self._code(), self._code())
            lines += [self._line(code, side, amount) for code, side in zip(codes, sides, strict=True)]
        if self._rarely(25):
            lines.pop()
        return lines

    def entry(self) -> EntryRequest:
        return EntryRequest(
            lines=self._pairs(),
            id=None if self._rarely(5) else self._id(),
            external_id=f"x{self.random.randrange(40)}" if self._rarely(4) else None,
            kind="closing" if self._rarely(40) else "normal",
            effective_on=self._day(),
            if_closed="next-open-day" if self._rarely(4) else "reject",
        )

    def sure(self) -> EntryRequest:
        """An entry whose asker saw both accounts as they are."""
        codes = self.random.sample(["BANK", "SALES", "BOB"], 2)
        lines = [self._line(code, side, "1.00") for code, side in zip(codes, ["debit", "credit"], strict=True)]
        for line in lines:
            line.condition = Condition(version_equals=self.model.accounts[line.account].moved)
        return EntryRequest(lines=lines)

    def transfer(self) -> TransferRequest:
        return TransferRequest(
            source=self._code(),
            target=self._code(),
            amount=self._amount(),
            id=self._id(),
            effective_on=self._day(),
            if_closed="next-open-day" if self._rarely(4) else "reject",
        )

    def reversal(self) -> ReversalRequest:
        known = list(self.model.entries)[-12:]
        target = self.random.choice(known) if known and not self._rarely(15) else UUID(int=2**100)
        return ReversalRequest(entry_id=target, id=self._id(), effective_on=self._day())

    def several(self) -> AtomicRequest:
        entries = [self.entry() for _ in range(self.random.randrange(1, 5))]
        return AtomicRequest(entries, [UUID(int=2**64 + self._number()) for _ in entries], [200] * len(entries))

    # --- holds --------------------------------------------------------------------------------------------------------

    def hold(self) -> HoldRequest:
        ids = list(self.model.holds)
        hours = self.random.choice([None, None, 2, 24, 90, 90, 0])
        return HoldRequest(
            lines=[
                HoldLineRequest(line.account, line.side, line.amount, line.currency, line.party)
                for line in self._pairs()
            ],
            id=self.random.choice(ids) if ids and self._rarely(20) else UUID(int=self._number()),
            expires_at=self.model.now + timedelta(hours=hours) if hours is not None else None,
        )

    def _held(self) -> UUID:
        pending = [id_ for id_, hold in self.model.holds.items() if hold.status == "pending"]
        known = pending if pending and not self._rarely(8) else list(self.model.holds)
        return self.random.choice(known) if known and not self._rarely(20) else UUID(int=2**101)

    def capture(self) -> CaptureRequest:
        hold_id, amount, lines = self._held(), None, None
        match self.random.randrange(3):
            case 0:
                amount = self._amount()
            case 1:
                text = self._amount()
                numbers = self.random.choice([[1, 2], [2, 1], [3, 4], [1, 2, 3, 4], [1, 4], [1]])
                lines = [CapturedLine(text, line=number) for number in numbers]
        return CaptureRequest(
            hold_id=hold_id,
            id=self._id(),
            amount=amount,
            lines=lines,
            effective_on=self._day(),
            external_id=f"x{self.random.randrange(40)}" if self._rarely(12) else None,
        )

    def release(self) -> ReleaseRequest:
        return ReleaseRequest(hold_id=self._held())

    def expire(self) -> ExpireRequest:
        return ExpireRequest(hold_id=self._held())

    # --- accounts and periods -----------------------------------------------------------------------------------------

    def _overdraft(self) -> Overdraft:
        limit = self.random.choice(["5.00", "50.00", "1.001"])
        policies = [Overdraft(policy="unlimited"), Overdraft(policy="none"), Overdraft(policy="limit", limit=limit)]
        return self.random.choice(policies)

    def opening(self) -> AccountRequest:
        code = self.random.choice(["N1", "N2", "N3", "BANK"])
        currency = "USD" if not self._rarely(10) else "XQQ"
        return account(code, currency=currency, parent=self._parent(), overdraft=self._overdraft())

    def _parent(self) -> str | None:
        closed = [code for code, kept in self.model.accounts.items() if kept.closed]
        if closed and self._rarely(2):
            return self.random.choice(closed)
        return self.random.choice([None, None, "ALL", "N1", "N2", "N3", "ALICE"])

    def _version(self, code: str) -> int | None:
        kept = self.model.accounts.get(code)
        if kept is None or self._rarely(2):
            return None
        return kept.version - (1 if self._rarely(3) else 0)

    def change(self) -> AccountChangeRequest:
        code, patch = self.random.choice(ANY_CODE), AccountPatch(name=f"Named {self._number()}")
        if self._rarely(2):
            patch["parent"] = code if self._rarely(6) else self._parent()
        below = [other for other in self.model.accounts if self.model.available(other) < 0]
        if below and self._rarely(2):
            return AccountChangeRequest(code=self.random.choice(below), patch={"overdraft": self._overdraft()})
        if self._rarely(2) and code != "ALL":
            patch["overdraft"] = self._overdraft()
        if (version := self._version(code)) is not None:
            patch["expected_version"] = version
        return AccountChangeRequest(code=code, patch=patch)

    def standing(self) -> StandingRequest:
        code = self.random.choice(ANY_CODE)
        frozen = [other for other, kept in self.model.accounts.items() if kept.frozen is not None]
        change = self.random.choice(["frozen", "unfrozen", "unfrozen", "closed"])
        if change == "unfrozen" and frozen:
            code = self.random.choice(frozen)
        direction = self.random.choice(["in", "out", "both"]) if change == "frozen" else None
        return StandingRequest(
            code=code,
            change=change,  # type: ignore[arg-type]
            direction=direction,  # type: ignore[arg-type]
            reason="drawn",
            expected_version=self._version(code),
        )

    def day(self) -> DayClose:
        return DayClose(day=self.model.now.date() - timedelta(days=self.random.choice([0, 1, 1, 3, 10, 30])))

    def year(self) -> YearStep:
        step = self.random.choice(["close", "close", "reopen"])
        retained = "RETAINED" if self._rarely(2) else None
        return YearStep(year=2019, step=step, reason="drawn", retained_earnings=retained)  # type: ignore[arg-type]

    def month(self) -> PeriodStep | YearStep:
        closing = self.model.closing
        ahead = closing.months is not None and (closing.months.month == 11 or 2019 in closing.years)
        if self._rarely(8) or (ahead and self._rarely(2)):
            return self.year()
        last = closing.softly or self.model.now.date() - timedelta(days=70)
        wanted = last + timedelta(days=self.random.choice([0, 0, 1, 1, 1, 32]))
        step = self.random.choice(["soft-close", "close", "close", "reopen"])
        return PeriodStep(period=f"{wanted:%Y-%m}", step=step, reason="drawn")  # type: ignore[arg-type]


MAKERS: Final[dict[Callable[[Drawing], Request], int]] = {
    Drawing.entry: 30, Drawing.sure: 6, Drawing.transfer: 10, Drawing.reversal: 6, Drawing.several: 5, Drawing.hold: 12,
    Drawing.capture: 12, Drawing.release: 4, Drawing.expire: 4, Drawing.opening: 3, Drawing.change: 6,
    Drawing.standing: 4, Drawing.day: 2, Drawing.month: 8,
}  # fmt: skip
"""How often each is asked for."""
