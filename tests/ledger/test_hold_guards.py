"""The database's own guards of holds, tried by raw SQL with the writing role; each is shown to be what refuses."""

from collections.abc import AsyncIterator
from uuid import UUID

import asyncpg
import pytest

from libs.common.clock import now
from libs.common.holds import CaptureRequest, HoldLineRequest, HoldRequest, ReleaseRequest
from services.ledger.commands import Books, open_organization
from services.ledger.pools import create_writer_pool
from tests.ledger.asking import ASKER, account, open_accounts, tell
from tests.ledger.test_guards import attempt, trigger
from tests.support.postgres import PostgresServer

pytestmark = pytest.mark.database

PENDING, RELEASED = (f"id = '{UUID(int=number)}'" for number in (1, 2))
CAPTURED_BOUNDS = "alter table hold_lines drop constraint capture_exceeds_hold"
ATTACKS = {
    "captured beyond its amount": (
        f"update hold_lines set captured = 501 where hold_{PENDING}",
        "capture_exceeds_hold",
        CAPTURED_BOUNDS,
    ),
    "begun beyond its amount": (
        f"insert into hold_lines values (1, '{UUID(int=1)}', 3, 1, true, 5, 6, null)",
        "capture_exceeds_hold",
        CAPTURED_BOUNDS,
    ),
    "begun below zero": (
        f"insert into hold_lines values (1, '{UUID(int=1)}', 3, 1, true, 5, -1, null)",
        "capture_exceeds_hold",
        CAPTURED_BOUNDS,
    ),
    "nothing held": (
        f"insert into hold_lines values (1, '{UUID(int=1)}', 3, 1, true, 0, 0, null)",
        "hold_lines_amount_check",
        "alter table hold_lines drop constraint hold_lines_amount_check",
    ),
    "captured less than before": (
        f"update hold_lines set captured = 99 where hold_{PENDING}",
        "capture_is_final",
        trigger("hold_lines", "guard_captured"),
    ),
    "pending again": (
        f"update holds set status = 'pending' where {RELEASED}",
        "hold_not_pending",
        trigger("holds", "guard_ended"),
    ),
    "captured after its release": (
        f"update holds set status = 'captured' where {RELEASED}",
        "hold_not_pending",
        trigger("holds", "guard_ended"),
    ),
    "moved after its release": (
        f"update holds set version = 1 where {RELEASED}",
        "hold_not_pending",
        trigger("holds", "guard_ended"),
    ),
    "no status": (
        f"update holds set status = 'gone' where {PENDING}",
        "holds_status_check",
        "alter table holds drop constraint holds_status_check",
    ),
    "an id used twice": (
        f"insert into holds select * from holds where {PENDING}",
        "duplicate_hold_id",
        "alter table holds drop constraint duplicate_hold_id",
    ),
    "pending debits below zero": (
        "update balances set pending_debits = -1",
        "balances_pending_debits_check",
        "alter table balances drop constraint balances_pending_debits_check",
    ),
    "pending credits below zero": (
        "update balances set pending_credits = -1",
        "balances_pending_credits_check",
        "alter table balances drop constraint balances_pending_credits_check",
    ),
}
NO_RIGHT = [
    f"update holds set expires_at = null where {PENDING}",
    "update holds set placed_sequence = 1",
    "update hold_lines set amount = 9",
    "update hold_lines set debit = not debit",
    "update hold_lines set account_no = 2",
    "update pendings set pending_debits = 0",
]
NEVER_REMOVED = [
    (table, f"{verb} {table}") for table in ("holds", "hold_lines", "pendings") for verb in ("delete from", "truncate")
]


@pytest.fixture(scope="session")
async def guarded(postgres: PostgresServer, ledger_template: str) -> AsyncIterator[str]:
    """The superuser's address of books that no test changes for good: a hold of 5.00, 1.00 of it captured, and one that
    was released."""
    async with postgres.database(ledger_template, owner="ledger_migrator") as dsn:
        pool = await create_writer_pool(postgres.service_dsns(dsn, "ledger").writer, max_size=2)
        try:
            books = Books(pool, now)
            await open_organization(books, "demo", "Demo", "USD", ASKER)
            await open_accounts(books, account("A"), account("B"))
            lines = [HoldLineRequest("A", "debit", "5.00"), HoldLineRequest("B", "credit", "5.00")]
            for number in (1, 2):
                await tell(books, HoldRequest(lines=lines, id=UUID(int=number)))
            await tell(books, CaptureRequest(hold_id=UUID(int=1), amount="1.00"))
            answer = await tell(books, ReleaseRequest(hold_id=UUID(int=2)))
            assert answer.sequence == 8
        finally:
            await pool.close()
        yield dsn


@pytest.fixture
async def owner(guarded: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection that may do everything, in a transaction that is rolled back."""
    connection = await asyncpg.connect(guarded)
    try:
        await connection.transaction().start()
        yield connection
    finally:
        await connection.close()


@pytest.mark.parametrize(("attack", "refused_by", "guard"), ATTACKS.values(), ids=ATTACKS)
async def test_an_attack_on_holds_is_refused_by_its_guard_and_by_nothing_else(
    owner: asyncpg.Connection, attack: str, refused_by: str, guard: str
) -> None:
    with pytest.raises(asyncpg.IntegrityConstraintViolationError) as refused:
        await attempt(owner, attack)
    assert refused.value.constraint_name == refused_by
    await owner.execute(guard)
    await attempt(owner, attack)


@pytest.mark.parametrize("statement", NO_RIGHT)
async def test_what_a_hold_is_never_changes(owner: asyncpg.Connection, statement: str) -> None:
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await attempt(owner, statement)


@pytest.mark.parametrize(("table", "statement"), NEVER_REMOVED)
async def test_a_hold_is_never_removed(owner: asyncpg.Connection, table: str, statement: str) -> None:
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await attempt(owner, statement)
    with pytest.raises(asyncpg.CheckViolationError) as refused:
        await attempt(owner, statement, "ledger_migrator")
    assert refused.value.constraint_name == "append_only"
    await owner.execute(trigger(table, "append_only" if table == "pendings" else "never_removed"))
    await attempt(owner, statement, "ledger_migrator")


async def test_steps_done_right_are_taken(owner: asyncpg.Connection) -> None:
    """Else the attacks might be refused for what is right in them."""
    await attempt(owner, f"update hold_lines set captured = 500 where hold_{PENDING}")
    await attempt(owner, f"update holds set status = 'captured', version = 9 where {PENDING}")
