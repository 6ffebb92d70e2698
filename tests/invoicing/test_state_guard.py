"""The database's table of states is the rules' own: every pair of them, tried with the service's own role."""

from uuid import UUID

import asyncpg
import pytest

from libs.common.clock import new_id
from libs.common.db import Pool
from services.invoicing.domain import TRANSITIONS, Status
from tests.invoicing.trading import company

AMOUNTS: dict[Status, tuple[int, int, int]] = {
    "draft": (0, 0, 0),
    "issued": (0, 0, 0),
    "part-paid": (50, 0, 0),
    "paid": (100, 0, 0),
    "credited": (0, 100, 0),
    "void": (0, 0, 0),
    "written-off": (0, 0, 100),
}
"""Paid, credited, written off of a total of 100."""

INSERT = """
    insert into invoices (organization, id, ledger, customer, status, currency, net, tax, total, content, created_at,
        series, year, serial, number, issued_at, issued_on, tax_point_on, due_on)
    select 'demo', $1, 'main', $2, $3, 'USD', $4, 0, $4, '{}', now(), s, y, n, i, t, d, d, d
    from (values ('x', 2026, 1::bigint, '2026-000001', now(), '2026-01-01'::date), (null, null, null, null, null, null))
        as issued (s, y, n, i, t, d)
    where (i is null) = ($3 = 'draft')
"""
CHANGE = """
    update invoices set status = $2, paid = $3, credited = $4, written_off = $5, version = version + 1,
        series = coalesce(series, 'x'), year = coalesce(year, 2026), serial = coalesce(serial, 1),
        number = coalesce(number, '2026-000001'), issued_at = coalesce(issued_at, now()),
        issued_on = coalesce(issued_on, '2026-01-01'), tax_point_on = coalesce(tax_point_on, '2026-01-01'),
        due_on = coalesce(due_on, '2026-01-01'), voided_at = case $2 when 'void' then now() end
    where id = $1
"""
KEEP = "update invoices set status = 'draft', version = version + 1 where id = $1"


async def _changed(connection: asyncpg.Connection, invoice: UUID, status: Status, total: int) -> None:
    amounts = AMOUNTS[status] if total else (0, 0, 0)
    if status == "draft":
        await connection.execute(KEEP, invoice)
    else:
        await connection.execute(CHANGE, invoice, status, *amounts)


async def test_every_pair_of_states_is_let_through_or_refused_as_the_rules_say(writer: Pool) -> None:
    acme = await company(writer)
    wrong = []
    async with writer.acquire() as connection:
        for (before, after), why in TRANSITIONS.items():
            total = 0 if (before, after) == ("draft", "paid") else 100
            attempt = connection.transaction()
            await attempt.start()
            try:
                invoice = new_id()
                await connection.execute(
                    INSERT, invoice, acme.customer, "draft" if before == "draft" else "issued", total
                )
                if before not in ("draft", "issued"):
                    await _changed(connection, invoice, before, total)
                await _changed(connection, invoice, after, total)
                refused = None
            except asyncpg.CheckViolationError as error:
                refused = error.constraint_name
            finally:
                await attempt.rollback()
            if (refused is None) != (why is not None) or refused not in (None, "status_change_illegal"):
                wrong.append((before, after, refused, why))
    assert wrong == []


@pytest.mark.parametrize("status", ["part-paid", "credited", "void", "written-off"])
async def test_an_invoice_begins_as_a_draft_or_issued(writer: Pool, status: Status) -> None:
    acme = await company(writer)
    with pytest.raises(asyncpg.CheckViolationError) as refused:
        await writer.execute(INSERT, new_id(), acme.customer, status, 100)
    assert refused.value.constraint_name == "status_change_illegal"
