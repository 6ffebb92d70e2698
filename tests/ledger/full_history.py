"""A small history with a record of every type, and a row in every table. Each record goes through the one statement.

What accounts and entries need is asked for like by anybody; holds, closings and changed accounts are put into the log
as the records that their commands decide.
"""

from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from uuid import UUID, uuid5

from libs.common.clock import now
from libs.common.db import Connection
from libs.common.journal import Origin, Side
from services.ledger import store
from services.ledger.account_records import AccountChange, AccountChanged, AccountStanding
from services.ledger.closing_records import ClosingType, PeriodMoved
from services.ledger.commands import Books, open_organization
from services.ledger.domain import Stamp
from services.ledger.hold_records import HoldLifted, HoldPlaced
from services.ledger.pools import create_writer_pool
from services.ledger.projection import Batch
from services.ledger.records import EntryLine, EntryPosted, Record, append
from services.ledger.state import Account, AccountSheet, Closed, Hold, HoldLine, HoldStatus, LedgerState
from tests.ledger.asking import ASKER, account, open_accounts
from tests.ledger.test_verify import write_books

IDS = UUID("5a3f2d5c-5f0a-4a43-9d5a-0d9a4d1e7c11")
EARLY = date(2020, 1, 10)
LATER = datetime(2099, 1, 1, tzinfo=UTC)
CODES = ("CASH", "RENT", "AR", "SPARE")


def named(name: str) -> UUID:
    """The same id for the same name, in every run."""
    return uuid5(IDS, name)


@dataclass
class LogPen:
    """Puts records behind a ledger's head, a batch for each request."""

    connection: Connection
    state: LedgerState
    requests: int = 0

    async def write(self, *records: Record) -> None:
        """One request's records."""
        self.requests += 1
        key = f"pen-{self.requests}"
        at = max(self.state.recorded_at, now())
        stamp = Stamp(at, at.date(), "api", "alice", "api/alice", key, bytes(32), 100, named(key))
        batch = Batch(self.state.sequence)
        for record in records:
            batch.expect(record)
            batch.add(record, append(self.state, record, stamp))
        batch.add_outcome(stamp, self.state.sequence)
        assert await store.write_batch(
            self.connection, self.state.ledger, batch, batch.arguments(), self.state.hash, at, 10.0
        )

    async def change(self, code: str, change: AccountChange, standing: AccountStanding, name: str, version: int) -> int:
        """An account that is another one now; returns its version."""
        changed = self.state.accounts[code]
        sheet = AccountSheet(name=name, metadata={"was": code})
        await self.write(
            AccountChanged(
                account=changed, sheet=sheet, standing=standing, change=change, reason="because", version=version
            )
        )
        return self.state.sequence

    async def place(self, name: str, amount: int, expires_at: datetime | None = LATER) -> tuple[Hold, list[Account]]:
        """A hold on cash, for rent of a party."""
        cash, rent = self.state.accounts["CASH"], self.state.accounts["RENT"]
        hold_lines = [
            HoldLine("CASH", cash.no, "credit", amount), HoldLine("RENT", rent.no, "debit", amount, party="landlord")
        ]  # fmt: skip
        hold = Hold(named(name), "pending", expires_at, hold_lines)
        placed = HoldPlaced(
            hold=hold, accounts=[cash, rent], description=name, external_id=name, origin=Origin("shop", name)
        )
        await self.write(placed)
        return hold, [cash, rent]

    def lifted(
        self,
        type_: str,
        hold: Hold,
        accounts: list[Account],
        amount: int,
        status: HoldStatus,
        entry: UUID | None = None,
    ) -> HoldLifted:
        """Some of a hold is pending no more."""
        kinds = {"captured": "hold-captured", "released": "hold-released", "expired": "hold-expired"}
        return HoldLifted(
            type=kinds[type_],  # type: ignore[arg-type]
            hold=hold,
            accounts=accounts,
            amounts=[amount, amount],
            status=status,
            version=hold.version,
            entry_id=entry,
            reason="because",
        )

    def entry(self, name: str, amount: int, on: date, hold: UUID | None = None, *permits: str) -> EntryPosted:
        """Rent, paid in cash. `permits` are there where the day is closed already."""
        entry_lines, moved = [], []
        sides: list[tuple[str, Side]] = [("RENT", "debit"), ("CASH", "credit")]
        for code, side in sides:
            of = self.state.accounts[code]
            debits = of.debits + (amount if side == "debit" else 0)
            credits_ = of.credits + (amount if side == "credit" else 0)
            after = debits - credits_ if of.normal_side == "debit" else credits_ - debits
            entry_lines.append(EntryLine(of, side, amount, "landlord", None, after))
            moved.append((of, debits, credits_))
        return EntryPosted(
            id=named(name),
            kind="normal",
            effective_on=on,
            value_on=on,
            description=name,
            external_id=name,
            origin=Origin("shop", name),
            reverses=None,
            rates=[],
            metadata={},
            entry_lines=entry_lines,
            moved=moved,
            hold=hold,
            permits=permits,
            backdated=bool(permits),
        )

    async def close(self, type_: ClosingType, period: str, closed: Closed, reason: str | None = None) -> None:
        """What is closed moves."""
        await self.write(PeriodMoved(type=type_, period=period, closed=closed, reason=reason))


async def write_full_history(writer_dsn: str) -> None:
    """The organization `demo` with the ledger `main`: every record type, every table, nothing left empty."""
    pool = await create_writer_pool(writer_dsn, max_size=2)
    try:
        books = Books(pool, now)
        await open_organization(books, "demo", "Demo", "USD", ASKER)
        await write_books(books)
        await open_accounts(books, account("SPARE", "expense"))
        ledger = await books.get("demo", "main")
        async with pool.acquire() as connection:
            head, accounts = await store.load_accounts(connection, ledger.no, CODES)
            state = LedgerState.unread(ledger)
            state.begin(head.epoch, head.sequence, head.hash, head.recorded_at, head.next_account_no, head.closed)
            state.accounts = {loaded.code: loaded for loaded in accounts}
            await _write_rest(LogPen(connection, state), head.sequence)
    finally:
        await pool.close()


async def _write_rest(pen: LogPen, spare_version: int) -> None:
    standing = AccountStanding("none", 0, "in", False)
    version = await pen.change("SPARE", "frozen", standing, "Spare", spare_version)
    version = await pen.change("SPARE", "changed", replace(standing, frozen=None), "Spared", version)
    await pen.change("SPARE", "closed", replace(standing, frozen=None, closed=True), "Spared", version)
    hold, accounts = await pen.place("held", 3_000)
    first = pen.lifted("captured", hold, accounts, 1_000, "pending", named("first"))
    await pen.write(first, pen.entry("first", 1_000, EARLY, hold.id))
    await pen.write(pen.lifted("released", hold, accounts, 2_000, "released"))
    hold, accounts = await pen.place("late", 700)
    await pen.write(pen.lifted("expired", hold, accounts, 700, "expired"))
    hold, accounts = await pen.place("open", 900, None)
    await pen.write(
        pen.lifted("captured", hold, accounts, 100, "pending", named("x")), pen.entry("x", 100, EARLY, hold.id)
    )
    day, month, year = date(2020, 1, 15), date(2020, 1, 31), date(2020, 12, 31)
    await pen.close("day-closed", "2020-01-15", Closed(days=day))
    await pen.write(pen.entry("backdated", 50, EARLY, None, "period:backdate"))
    await pen.close("period-soft-closed", "2020-01", Closed(day, month))
    await pen.write(pen.entry("adjusted", 60, EARLY, None, "period:adjust"))
    await pen.close("period-closed", "2020-01", Closed(day, month, month))
    await pen.close("period-reopened", "2020-01", Closed(day, None, None), "a bill was late")
    await pen.close("year-closed", "2020", Closed(year, year, year))
    await pen.close("year-reopened", "2020", Closed(year, None, None), "a bill was later")
