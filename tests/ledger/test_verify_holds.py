"""The proof of holds: books with holds verify, and whatever is tampered with in them is found."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from uuid import UUID

import pytest

from libs.common.clock import now
from libs.common.db import Pool
from libs.common.holds import CaptureRequest, HoldLineRequest, HoldRequest, ReleaseRequest
from services.ledger.commands import Books, open_organization
from services.ledger.pools import create_writer_pool
from services.ledger.replay import INVARIANTS
from services.ledger.verify import verify
from tests.ledger.asking import ASKER, tell
from tests.ledger.test_verify import TAMPERINGS, auditor, failed, keep, tampered, write_books
from tests.support.postgres import PostgresServer

__all__ = ["auditor"]


async def write_holds(books: Books) -> None:
    """A hold captured in part and pending still, one captured whole, one released: 8 records more."""
    lines = [HoldLineRequest("RENT", "debit", "9.00"), HoldLineRequest("CASH", "credit", "9.00")]
    for number in (1, 2, 3):
        expires_at = datetime(2199, 1, number, tzinfo=UTC)
        answer = await tell(books, HoldRequest(lines=lines, id=UUID(int=number), expires_at=expires_at))
        assert answer.rejection is None
    for request in (
        CaptureRequest(hold_id=UUID(int=1), amount="4.00"),
        CaptureRequest(hold_id=UUID(int=2)),
        ReleaseRequest(hold_id=UUID(int=3)),
    ):
        assert (await tell(books, request)).rejection is None


PENDING, CAPTURED, RELEASED = (f"id = '{UUID(int=number)}'" for number in (1, 2, 3))
HOLD_TAMPERINGS = [
    *[
        ("holds", change, where, "holds", sequence)
        for where, sequence in ((PENDING, 23), (CAPTURED, 25), (RELEASED, 27))
        for change in (
            "status = 'expired'",
            "expires_at = expires_at + interval '1 microsecond'",
            "expires_at = null",
            "placed_sequence = 9",
            "version = version + 1",
            "id = gen_random_uuid()",
            "ledger_no = 2",
        )
    ],
    *[
        ("hold_lines", change, f"hold_{where} and line = 1", "holds", sequence)
        for where, sequence in ((PENDING, 23), (CAPTURED, 25), (RELEASED, 27))
        for change in (
            "captured = 1",
            "amount = amount + 1",
            "debit = not debit",
            "account_no = 1",
            "party = 'x'",
            "line = 3",
            "ledger_no = 2",
        )
    ],
    *[
        ("pendings", change, "account_no = 2 and sequence = 23", "pendings", 23)
        for change in (
            "pending_debits = pending_debits + 1",
            "pending_credits = 0",
            "account_no = 5",
            "ledger_no = 2",
        )
    ],
    ("pendings", "sequence = 99", "account_no = 2 and sequence = 23", "pendings", 23),
    ("balances", "pending_credits = 0", "account_no = 2", "balances", 27),
    ("balances", "pending_debits = 1", "account_no = 2", "balances", 27),
    ("log", 'payload = replace(payload, \'"remaining":"5.00"\', \'"remaining":"5.01"\')', "sequence = 23", "holds", 23),
    ("log", 'payload = replace(payload, \'"entry_id":"\', \'"entry_id":"0\')', "sequence = 23", "holds", 24),
    ("log", 'payload = replace(payload, \'"hold":"\', \'"holds":"\')', "sequence = 24", "holds", 24),
]


@pytest.fixture(scope="session")
async def unguarded_holds(postgres: PostgresServer, ledger_template: str) -> AsyncIterator[str]:
    """The same with holds in it."""
    async with postgres.database(ledger_template, owner="ledger_migrator") as dsn:
        pool = await create_writer_pool(postgres.service_dsns(dsn, "ledger").writer, max_size=2)
        try:
            books = Books(pool, now)
            await open_organization(books, "demo", "Demo", "USD", ASKER)
            await write_books(books)
            await write_holds(books)
        finally:
            await pool.close()
        await keep(dsn)
        yield dsn


@pytest.mark.parametrize(("table", "change", "where", "invariant", "sequence"), HOLD_TAMPERINGS)
async def test_whatever_is_changed_of_holds_is_found_and_named(
    postgres: PostgresServer, unguarded_holds: str, table: str, change: str, where: str, invariant: str, sequence: int
) -> None:
    report = await tampered(postgres, unguarded_holds, f"update {table} set {change} where {where}")
    broken = {found.name: found for found in report.invariants if not found.ok}
    assert invariant in broken, broken
    difference = broken[invariant].first_difference
    assert difference is not None
    assert difference.sequence == sequence, difference


@pytest.mark.parametrize(
    ("statement", "invariant"),
    [
        (f"delete from holds where {PENDING}", "holds"),
        (f"delete from holds where {RELEASED}", "holds"),
        (f"delete from hold_lines where hold_{PENDING} and line = 2", "holds"),
        (f"delete from hold_lines where hold_{CAPTURED}", "holds"),
        ("delete from pendings where sequence = 23 and account_no = 2", "pendings"),
        (f"insert into holds select ledger_no, gen_random_uuid(), 'pending', null, 9, 9 from holds where {PENDING}",
         "holds"),
        (f"insert into holds select ledger_no, gen_random_uuid(), 'expired', null, 9, 9 from holds where {PENDING}",
         "holds"),
        ("insert into hold_lines select ledger_no, hold_id, 3, 2, true, 1, 0, null from hold_lines"
         f" where hold_{CAPTURED} and line = 1", "holds"),
        ("insert into hold_lines values (1, gen_random_uuid(), 1, 2, true, 1, 0, null)", "holds"),
        ("insert into pendings values (1, 2, 9, 1, 1)", "pendings"),
        ("insert into pendings values (1, 2, 99, 1, 1)", "pendings"),
    ],
)  # fmt: skip
async def test_holds_that_are_missing_or_without_a_record_are_found(
    postgres: PostgresServer, unguarded_holds: str, statement: str, invariant: str
) -> None:
    assert invariant in failed(await tampered(postgres, unguarded_holds, statement))


async def test_holds_that_are_put_back_verify(postgres: PostgresServer, unguarded_holds: str) -> None:
    report = await tampered(postgres, unguarded_holds, "select 1")
    assert report.ok, report


@pytest.mark.parametrize("slice_records", [1, 2, 3, 7, 2_000])
async def test_books_with_holds_verify_whatever_the_slices(books: Books, auditor: Pool, slice_records: int) -> None:
    await write_books(books)
    await write_holds(books)
    report = await verify(auditor, await books.get("demo", "main"), slice_records=slice_records)
    assert failed(report) == set(), report
    checked = {invariant.name: invariant.checked for invariant in report.invariants}
    assert (report.checked_through, checked["holds"], checked["pendings"]) == (27, 3, 12)


def test_every_invariant_has_a_tampering() -> None:
    in_test_tampering = {"currencies"}
    assert {row[3] for row in (*TAMPERINGS, *HOLD_TAMPERINGS)} == set(INVARIANTS) - in_test_tampering
