"""What the database refuses by itself, put as raw SQL with the service's own role."""

import asyncpg
import pytest

from libs.common.clock import now
from libs.common.db import Pool, transaction
from services.invoicing.allocations import unallocate
from services.invoicing.invoices import issue_drafts
from services.invoicing.voiding import void_invoice
from tests.invoicing.trading import DAY, ORGANIZATION, company, payment

BOOKED = "where number = '2026-000001'"
REFUSED = [
    ("the total of what is issued", f"update invoices set total = 1, version = 9 {BOOKED}", "issued_is_fixed"),
    ("its content", f"update invoices set content = '{{}}', version = 9 {BOOKED}", "issued_is_fixed"),
    ("its number", f"update invoices set number = 'X', version = 9 {BOOKED}", "issued_is_fixed"),
    ("its customer", f"update invoices set customer = gen_random_uuid(), version = 9 {BOOKED}", "issued_is_fixed"),
    ("its day", f"update invoices set issued_on = '2020-01-01', version = 9 {BOOKED}", "issued_is_fixed"),
    ("back to a draft", f"update invoices set status = 'draft', version = 9 {BOOKED}", "status_change_illegal"),
    ("void of what is paid in part", f"update invoices set status = 'void', version = 9 {BOOKED}",
     "status_change_illegal"),
    ("paid that is open", f"update invoices set status = 'paid', version = 9 {BOOKED}", "status_fits_amounts"),
    ("more on it than its total", f"update invoices set paid = 99999, version = 9 {BOOKED}",
     "allocation_exceeds_open"),
    ("paid without an allocation", f"update invoices set paid = 6000, version = 9 {BOOKED}", "allocations_add_up"),
    ("credited without a credit note",
     f"update invoices set paid = 0, credited = 5000, version = 9 {BOOKED}", "allocations_add_up"),
    ("written off without a write-off",
     f"update invoices set written_off = 100, version = 9 {BOOKED}", "allocations_add_up"),
    ("a change without a version", f"update invoices set posting = 'none' {BOOKED}", "version_conflict"),
    ("an issued invoice gone", f"delete from invoices {BOOKED}", "issued_is_fixed"),
    ("its parties gone", "delete from issued_parties", None),
    ("its parties of another customer", "update issued_parties set customer = gen_random_uuid()", None),
    ("another seller under the same key", "update issued_parties set seller = 'x'", "issued_is_fixed"),
    ("another buyer under the same key", "update issued_parties set buyer = 'x'", "issued_is_fixed"),
    ("a buyer back that was erased",
     "update issued_parties set buyer = null, erased_at = now();"
     "update issued_parties set buyer = 'x', erased_at = null", "issued_is_fixed"),
    ("another hash of a document that has one",
     "update issued_parties set document_hash = sha256('a'), document_form = 1;"
     "update issued_parties set document_hash = sha256('b')", "issued_is_fixed"),
    ("numbers taken back", "update number_series set last = 0", "numbers_fall"),
    ("a line added to what is issued",
     "insert into invoice_lines select organization, id, 9, 'x', 1, 1, null, null, 0, 0, 0, null, null from invoices "
     f"{BOOKED}", "issued_is_fixed"),
    ("a line of it changed", "update invoice_lines set net = 1", "issued_is_fixed"),
    ("a line of it gone", "delete from invoice_lines", "issued_is_fixed"),
    ("a tax row added",
     f"insert into invoice_taxes select organization, id, 9, 'S', 1, null, null, 0, 0 from invoices {BOOKED}",
     "issued_is_fixed"),
    ("an allocation changed", "update allocations set amount = 1", None),
    ("an allocation gone", "delete from allocations", None),
    ("an allocation that nothing shows",
     "insert into allocations select organization, gen_random_uuid(), source, source_id, invoice, 1, on_date, null, "
     "now() from allocations", "allocations_add_up"),
    ("an undoing of another amount",
     "insert into allocations select organization, gen_random_uuid(), source, source_id, invoice, 1, on_date, id, "
     "now() from allocations", "undoing_differs"),
    ("a payment's amount", "update payments set amount = amount + 1, unapplied = unapplied + 1", "payment_is_fixed"),
    ("money of a payment lost", "update payments set unapplied = unapplied + 1", "payment_adds_up"),
    ("a payment gone", "delete from payments", None),
    ("another payment of the same name",
     "insert into payments select organization, gen_random_uuid(), ledger, provider, payment_id, customer, currency, "
     "amount, fee, received_on, method, account, reference, allocated, unapplied, to_credit, refunded, "
     "unapplied_party, receipt, reason, posting, client_ref, version, created_at from payments", "duplicate_payment"),
    ("credit below zero",
     "insert into customer_credits values ('demo', 'main', gen_random_uuid(), 'USD', -1)", "credit_exceeded"),
    ("a posted entry asked for again",
     "update postings set state = 'needs-attention', sequence = null where purpose = 'issue'",
     "posting_change_illegal"),
    ("a posting of another document", "update postings set document = 'x'", "posting_is_fixed"),
    ("a posted entry under another sequence", "update postings set sequence = 99 where purpose = 'issue'",
     "posting_change_illegal"),
    ("a movement's amount", "update movements set amount = 1", None),
    ("a movement's sequence", "update movements set sequence = 99 where role = 'receivable'", "movement_is_fixed"),
    ("a movement of no posting",
     "insert into movements select organization, gen_random_uuid(), place, ledger, role, party, currency, amount, null "
     "from movements", "movement_without_posting"),
    ("what is noted to be proved gone", "delete from sums_to_prove", None),
    ("a payment placed where no allocation is",
     "update payments set allocated = allocated - 100, unapplied = unapplied + 100", "allocations_add_up"),
    ("a write-off that nothing shows",
     "insert into write_offs select organization, gen_random_uuid(), ledger, id, 'write-off', 100, 0, issued_on, null, "
     f"'none', now() from invoices {BOOKED}", "allocations_add_up"),
    ("another amount among what is open", "update open_invoices set open = 1", None),
    ("what is open gone", "delete from open_invoices", None),
    ("a second entry of one purpose",
     "insert into postings (organization, id, ledger, document, purpose, type, state, created_at) "
     "select organization, gen_random_uuid(), ledger, document, purpose, type, 'waiting', now() from postings "
     "where purpose = 'issue'", "one_posting_per_purpose"),
    ("a guard switched off", "alter table invoices disable trigger guard_issued", None),
    ("a table gone", "drop table allocations", None),
]  # fmt: skip
"""What is tried, how, and which constraint refuses it (None: the role has no such right)."""


@pytest.fixture
async def booked(writer: Pool) -> Pool:
    """One invoice over 120.00 with 50.00 on it, both posted."""
    acme = await company(writer)
    await acme.issued("120.00")
    await acme.record(payment("50.00", reference="2026-000001"))
    await acme.post_all()
    return writer


@pytest.mark.parametrize(("statement", "constraint"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
async def test_the_database_refuses(booked: Pool, statement: str, constraint: str | None) -> None:
    async with booked.acquire() as connection:
        with pytest.raises(asyncpg.PostgresError) as refused:
            await connection.execute(statement)
    if constraint is None:
        assert isinstance(refused.value, asyncpg.InsufficientPrivilegeError), refused.value
    else:
        assert getattr(refused.value, "constraint_name", None) == constraint, refused.value


NOT_AS_OPEN = """
    select count(*)
    from (select * from invoices where status in ('issued', 'part-paid')) i
    full join open_invoices o on o.organization = i.organization and o.invoice = i.id
    where (o.ledger, o.customer, o.currency, o.due_on, o.issued_on, o.issued_at, o.open)
        is distinct from (i.ledger, i.customer, i.currency, i.due_on, i.issued_on, i.issued_at, i.open)
    """


async def test_what_is_open_stands_beside_the_invoices(writer: Pool) -> None:
    acme = await company(writer)
    whole, part = await acme.issued("120.00"), await acme.issued("60.00")
    (draft,) = await acme.make(acme.wish("30.00", issue=False))
    await acme.issued("0.00")
    assert (await acme.one(NOT_AS_OPEN))["count"] == 0
    assert (await acme.one("select count(*) from open_invoices"))["count"] == 2
    (paid, _) = await acme.record(
        payment("120.00", reference=whole["number"]), payment("10.00", "p-2", reference=part["number"])
    )
    assert (await acme.one(NOT_AS_OPEN))["count"] == 0
    assert [int(row["open"]) for row in await acme.all("select open from open_invoices")] == [5000]
    async with transaction(writer) as connection:
        for allocation in paid.allocations:
            await unallocate(connection, ORGANIZATION, paid.row["id"], allocation["id"], DAY, now())
        await issue_drafts(connection, acme.sealer, ORGANIZATION, [draft.body["id"]], now())
    assert (await acme.one(NOT_AS_OPEN))["count"] == 0
    assert (await acme.one("select count(*) from open_invoices"))["count"] == 3
    async with transaction(writer) as connection:
        await void_invoice(connection, ORGANIZATION, whole["id"], None, now())
    assert (await acme.one(NOT_AS_OPEN))["count"] == 0
    assert (await acme.one("select count(*) from open_invoices"))["count"] == 2


async def test_what_is_right_is_let_through(booked: Pool) -> None:
    statement = "update invoices set posting = 'needs-attention', version = version + 1"
    assert await booked.execute(statement) == "UPDATE 1"


async def test_an_allocation_keeps_the_day_of_its_invoice_whatever_it_says(booked: Pool) -> None:
    async with booked.acquire() as connection, connection.transaction():
        await connection.execute(
            f"update invoices set paid = 0, status = 'issued', version = version + 1 {BOOKED};"
            "update payments set allocated = 0, unapplied = amount, version = version + 1;"
            "insert into allocations select organization, gen_random_uuid(), source, source_id, invoice, amount, "
            "on_date, id, now(), null, '2020-01-01' from allocations"
        )
    rows = await booked.fetch(
        "select a.invoice_issued_on = i.issued_on as same from allocations a join invoices i on i.id = a.invoice"
    )
    assert [row["same"] for row in rows] == [True, True]
