"""Tax by category and rate, on both bases, against adding up one by one; and whether the books say the same."""

from collections.abc import AsyncIterator
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

import aiohttp
import orjson
import pytest

from libs.common.clock import now
from libs.common.db import Pool, transaction
from libs.common.money import ISO_4217
from services.invoicing import discounts, withholding
from services.invoicing.asking import Done
from services.invoicing.drafts import TaxTerms
from services.invoicing.invoice_plans import LineWish
from services.invoicing.tax_gathering import Wanted, gather
from services.invoicing.tax_lines import Based, CashEvent, base_with, due_by_event
from services.invoicing.tax_registrations import Registered, number_of_seller, windows
from tests.invoicing.books_heard import hear
from tests.invoicing.conftest import InvoicingDatabase
from tests.invoicing.histories import START, Trader
from tests.invoicing.serving import Service, invoicing_service
from tests.invoicing.trading import LEDGER, ORGANIZATION, Company, company, payment

USD = ISO_4217["USD"]
FULL, LOW = TaxTerms("S", Decimal(20)), TaxTerms("S", Decimal(5))
NUMBER = Registered(LEDGER, "US-1", "USD", date.min)


@pytest.fixture
async def service(writer: Pool, receivables: InvoicingDatabase, tmp_path: Path) -> AsyncIterator[Service]:
    """Invoicing's application on a real server."""
    async with invoicing_service(writer, receivables, tmp_path) as running:
        yield running


# --- rules ------------------------------------------------------------------------------------------------------------


def event(kind: str, **more: Any) -> CashEvent:
    about = {"source": f"{kind}/1", "document": None, "number": "1", "on": START.date()}
    return CashEvent(kind=kind, **{**about, **more})  # type: ignore[arg-type]


ROWS = {FULL: Based(100_00, 20_00), LOW: Based(10_00, 50)}

CASH = [
    # what happens                                                what each makes due of (20 %, 5 %)
    ([event("payment", paid=130_50)], [((100_00, 20_00), (10_00, 50))]),
    ([event("payment", paid=65_25), event("payment", paid=65_25)],
     [((50_00, 10_00), (5_00, 25)), ((50_00, 10_00), (5_00, 25))]),
    ([event("payment", paid=130_50), event("payment", paid=-130_50)],
     [((100_00, 20_00), (10_00, 50)), ((-100_00, -20_00), (-10_00, -50))]),
    ([event("payment", paid=43_50), event("payment", paid=43_50), event("payment", paid=43_50)],
     [((33_33, 6_67), (3_33, 17)), ((33_34, 6_66), (3_34, 16)), ((33_33, 6_67), (3_33, 17))]),
    ([event("credit-note", total=-130_50, rows={FULL: Based(-100_00, -20_00), LOW: Based(-10_00, -50)})],
     [((0, 0), (0, 0))]),
    ([event("payment", paid=65_25), event("write-off", given_up=65_25)],
     [((50_00, 10_00), (5_00, 25)), ((0, 0), (0, 0))]),
    ([event("write-off", given_up=130_50), event("write-off", source="write-off/2", undoes="write-off/1"),
      event("payment", paid=130_50)],
     [((0, 0), (0, 0)), ((0, 0), (0, 0)), ((100_00, 20_00), (10_00, 50))]),
    ([event("payment", paid=130_50),
      event("credit-note", total=-65_25, paid=-65_25, rows={FULL: Based(-50_00, -10_00), LOW: Based(-5_00, -25)}),
      event("payment", paid=-130_50), event("write-off", given_up=130_50)],
     [((100_00, 20_00), (10_00, 50)), ((-50_00, -10_00), (-5_00, -25)), ((-100_00, -20_00), (-10_00, -50)),
      ((0, 0), (0, 0))]),
    ([event("payment", paid=65_25),
      event("discount", total=-13_05, rows={FULL: Based(-10_00, -2_00), LOW: Based(-1_00, -5)}),
      event("payment", paid=52_20), event("payment", paid=-52_20),
      event("discount-taken-back", total=13_05, rows={FULL: Based(10_00, 2_00), LOW: Based(1_00, 5)})],
     [((50_00, 10_00), (5_00, 25)), ((0, 0), (0, 0)), ((40_00, 8_00), (4_00, 20)), ((-40_00, -8_00), (-4_00, -20)),
      ((0, 0), (0, 0))]),
]  # fmt: skip


@pytest.mark.parametrize(("events", "due"), CASH)
def test_tax_on_cash_basis_is_due_as_far_as_it_is_paid(events: list[CashEvent], due: list[Any]) -> None:
    found = due_by_event(ROWS, 130_50, events, USD)
    assert [tuple((each.base, each.tax) for each in row) for row in found] == due


@pytest.mark.parametrize(
    ("number", "stretches"),
    [
        ("DE1", [("eu", date(2026, 2, 1), date(2026, 2, 28)), ("uk", date(2026, 2, 1), date(2026, 4, 30))]),
        ("DE2", [("eu", date(2026, 3, 1), date(2026, 4, 30))]),
        ("FR1", []),
    ],
)
def test_a_ledger_reports_under_the_number_that_is_valid(number: str, stretches: list[Any]) -> None:
    rows = [
        Registered("eu", "DE2", "EUR", date(2026, 3, 1)),
        Registered("eu", "DE1", "EUR", date(2026, 1, 1)),
        Registered("uk", "DE1", "EUR", date(2020, 1, 1)),
        Registered("fr", "FR1", "EUR", date(2027, 1, 1)),
    ]
    assert [tuple(each) for each in windows(rows, number, date(2026, 2, 1), date(2026, 4, 30))] == stretches


def test_the_number_that_stands_on_invoices() -> None:
    assert number_of_seller({}) is None
    assert number_of_seller({"tax_ids": {"EIN": "1", "VAT": "DE1"}}) == "DE1"
    assert number_of_seller({"tax_ids": {"EIN": "1"}}) == "1"
    assert number_of_seller({"tax_ids": {"EIN": "1", "X": "2"}}) is None


def test_the_base_goes_with_its_tax() -> None:
    assert [base_with(tax, Based(100_00, 20_00)) for tax in (20_00, 6_67, -6_67)] == [100_00, 33_35, -33_35]
    assert base_with(5, Based(100_00, 0)) == 0


# --- the database -----------------------------------------------------------------------------------------------------

Sums = dict[tuple[str, Decimal], tuple[int, int]]


async def reported(trader: Trader, basis: str, since: date, until: date) -> Sums:
    wanted = Wanted(ORGANIZATION, "US-1", "USD", basis, [NUMBER])
    async with transaction(trader.company.pool) as connection:
        lines = await gather(connection, wanted, since, until)
    sums: Sums = {}
    for line in lines:
        base, tax = sums.get((line.category, line.rate), (0, 0))
        sums[line.category, line.rate] = base + line.own.base, tax + line.own.tax
        assert line.reported == line.own
    return {key: amounts for key, amounts in sums.items() if amounts != (0, 0)}


async def documents_one_by_one(trader: Trader, since: date, until: date) -> Sums:
    """What invoices, notes, voids and discounts of these days say, each looked at by itself."""
    sums: Sums = {}

    def add(taxes: list[Any], day: date, sign: int) -> None:
        for row in taxes if since <= day <= until else ():
            key = row["category"], row["rate"]
            base, tax = sums.get(key, (0, 0))
            sums[key] = base + sign * int(row["base"]), tax + sign * int(row["amount"])

    for invoice in await trader.company.all("select * from invoices"):
        taxes = await trader.company.all("select * from invoice_taxes where invoice = $1", invoice["id"])
        add(taxes, invoice["tax_point_on"], 1)
        if invoice["id"] in trader.voided:
            add(taxes, trader.voided[invoice["id"]].date(), -1)
    for note in await trader.company.all("select * from credit_notes"):
        taxes = await trader.company.all("select * from credit_note_taxes where credit_note = $1", note["id"])
        add(taxes, note["issued_on"], -1)
    for discount in await trader.company.all("select * from discounts"):
        taxes = await trader.company.all("select * from discount_taxes where discount = $1", discount["id"])
        add(taxes, discount["on_date"], -1 if discount["kind"] == "discount" else 1)
    return {key: amounts for key, amounts in sums.items() if amounts != (0, 0)}


async def due_one_by_one(acme: Company, since: date, until: date) -> dict[tuple[str, Decimal], int]:
    """The tax that entries of these days make due, as their decisions have it."""
    sums: dict[tuple[str, Decimal], int] = {}
    for posting in await acme.all("select draft from postings where state <> 'withdrawn'"):
        draft = orjson.loads(posting["draft"])
        if since <= date.fromisoformat(draft["effective_on"]) <= until:
            for line in draft["lines"]:
                if line["role"] == "tax-due":
                    key = line["tax"]["category"], Decimal(line["tax"]["rate"])
                    sums[key] = sums.get(key, 0) + (line["amount"] if line["side"] == "credit" else -line["amount"])
    return {key: amount for key, amount in sums.items() if amount}


def stretch(trader: Trader, chosen: Random) -> tuple[date, date]:
    days = (trader.at - START).days + 30
    first = START.date() - timedelta(days=25) + timedelta(days=chosen.randrange(days))
    return first, first + timedelta(days=chosen.randrange(days))


@pytest.mark.parametrize("seed", range(2))
async def test_any_days_on_accrual_are_their_documents(writer: Pool, seed: int) -> None:
    chosen = Random(seed)
    trader = Trader(await company(writer), chosen)
    await trader.begin(2)
    await trader.live(80)
    await trader.company.post_all()
    for _ in range(20):
        days = stretch(trader, chosen)
        assert await reported(trader, "accrual", *days) == await documents_one_by_one(trader, *days), days


@pytest.mark.parametrize("seed", range(2))
async def test_any_days_on_cash_are_what_was_made_due(writer: Pool, seed: int) -> None:
    chosen = Random(seed + 50)
    trader = Trader(await company(writer, "cash"), chosen)
    await trader.begin(2)
    await trader.live(80)
    await trader.company.post_all()
    for _ in range(20):
        days = stretch(trader, chosen)
        found = await reported(trader, "cash", *days)
        taxes = {key: tax for key, (_, tax) in found.items() if tax}
        assert taxes == await due_one_by_one(trader.company, *days), days
    whole = await reported(trader, "cash", date(2025, 1, 1), date(2027, 1, 1))
    paid = await trader.company.one("select sum(paid) as paid from invoices")
    gross = sum(base + tax for base, tax in whole.values())
    noted = await trader.company.one("select coalesce(sum(to_credit), 0) as noted from credit_notes")
    count = await trader.company.one("select count(*) from invoices")
    assert abs(gross - int(paid["paid"] - noted["noted"])) <= 3 * count["count"], "base and tax due are what was paid"


# 100.00 at 20 % and 20.00 at 5 %, both with their tax; 2.40 off by hand while half is paid, 17.60 withheld, both taken
# back, then the rest is paid in time but for 2.40. (By the day in February: kind, and base and tax at 20 %, at 5 %.)
# Cash: on the 4th 60.00 of 120.00 is paid, 8333 / 2 = 4166.5; on the 5th 60.00 of 117.60, 8166 x 60 / 117.60 = 4166.3.
DISCOUNTED = {
    "accrual": [
        (3, "invoice", (83_33, 16_67), (19_05, 95)),
        (5, "discount", (-1_67, -33), (-38, -2)),
        (8, "discount-taken-back", (1_67, 33), (38, 2)),
        (9, "discount", (-1_67, -33), (-38, -2)),
    ],
    "cash": [
        (4, "payment", (41_67, 8_34), (9_53, 48)),
        (5, "discount", (-1, 0), (0, -1)),
        (6, "payment", (12_22, 2_44), (2_79, 14)),
        (7, "payment", (-12_22, -2_44), (-2_79, -14)),
        (8, "discount-taken-back", (1, 0), (0, 1)),
        (9, "payment", (39_99, 8_00), (9_14, 45)),
    ],
}  # fmt: skip


@pytest.mark.parametrize("basis", list(DISCOUNTED))
async def test_discounts_and_tax_withheld_day_by_day(writer: Pool, basis: str) -> None:
    acme = await company(writer, basis)
    lines = (
        LineWish(description="Work", unit_price=Decimal("83.33"), tax=FULL),
        LineWish(description="Books", unit_price=Decimal("19.05"), tax=LOW),
    )
    made = await acme.issued(lines=lines, issued_on=date(2026, 2, 3), early_payment=(Decimal(2), 10))
    assert made["total"] == "120.00"
    invoice = made["id"]

    async def did(act: Any) -> Any:
        async with transaction(writer) as connection:
            done = await act(connection)
        assert isinstance(done, Done), done
        return done.body["id"]

    def on(day: int) -> date:
        return date(2026, 2, day)

    await acme.record(payment("60.00", "p-1", reference=made["number"], received_on=on(4)))
    less = await did(lambda connection: discounts.grant(connection, ORGANIZATION, invoice, None, on(5), now()))
    kept = await did(
        lambda connection: withholding.withhold(connection, ORGANIZATION, invoice, 17_60, None, on(6), now())
    )
    await did(lambda connection: withholding.take_back(connection, ORGANIZATION, kept, on(7), now()))
    await did(lambda connection: discounts.take_back(connection, ORGANIZATION, less, on(8), now()))
    await acme.record(payment("57.60", "p-2", reference=made["number"], received_on=on(9)))
    found: dict[int, dict[Any, Any]] = {}
    async with transaction(writer) as connection:
        wanted = Wanted(ORGANIZATION, "US-1", "USD", basis, [NUMBER])
        for line in await gather(connection, wanted, on(1), on(28)):
            found.setdefault(line.tax_point_on.day, {})[line.kind, line.rate] = line.own
    assert found == {
        day: {(kind, rate): Based(*own) for rate, own in ((20, full), (5, low)) if own != (0, 0)}
        for day, kind, full, low in DISCOUNTED[basis]
    }
    for day in range(1, 29):
        taxes = {rate: own.tax for (_, rate), own in found.get(day, {}).items() if own.tax}
        booked = await due_one_by_one(acme, on(day), on(day))
        assert {rate: amount for (_, rate), amount in booked.items()} == taxes, day


# --- over REST --------------------------------------------------------------------------------------------------------


async def seller(service: Service, basis: str = "accrual") -> None:
    body = {
        "standard": True,
        "functional_currency": "USD",
        "currencies": ["EUR"],
        "tax_basis": basis,
        "seller": {"name": "We", "tax_ids": {"VAT": "US-1"}},
    }
    status, told, _ = await service.send("PUT", "/ledgers/main/account-mapping", body)
    assert status == 200, told


@pytest.mark.parametrize("basis", ["accrual", "cash"])
async def test_a_report_ties_to_the_books_at_a_sequence(service: Service, basis: str) -> None:
    await seller(service, basis)
    trader = Trader(service.acme, Random(3))
    await trader.begin(2)
    await trader.live(80)
    await service.acme.post_all()
    heard = await hear(service.acme)
    late = await service.acme.issued("1200.00", issued_on=date(2026, 2, 2))
    about = {"amount": "1200.00", "received_on": "2026-02-03", "invoice_id": str(late["id"])}
    status, told, _ = await service.send("POST", "/payments", about)
    assert status == 201, told
    asked = "/tax/report?from=2025-12-01&to=2026-12-31"
    status, told, _ = await service.send("GET", asked)
    assert status == 200, told
    assert (told["tax_number"], told["basis"], told["currency"], told["ties"]) == ("US-1", basis, "USD", True)
    (book,) = told["books"]
    (row,) = book["rows"]
    assert (book["sequence"], row["not_posted"], row["difference"]) == (heard, "200.00", "0.00")
    assert Decimal(row["reported"]) == Decimal(told["total"]["tax"])
    assert late["number"] in {each["number"] for each in told["documents"]}
    for table in ("discounts", "withholdings"):
        assert await service.acme.one(f"select from {table} where kind = 'taken-back'") is not None
    status, other, _ = await service.send("GET", f"{asked}&basis={'cash' if basis == 'accrual' else 'accrual'}")
    assert (status, other["ties"], other["books"][0]["note"]) == (200, None, "the books are on the other basis")


async def test_a_missing_line_of_the_books_is_seen(service: Service) -> None:
    await seller(service)
    await service.acme.issued("120.00", issued_on=date(2026, 2, 2))
    await service.acme.post_all()
    async with transaction(service.acme.pool) as connection:
        await connection.execute(
            """
            insert into heads (organization, ledger, ledger_id, epoch, sequence, hash, heard_at)
            values ('demo', 'main', gen_random_uuid(), 1, 9, repeat('0', 64), now())
            """
        )
    _, told, _ = await service.send("GET", "/tax/report?from=2026-01-01&to=2026-12-31")
    (row,) = told["books"][0]["rows"]
    assert (told["ties"], row["reported"], row["books"], row["difference"]) == (False, "20.00", "0.00", "20.00")


async def test_the_lines_as_csv(service: Service) -> None:
    await seller(service)
    done = await service.acme.issued("120.00", issued_on=date(2026, 2, 2))
    headers = {**service.headers("viewer"), "Accept": "text/csv"}
    address = f"{service.url}/api/v1/tax/report?from=2026-01-01&to=2026-12-31"
    async with aiohttp.ClientSession() as session, session.get(address, headers=headers) as answer:
        head, line = (await answer.text()).splitlines()
    assert head.startswith("ledger,kind,number,document,tax_point_on,category,rate")
    assert line == f"main,invoice,{done['number']},{done['id']},2026-02-02,S,20,USD,100.00,20.00,100.00,20.00,false"


@pytest.mark.parametrize(
    ("query", "code", "pointer"),
    [
        ("from=2026-02-01&to=2026-01-01", "malformed", "/to"),
        ("from=2026-01-01&to=2026-02-01&tax_number=XX", "unknown-tax-number", "/tax_number"),
        ("from=2026-01-01&to=2026-02-01", "unknown-tax-number", "/tax_number"),
        ("from=yesterday&to=2026-02-01", "malformed", "/from"),
        ("from=0&to=2026-02-01", "malformed", "/from"),
        ("from=2026-01-01&to=1767225600", "malformed", "/to"),
        ("from=1899-12-31&to=2026-02-01", "malformed", "/from"),
        ("from=2026-01-01&to=3000-01-01", "malformed", "/to"),
    ],
)
async def test_a_report_that_cannot_be(service: Service, query: str, code: str, pointer: str) -> None:
    status, told, _ = await service.send("GET", f"/tax/report?{query}")
    assert (status, told["code"], told["errors"][0]["pointer"]) == (422, code, pointer), told


async def test_a_foreign_invoice_is_reported_at_its_tax_points_rate(service: Service) -> None:
    await seller(service)
    async with transaction(service.acme.pool) as connection:
        for rate, on in (("1.10", "2026-02-01"), ("1.20", "2026-02-15")):
            await connection.execute(
                """
                insert into rates (organization, provider, base, counter, rate, rate_on, published_at, known_at,
                    event_source, event_id)
                values (null, 'ecb', 'EUR', 'USD', $1, $2, now(), clock_timestamp(), 'fx', $3)
                """,
                Decimal(rate),
                date.fromisoformat(on),
                on,
            )
    wish = service.acme.wish(
        currency="EUR", issued_on=date(2026, 2, 3), tax_point_on=date(2026, 2, 20), due_on=date(2026, 3, 3)
    )
    (made,) = await service.acme.make(wish)
    assert isinstance(made, Done), made
    _, told, _ = await service.send("GET", "/tax/report?from=2026-02-01&to=2026-02-28")
    (row,) = told["rows"]
    assert (row["base"], row["tax"]) == ("120.00", "24.00"), told
    assert row["by_currency"] == [{"currency": "EUR", "base": "100.00", "tax": "20.00"}]
    (tie,) = told["books"][0]["rows"]
    assert (tie["reported"], tie["at_other_rates"], tie["not_posted"], tie["difference"]) == (
        "24.00", "-2.00", "22.00", "0.00",
    )  # fmt: skip
