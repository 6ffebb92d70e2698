"""A customer's statement: the rule as a table, random histories against adding up, and its three forms."""

from collections.abc import AsyncIterator
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from random import Random
from uuid import UUID

import aiohttp
import pytest

from libs.common.db import Pool
from services.invoicing.customer_statement import Event, kind_of, statement
from tests.invoicing.books_heard import hear
from tests.invoicing.conftest import InvoicingDatabase
from tests.invoicing.histories import START, Trader
from tests.invoicing.serving import Service, invoicing_service


@pytest.fixture
async def service(writer: Pool, receivables: InvoicingDatabase, tmp_path: Path) -> AsyncIterator[Service]:
    """Invoicing's application on a real server."""
    async with invoicing_service(writer, receivables, tmp_path) as running:
        yield running


def event(day: int, amount: int) -> Event:
    return Event(date(2026, 1, day), "invoice", "Invoice", "invoice/1", amount)


@pytest.mark.parametrize(
    ("events", "opening", "balances", "closing"),
    [
        ([], 0, [], 0),
        ([(1, 100)], 100, [], 100),
        ([(10, 100), (20, -40)], 0, [100, 60], 60),
        ([(1, 100), (10, -100), (20, -5)], 100, [0, -5], -5),
        ([(9, 7), (10, 1), (20, 2), (21, 4)], 7, [8, 10], 10),
    ],
)
def test_what_a_statement_says(
    events: list[tuple[int, int]], opening: int, balances: list[int], closing: int
) -> None:  # fmt: skip
    found = statement([event(*each) for each in events], date(2026, 1, 10), date(2026, 1, 20))
    assert (found.opening, [line.balance for line in found.lines], found.closing) == (opening, balances, closing)
    assert found.opening + found.debits - found.credits == found.closing


def test_every_event_has_its_name() -> None:
    named = [("payment/1", "payment"), ("write-off/1", "write_off"), ("credit-note/1", "credit_note"), ("x/1", "y")]
    assert [kind_of(*each) for each in named] == ["payment", "write-off", "credit-note", "x"]


async def test_what_settles_beside_payments_has_rows_of_its_own(service: Service) -> None:
    """Two invoices over 120.00: 2.40 off the first by hand, 20.00 withheld, both taken back; paid 30.00 too much,
    which goes to the second and comes back; 25.00 is promised back, 5.00 paid, the rest kept."""
    first = await service.acme.issued("120.00", issued_on=date(2026, 2, 2), early_payment=(Decimal(2), 20))
    second = await service.acme.issued("120.00", issued_on=date(2026, 2, 2))

    async def did(path: str, status: int = 201, **body: str) -> str:
        found, told, _ = await service.send("POST", path, body)
        assert found == status, told
        return str(told["id"])

    discount = await did(f"/invoices/{first['id']}/discount", on="2026-02-03")
    withheld = await did(f"/invoices/{first['id']}/withholding", on="2026-02-04", amount="20.00")
    await did(f"/discounts/{discount}/take-back", 200, on="2026-02-05")
    await did(f"/withholdings/{withheld}/take-back", 200, on="2026-02-06")
    await did("/payments", amount="150.00", received_on="2026-02-07", currency="USD", reference=first["number"])
    customer = f"/customers/{service.acme.customer}"
    used = await did(f"{customer}/credit/apply", currency="USD", on="2026-02-08")
    await did(f"/credit-applications/{used}/take-back", 200, on="2026-02-09")
    promise = await did(f"{customer}/refunds-payable", currency="USD", amount="25.00", on="2026-02-10")
    await did(f"/refunds-payable/{promise}/pay", 200, amount="5.00", on="2026-02-11")
    await did(f"/refunds-payable/{promise}/cancel", 200, on="2026-02-12")
    await service.acme.post_all()
    heard = await hear(service.acme)
    status, told, _ = await service.send("GET", f"{customer}/statement?from=2026-02-01&to=2026-02-28")
    assert (status, told["books"]["ties"], told["books"]["sequence"]) == (200, True, heard), told
    assert [(row["on"][-2:], row["kind"], row["debit"], row["credit"], row["balance"]) for row in told["lines"]] == [
        ("02", "invoice", "120.00", None, "120.00"),
        ("02", "invoice", "120.00", None, "240.00"),
        ("03", "discount", None, "2.40", "237.60"),
        ("04", "tax-withheld", None, "20.00", "217.60"),
        ("05", "discount-taken-back", "2.40", None, "220.00"),
        ("06", "tax-withheld-taken-back", "20.00", None, "240.00"),
        ("07", "payment", None, "150.00", "90.00"),
        ("08", "credit-used", "30.00", "30.00", "90.00"),
        ("09", "credit-used-taken-back", "30.00", "30.00", "90.00"),
        ("10", "refund-promised", "25.00", "25.00", "90.00"),
        ("11", "refund", "5.00", None, "95.00"),
        ("12", "refund-promise-cancelled", "20.00", "20.00", "95.00"),
    ]  # fmt: skip
    assert second["number"] in told["lines"][1]["description"]
    assert (told["opening"], told["debits"], told["credits"], told["closing"]) == ("0.00", "372.40", "277.40", "95.00")


async def test_any_days_of_a_history(service: Service) -> None:
    chosen = Random(8)
    trader = Trader(service.acme, chosen)
    await trader.begin(2)
    await trader.live(70)
    await service.acme.post_all()
    await hear(service.acme)
    span = (trader.at.date() - START.date()).days
    for _ in range(12):
        customer = chosen.choice(trader.customers)
        first = START.date() + timedelta(days=chosen.randrange(-30, span))
        last = first + timedelta(days=chosen.randrange(span))
        status, told, _ = await service.send("GET", f"/customers/{customer}/statement?from={first}&to={last}")
        assert (status, told["books"]["ties"], told["without_entry"]) == (200, True, 0), told
        assert Decimal(told["closing"]) == await balance(trader, customer, last)
        assert Decimal(told["opening"]) == await balance(trader, customer, first - timedelta(days=1))
        running = Decimal(told["opening"])
        for line in told["lines"]:
            running += Decimal(line["debit"] or 0) - Decimal(line["credit"] or 0)
            assert running == Decimal(line["balance"])
        assert running == Decimal(told["closing"])
        open_ = sum(
            amount
            for invoice, amount in trader.open_at(last, trader.at).items()
            if trader.made[invoice].customer == customer
        )
        assert Decimal(told["ageing"]["open"]) == Decimal(open_) / 100


async def balance(trader: Trader, customer: UUID, last: date) -> Decimal:
    """Invoices less what was made void, credited, taken off, paid, withheld and given up, plus what went back: each by
    its own day."""
    amount = await trader.company.pool.fetchval(
        """
        select (select coalesce(sum(total), 0) from invoices where customer = $1 and issued_on <= $2)
             - (select coalesce(sum(total), 0) from invoices
                where customer = $1 and status = 'void' and (voided_at at time zone 'UTC')::date <= $2
                  and issued_on <= $2)
             - (select coalesce(sum(total), 0) from credit_notes where customer = $1 and issued_on <= $2)
             - (select coalesce(sum(amount), 0) from payments where customer = $1 and received_on <= $2)
             + (select coalesce(sum(amount), 0) from refunds where customer = $1 and refunded_on <= $2)
             - (select coalesce(sum(case when w.kind = 'write-off' then w.amount else -w.amount end), 0)
                from write_offs w join invoices i on i.id = w.invoice
                where i.customer = $1 and w.on_date <= $2 and w.kind in ('write-off', 'reversal'))
             - (select coalesce(sum(case when d.kind = 'discount' then d.total else -d.total end), 0)
                from discounts d join invoices i on i.id = d.invoice where i.customer = $1 and d.on_date <= $2)
             - (select coalesce(sum(case when w.kind = 'withheld' then w.amount else -w.amount end), 0)
                from withholdings w join invoices i on i.id = w.invoice where i.customer = $1 and w.on_date <= $2)
             + (select coalesce(sum(m.amount), 0) from refund_payable_moves m join refunds_payable r on r.id = m.refund
                where r.customer = $1 and m.kind = 'paid' and m.on_date <= $2)
        """,
        customer,
        last,
    )
    return Decimal(amount) / 100


async def test_as_csv_and_as_a_page(service: Service) -> None:
    done = await service.acme.issued("120.00", issued_on=date(2026, 2, 2))
    address = f"{service.url}/api/v1/customers/{service.acme.customer}/statement?from=2026-02-01&to=2026-02-28"
    texts = {}
    async with aiohttp.ClientSession() as session:
        for form in ("text/csv", "text/html"):
            headers = {**service.headers("viewer"), "Accept": form}
            async with session.get(address, headers=headers) as answer:
                assert answer.status == 200
                assert answer.content_type == form
                texts[form] = await answer.text()
    assert texts["text/csv"].splitlines() == [
        "on,kind,description,document,debit,credit,balance,posted",
        "2026-02-01,opening-balance,,,,,0.00,",
        f"2026-02-02,invoice,Invoice {done['number']},invoice/{done['id']},120.00,,120.00,false",
        "2026-02-28,closing-balance,,,120.00,0.00,120.00,",
    ]
    assert "Acme Corp" in texts["text/html"]
    assert f"Invoice {done['number']}" in texts["text/html"]


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("{acme}/statement?from=2026-02-01&to=2026-01-01", 422, "malformed"),
        ("{acme}/statement?from=0&to=2026-01-01", 422, "malformed"),
        ("{acme}/statement?from=2026-01-01&to=1767225600", 422, "malformed"),
        ("{acme}/statement?from=1899-12-31&to=2026-01-01", 422, "malformed"),
        ("{acme}/statement?from=2026-01-01&to=3000-01-01", 422, "malformed"),
        ("{acme}/statement?from=2026-02-01&to=2026-03-01&currency=XQX", 422, "unknown-currency"),
        ("00000000-0000-0000-0000-000000000007/statement?from=2026-02-01&to=2026-03-01", 404, "unknown-customer"),
    ],
)
async def test_statements_that_cannot_be(service: Service, path: str, status: int, code: str) -> None:
    got, told, _ = await service.send("GET", f"/customers/{path.format(acme=service.acme.customer)}")
    assert (got, told["code"]) == (status, code), told


async def test_another_organization_has_no_such_customer(service: Service) -> None:
    path = f"/customers/{service.acme.customer}/statement?from=2026-02-01&to=2026-03-01"
    got, told, _ = await service.send("GET", path, headers=service.headers("controller", organization="other"))
    assert (got, told["code"]) == (404, "unknown-customer")
