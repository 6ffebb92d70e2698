"""A ledger as a bookkeeper would check it by hand: lists of lines and of what is pending, added up anew each time.

It is written from the design and the docs alone and calls no rule of the ledger. A request's faults are all collected,
and the answer is the one that stands first in `ORDER`; whoever accepts in the wrong order, or looks at something stale,
disagrees with it. It knows one ledger, no rates, and takes every request after the one before it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from decimal import Decimal
from uuid import UUID

from libs.common.account_changes import AccountChangeRequest, StandingRequest
from libs.common.holds import CaptureRequest, ExpireRequest, HoldRequest, ReleaseRequest
from libs.common.journal import (
    AccountRequest,
    Condition,
    EntryRequest,
    LineRequest,
    Overdraft,
    ReversalRequest,
    TransferRequest,
)
from libs.common.periods import DayClose, PeriodStep, YearStep
from services.ledger.domain import AtomicRequest, Request
from tests.properties.plain_closing import Carried, PlainClosing
from tests.properties.plain_values import (
    DECIMALS,
    FORGOTTEN,
    OTHER,
    Command,
    Held,
    HeldLine,
    Kept,
    Line,
    Posted,
    RefusedError,
    Verdict,
    minor,
    refuse,
)


@dataclass
class PlainModel:
    """One ledger at one moment. Opening it was its first record."""

    now: datetime
    recorded_at: datetime
    sequence: int = 1
    accounts: dict[str, Kept] = field(default_factory=dict)
    lines: list[Line] = field(default_factory=list)
    pending: list[Line] = field(default_factory=list)
    entries: dict[UUID, Posted] = field(default_factory=dict)
    external_ids: set[str] = field(default_factory=set)
    holds: dict[UUID, Held] = field(default_factory=dict)
    keys: dict[tuple[str, str], tuple[Request, Verdict]] = field(default_factory=dict)
    closing: PlainClosing = field(default_factory=PlainClosing)

    # --- what it says -------------------------------------------------------------------------------------------------

    def posted(self, code: str, through: date = date.max, sequence: int = 2**62) -> int:
        """The posted balance on the normal side."""
        normal = self.accounts[code].normal
        return sum(
            line.amount if line.side == normal else -line.amount
            for line in self.lines
            if line.account == code and line.effective_on <= through and line.sequence <= sequence
        )

    def available(self, code: str) -> int:
        """What is posted less what holds take on the other side."""
        return self.posted(code) - self.pends(code, OTHER[self.accounts[code].normal])

    def pends(self, code: str, side: str, sequence: int = 2**62) -> int:
        """What is pending on a side."""
        parts = (part for part in self.pending if part.account == code and part.sequence <= sequence)
        return sum(part.amount for part in parts if part.side == side)

    # --- one request after the other ----------------------------------------------------------------------------------

    def answer(self, command: Command) -> Verdict:
        """The verdict on a request; what is accepted and wanted moves the model."""
        place = (command.service, command.key)
        if place in self.keys:
            request, first = self.keys[place]
            same = request == command.request
            return first._replace(replayed=True) if same else Verdict("key-reused-with-other-content", 0, False)
        trial = self._copied()
        trial.recorded_at = max(self.recorded_at, self.now)
        try:
            trial._take(command)
        except RefusedError as refused:
            verdict = Verdict(str(refused), 0, False)
        else:
            verdict = Verdict(None, 0 if command.dry_run else trial.sequence, False)
            if command.dry_run or trial.sequence == self.sequence:
                return verdict
            vars(self).update(vars(trial))
        if not command.dry_run and verdict.code not in FORGOTTEN:
            self.keys[place] = command.request, verdict
        return verdict

    def _copied(self) -> "PlainModel":
        """What a request is tried on; the keys are shared."""
        return replace(
            self,
            accounts={code: replace(kept) for code, kept in self.accounts.items()},
            lines=list(self.lines),
            pending=list(self.pending),
            entries={id_: replace(posted) for id_, posted in self.entries.items()},
            external_ids=set(self.external_ids),
            holds={id_: replace(hold, captured=list(hold.captured)) for id_, hold in self.holds.items()},
            closing=replace(self.closing),
        )

    def _take(self, command: Command) -> None:
        match command.request:
            case EntryRequest():
                self._post(command.request, command)
            case AtomicRequest():
                for entry in command.request.entries:
                    self._post(entry, command)
            case TransferRequest():
                self._transfer(command.request, command)
            case ReversalRequest():
                self._reverse(command.request, command)
            case AccountRequest():
                self._open(command.request)
            case AccountChangeRequest():
                self._change(command.request)
            case StandingRequest():
                self._stand(command.request)
            case HoldRequest():
                self._hold(command.request, command)
            case CaptureRequest():
                self._capture(command.request, command)
            case ReleaseRequest() | ExpireRequest():
                self._end(command.request, command)
            case DayClose() | PeriodStep() | YearStep():
                self._step(command.request)
            case _:
                raise AssertionError(f"nothing is known of {command.request}")

    def _step(self, step: DayClose | PeriodStep | YearStep) -> None:
        today, first_on = self.recorded_at.date(), min((line.effective_on for line in self.lines), default=None)
        moves: list[Carried]
        if isinstance(step, YearStep):
            ends = date(step.year, 12, 31)
            signed = {"RENT": self.posted("RENT", ends), "SALES": -self.posted("SALES", ends)}
            nominal = {code: balance for code, balance in signed.items() if balance}
            if step.step == "close":
                faults, moves = self.closing.close_year(step, today, first_on, nominal)
            else:
                faults, moves = self.closing.reopen_year(step.year, first_on)
        else:
            faults, count = self.closing.take(step, today, first_on)
            moves, ends = [()] * count, today
        refuse(faults)
        for carried in moves:
            self.sequence += 1
            for code, amount in carried:
                side = "debit" if amount > 0 else "credit"
                self.lines.append(Line(self.sequence, code, side, abs(amount), ends))
                self.accounts[code].moved = self.sequence

    # --- entries ------------------------------------------------------------------------------------------------------

    def _post(
        self,
        request: EntryRequest,
        command: Command,
        lifted: Mapping[str, int] | None = None,
        more_faults: Iterable[str] = (),
    ) -> None:
        faults = {*self._taken(request.id, request.external_id), *more_faults}
        faults |= {"too-few-lines"} if len(request.lines) < 2 else set()
        amounts, wrong = self._amounts(request.lines, command.service)
        day, misplaced = self.closing.place(request, self.recorded_at.date(), command.permits)
        faults |= wrong | misplaced
        if not wrong:
            faults |= self._short(request.lines, amounts, lifted or {}) | self._unmet(request.lines, amounts)
        refuse(faults)
        self.sequence += 1
        for line, amount in zip(request.lines, amounts, strict=True):
            self.lines.append(Line(self.sequence, line.account, line.side, amount, day))
            self.accounts[line.account].moved = self.sequence
        if request.id is not None:
            self.entries[request.id] = Posted(request.kind, request.lines)
        if request.external_id is not None:
            self.external_ids.add(request.external_id)

    def _taken(self, id_: UUID | None, external_id: str | None) -> set[str]:
        faults = {"duplicate-entry-id"} if id_ in self.entries else set()
        return faults | ({"duplicate-external-id"} if external_id in self.external_ids else set())

    def _amounts(self, lines: list[LineRequest], service: str) -> tuple[list[int], set[str]]:
        """Minor units line by line, and what is wrong with the lines, each alone and all together."""
        faults: set[str] = set()
        amounts: list[int] = []
        sums: dict[str | None, int] = {}
        for line in lines:
            kept = self.accounts.get(line.account)
            faults |= kept.refuses(line, service) if kept is not None else {"unknown-account"}
            amount = minor(line.amount, kept.currency) if kept is not None and not kept.summary else 0
            if isinstance(amount, str):
                faults.add(amount)
            elif kept is not None:
                amounts.append(amount)
                sums[kept.currency] = sums.get(kept.currency, 0) + (amount if line.side == "debit" else -amount)
        if not faults and any(sums.values()):
            faults.add("entry-not-balanced")
        return amounts, faults

    def _change_of(self, code: str, lines: list[LineRequest], amounts: list[int]) -> int:
        """By how much the lines raise an account."""
        normal = self.accounts[code].normal
        pairs = zip(lines, amounts, strict=True)
        return sum((amount if line.side == normal else -amount) for line, amount in pairs if line.account == code)

    def _short(self, lines: list[LineRequest], amounts: list[int], lifted: Mapping[str, int]) -> set[str]:
        for code in {line.account for line in lines}:
            kept, before = self.accounts[code], self.available(code)
            after = before + self._change_of(code, lines, amounts) + lifted.get(code, 0)
            if kept.policy != "unlimited" and after < min(before, -kept.limit):
                return {"insufficient-funds"}
        return set()

    def _unmet(self, lines: list[LineRequest], amounts: list[int]) -> set[str]:
        faults = set()
        for line in lines:
            wanted = line.condition or Condition()
            kept, change = self.accounts[line.account], self._change_of(line.account, lines, amounts)
            least, equal = wanted.available_at_least, wanted.posted_equals
            if least is not None and self.available(line.account) + change < Decimal(least) * 100:
                faults.add("balance-condition-failed")
            if equal is not None and self.posted(line.account) + change != Decimal(equal) * 100:
                faults.add("balance-condition-failed")
            if wanted.version_equals not in (None, kept.moved):
                faults.add("version-conflict")
        return faults

    def _transfer(self, request: TransferRequest, command: Command) -> None:
        source, target = self.accounts.get(request.source), self.accounts.get(request.target)
        raises = target.normal if target is not None else "credit"
        entry = EntryRequest(
            id=request.id,
            external_id=request.external_id,
            effective_on=request.effective_on,
            if_closed=request.if_closed,
            lines=[
                LineRequest(request.source, OTHER[raises], request.amount, request.currency),  # type: ignore[arg-type]
                LineRequest(request.target, raises, request.amount, request.currency),  # type: ignore[arg-type]
            ],
        )
        differ = source is not None and target is not None and source.normal != target.normal
        self._post(entry, command, more_faults=["transfer-sides-differ"] if differ else [])

    def _reverse(self, request: ReversalRequest, command: Command) -> None:
        faults, target = self._taken(request.id, None), self.entries.get(request.entry_id)
        if target is None:
            raise RefusedError(faults | {"unknown-entry"})
        lines = [
            LineRequest(line.account, OTHER[line.side], line.amount, None, line.party)  # type: ignore[arg-type]
            for line in target.lines
        ]
        entry = EntryRequest(
            id=request.id,
            kind="closing" if target.kind == "closing" else "normal",
            effective_on=request.effective_on,
            if_closed=request.if_closed,
            lines=lines,
        )
        self._post(entry, command, more_faults=["already-reversed"] if target.reversed else [])
        target.reversed = True

    # --- holds --------------------------------------------------------------------------------------------------------

    def _hold(self, request: HoldRequest, command: Command) -> None:
        lines = [LineRequest(line.account, line.side, line.amount, line.currency, line.party) for line in request.lines]
        amounts, faults = self._amounts(lines, command.service)
        if not faults:
            for code in {line.account for line in lines}:
                kept = self.accounts[code]
                pairs = zip(lines, amounts, strict=True)
                out = sum(amount for line, amount in pairs if (line.account, line.side) == (code, OTHER[kept.normal]))
                if kept.policy != "unlimited" and out and self.available(code) - out < -kept.limit:
                    faults.add("insufficient-funds")
        faults |= {"too-few-lines"} if len(lines) < 2 else set()
        faults |= {"duplicate-hold-id"} if request.id in self.holds else set()
        if request.expires_at is not None and request.expires_at <= self.recorded_at:
            faults.add("expiry-not-ahead")
        refuse(faults)
        assert request.id is not None, "a history names its holds"
        rows: list[HeldLine] = [
            (line.account, line.side, amount, line.party) for line, amount in zip(lines, amounts, strict=True)
        ]
        self.holds[request.id] = hold = Held(request.expires_at, rows, [0] * len(rows))
        self._pend(hold, amounts)

    def _pend(self, hold: Held, amounts: list[int]) -> None:
        self.sequence += 1
        for (code, side, _, _), amount in zip(hold.lines, amounts, strict=True):
            if amount:
                self.pending.append(Line(self.sequence, code, side, amount, date.min))
                self.accounts[code].moved = self.sequence

    def _still(self, hold_id: UUID, faults: set[str]) -> Held:
        hold = self.holds.get(hold_id)
        if hold is None:
            raise RefusedError(faults | {"unknown-hold"})
        if hold.status != "pending":
            raise RefusedError(faults | {"hold-not-pending"})
        return hold

    def _is_over(self, hold: Held) -> bool:
        return hold.expires_at is not None and hold.expires_at <= self.recorded_at

    def _capture(self, request: CaptureRequest, command: Command) -> None:
        taken = self._taken(request.id, request.external_id)
        taken |= {"too-few-lines"} if request.lines is not None and len(request.lines) < 2 else set()
        hold = self._still(request.hold_id, taken)
        if self._is_over(hold):
            raise RefusedError(taken | {"hold-expired"})
        asked = self._asked(hold, request, taken)
        amounts = [0] * len(hold.lines)
        for place, text in asked:
            amount = minor(text, self.accounts[hold.lines[place][0]].currency)
            amounts[place] += amount if isinstance(amount, int) else 0
        lifted: dict[str, int] = {}
        for (code, side, _, _), amount in zip(hold.lines, amounts, strict=True):
            if side != self.accounts[code].normal:
                lifted[code] = lifted.get(code, 0) + amount
        entry = EntryRequest(
            id=request.id,
            external_id=request.external_id,
            effective_on=request.effective_on,
            if_closed=request.if_closed,
            lines=[self._captured_line(hold, place, text) for place, text in asked],
        )
        exceeds = any(amount > hold.left(place) for place, amount in enumerate(amounts))
        self.sequence += 1
        self._post(entry, command, lifted, ["capture-exceeds-hold"] if exceeds else [])
        self.sequence -= 2
        self._pend(hold, [-amount for amount in amounts])
        self.sequence += 1
        for place, amount in enumerate(amounts):
            hold.captured[place] += amount
            if amount:
                self.accounts[hold.lines[place][0]].moved = self.sequence
        hold.status = "pending" if any(map(hold.left, range(len(hold.lines)))) else "captured"

    def _captured_line(self, hold: Held, place: int, text: str) -> LineRequest:
        code, side, _, party = hold.lines[place]
        return LineRequest(code, side, text, None, party)  # type: ignore[arg-type]

    def _asked(self, hold: Held, request: CaptureRequest, taken: set[str]) -> list[tuple[int, str]]:
        if request.amount is not None:
            if len(hold.lines) != 2:
                raise RefusedError(taken | {"capture-needs-lines"})
            return [(0, request.amount), (1, request.amount)]
        if request.lines is None:
            left = enumerate(map(hold.left, range(len(hold.lines))))
            return [(place, str(Decimal(amount).scaleb(-2))) for place, amount in left if amount]
        asked = []
        for line in request.lines:
            assert line.line is not None, "a history goes by numbers"
            if line.line > len(hold.lines):
                raise RefusedError(taken | {"unknown-hold-line"})
            asked.append((line.line - 1, line.amount))
        return asked

    def _end(self, request: ReleaseRequest | ExpireRequest, command: Command) -> None:
        hold = self._still(request.hold_id, set())
        if isinstance(request, ExpireRequest):
            refuse([] if self._is_over(hold) else ["hold-not-expired"])
        else:
            owners = {self.accounts[code].owner for code, *_ in hold.lines} - {None, command.service}
            refuse(["account-is-control"] if owners else [])
        hold.status = "expired" if isinstance(request, ExpireRequest) else "released"
        self._pend(hold, [-hold.left(place) for place in range(len(hold.lines))])

    # --- accounts -----------------------------------------------------------------------------------------------------

    def _open(self, request: AccountRequest) -> None:
        limit, faults = self._limit(request.overdraft, request.currency)
        faults |= {"account-code-taken"} if request.code in self.accounts else set()
        if request.currency is not None and request.currency not in DECIMALS:
            faults.add("unknown-currency")
        faults |= self._parent_faults(request.parent, request.type, None)
        refuse(faults)
        self.sequence += 1
        normal = request.normal_side or ("debit" if request.type in ("asset", "expense") else "credit")
        self.accounts[request.code] = Kept(
            request.type, normal, request.currency, request.summary, request.control_owner, request.parent,
            request.overdraft.policy, limit, self.sequence, self.sequence,
        )  # fmt: skip

    def _limit(self, overdraft: Overdraft, currency: str | None) -> tuple[int, set[str]]:
        if overdraft.limit is None or currency not in DECIMALS:
            return 0, set()
        limit = minor(overdraft.limit, currency)
        return (0, {limit}) if isinstance(limit, str) else (limit, set())

    def _parent_faults(self, parent: str | None, type_: str, before: str | None) -> set[str]:
        if parent is None:
            return set()
        if parent not in self.accounts:
            return {"unknown-parent"}
        faults = {"parent-type-differs"} if self.accounts[parent].type != type_ else set()
        return faults | ({"parent-is-closed"} if self.accounts[parent].closed and parent != before else set())

    def _known(self, code: str) -> Kept:
        refuse([] if code in self.accounts else ["unknown-account"])
        return self.accounts[code]

    def _change(self, request: AccountChangeRequest) -> None:
        kept, patch = self._known(request.code), request.patch
        overdraft = patch.get("overdraft")
        limit, faults = self._limit(overdraft, kept.currency) if overdraft is not None else (0, set())
        faults |= {"version-conflict"} if patch.get("expected_version", kept.version) != kept.version else set()
        parent = patch.get("parent")
        faults |= self._parent_faults(parent, kept.type, kept.parent)
        above = parent
        while above in self.accounts:
            faults |= {"parent-is-below"} if above == request.code else set()
            above = self.accounts[above].parent if above != request.code else None
        refuse(faults)
        self.sequence += 1
        kept.version = self.sequence
        if "parent" in patch:
            kept.parent = parent
        if overdraft is not None:
            kept.policy, kept.limit = overdraft.policy, limit

    def _stand(self, request: StandingRequest) -> None:
        kept = self._known(request.code)
        faults = {"account-closed"} if kept.closed else set()
        faults |= {"version-conflict"} if request.expected_version not in (None, kept.version) else set()
        if request.change == "closed":
            open_below = [other for other in self.accounts.values() if other.parent == request.code]
            full = self.posted(request.code) or any(self.pends(request.code, side) for side in OTHER)
            if full or any(not other.closed for other in open_below):
                faults.add("account-not-empty")
        refuse(faults)
        self.sequence += 1
        kept.version = self.sequence
        kept.closed = request.change == "closed"
        kept.frozen = request.direction if request.change == "frozen" else None
