"""A ledger in memory, to try attempts on: what the writer keeps of one, with nothing below it."""

from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from libs.common.account_changes import AccountChangeRequest, StandingRequest
from libs.common.errors import Rejection
from libs.common.holds import (
    HoldMoveRequest,
    HoldRequest,
)
from libs.common.journal import (
    AccountRequest,
)
from libs.common.money import to_text
from libs.common.periods import FiscalCalendar, YearStep
from services.ledger.account_records import AccountChanged, AccountOpened
from services.ledger.closing import STEPS, Step
from services.ledger.closing_records import PeriodMoved
from services.ledger.domain import Accepted, Request, Stamp, decide
from services.ledger.records import EntryPosted, Record, append
from services.ledger.rejections import NOT_REMEMBERED
from services.ledger.state import (
    AccountSheet,
    ClosingFacts,
    Described,
    EntryToReverse,
    KnownEntry,
    KnownRequest,
    LedgerState,
    Posted,
    ReversedLine,
)
from tests.ledger.attempts import HOLDS, LEDGER, NOON, OWN_UNITS, Attempt


@dataclass(slots=True)
class PlainBooks:
    """A ledger in memory: what the writer keeps of it, with nothing below."""

    state: LedgerState = field(
        default_factory=lambda: LedgerState(LEDGER, 1, 1, bytes(32), NOON, 1, currencies=dict(OWN_UNITS))
    )
    drawn: int = 1_000_000
    sheets: dict[str, tuple[AccountSheet, int]] = field(default_factory=dict)
    at: datetime = NOON
    posted: list[EntryPosted] = field(default_factory=list)
    closed_years: dict[int, list[UUID]] = field(default_factory=dict)

    def decide(self, attempt: Attempt) -> Accepted | Rejection | KnownRequest:
        """The verdict on one attempt; what is accepted moves the state."""
        state = self.state
        self.drawn += 1
        self.at = attempt.at or self.at
        stamp = Stamp(
            recorded_at=self.at,
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
        elif isinstance(decision, Rejection) and decision.code not in NOT_REMEMBERED:
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

    def available(self, code: str) -> str:
        """What is available, and behind a / what is reserved, in major units."""
        account = self.state.accounts[code]
        return f"{to_text(account.available, account.exponent)}/{to_text(account.pending_out, account.exponent)}"

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
            told = self.balance
            changed = isinstance(attempt.request, AccountChangeRequest | StandingRequest)
            reached = "changed" if changed else "opened" if isinstance(attempt.request, AccountRequest) else "posted"
            if isinstance(attempt.request, HoldRequest | HoldMoveRequest):
                reached, told = HOLDS[attempt.row.split()[0]], self.available
            found = {code: told(code) for code in attempt.words if code in self.state.accounts}
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
