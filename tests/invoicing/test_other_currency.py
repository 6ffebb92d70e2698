"""Payments in another currency than their invoice's, at the rate that they state: in, back, and in the books."""

from collections.abc import AsyncIterator
from datetime import date
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.clock import now
from libs.common.db import Pool
from libs.common.errors import Rejection
from libs.common.journal import Rate
from libs.common.money import ISO_4217
from services.invoicing.exchanging import fitted, most, pair_of, share, worth
from tests.invoicing.conftest import InvoicingDatabase
from tests.invoicing.hearing import Log
from tests.invoicing.paying import payments
from tests.invoicing.random_trade import RuledBooks
from tests.invoicing.serving import Service, invoicing_service
from tests.invoicing.test_settling import amounts, did

USD, EUR, JPY, KWD = (ISO_4217[code] for code in ("USD", "EUR", "JPY", "KWD"))
RATE = {"base": "EUR", "counter": "USD", "rate": "1.10"}
LINES = [{"description": "Work", "unit_price": "100.00", "tax": {"category": "S", "rate": "20"}}]

# --- the rule ---------------------------------------------------------------------------------------------------------

MOST = [
    ("just all of it", 132_00, 120_00, ("EUR", "USD", "1.10"), (132_00, 120_00)),
    ("the other way round", 150_00, 120_00, ("USD", "EUR", "0.8"), (150_00, 120_00)),
    ("a cent that the rate cannot say", 131_99, 120_00, ("EUR", "USD", "1.10"), (131_99, 120_00)),
    ("half of it", 66_00, 120_00, ("EUR", "USD", "1.10"), (66_00, 60_00)),
    ("more than all", 140_00, 120_00, ("EUR", "USD", "1.10"), (132_00, 120_00)),
    ("too little for a cent", 1, 120_00, ("EUR", "USD", "5"), (1, 0)),
    ("nothing open", 1_00, 0, ("EUR", "USD", "1.10"), (0, 0)),
]


@pytest.mark.parametrize(("left", "open_", "rate", "expected"), [row[1:] for row in MOST], ids=[row[0] for row in MOST])
def test_as_much_as_there_is_of_both(left: int, open_: int, rate: tuple[str, str, str], expected: Any) -> None:
    assert most((USD, left), (EUR, open_), Rate(*rate)) == expected


def test_amounts_cross_currencies_with_other_cents() -> None:
    assert worth(150_00, USD, JPY, Rate("USD", "JPY", "151.5")) == 22725
    assert worth(22725, JPY, USD, Rate("USD", "JPY", "151.5")) == 150_00
    assert worth(1_000, KWD, USD, Rate("KWD", "USD", "3.25")) == 3_25


def test_amounts_that_do_not_fit_are_told_with_the_rate() -> None:
    refused = fitted((USD, 133_00), (EUR, 120_00), Rate("EUR", "USD", "1.10"), "/allocations/0")
    assert isinstance(refused, Rejection)
    assert (refused.code, refused.errors[0].pointer) == ("rate-mismatch", "/allocations/0")
    assert refused.facts == {
        "amount": "133.00", "at_rate": "132.00", "paid": "133.00", "settled": "120.00", "base": "EUR",
        "counter": "USD", "rate": "1.10",
    }  # fmt: skip
    assert fitted((USD, 132_01), (EUR, 120_00), Rate("EUR", "USD", "1.10"), "/") is None
    assert pair_of(Rate("EUR", "USD", "1.10"), USD, EUR) is None
    for rate, here, there, code in (
        (("EUR", "USD", "0.0"), USD, EUR, "rate-mismatch"),
        (("EUR", "GBP", "1.10"), USD, EUR, "currency-mismatch"),
        (("EUR", "USD", "1.10"), USD, USD, "currency-mismatch"),
    ):
        refused = pair_of(Rate(*rate), here, there)
        assert isinstance(refused, Rejection)
        assert refused.code == code


@given(st.integers(1, 10**9), st.integers(1, 10**9), st.integers(1, 10**9))
def test_a_part_goes_with_a_like_part(settled: int, paid: int, part: int) -> None:
    part = min(part, paid)
    assert 0 <= share(settled, part, paid) <= settled
    assert share(settled, paid, paid) == settled


# --- over REST, with the ledger's own rules ---------------------------------------------------------------------------


@pytest.fixture
async def service(writer: Pool, receivables: InvoicingDatabase, tmp_path: Path) -> AsyncIterator[Service]:
    async with invoicing_service(writer, receivables, tmp_path) as running:
        mapping = {"standard": True, "currencies": ["EUR"]}
        assert (await running.send("PUT", "/ledgers/main/account-mapping", mapping))[0] == 200
        await rate_known(running, now().date())
        yield running


async def rate_known(service: Service, on: date) -> None:
    """What a euro is worth in the ledger's own currency, from a day on: revenue and tax are booked in that."""
    await service.acme.pool.execute(
        "insert into rates (organization, provider, base, counter, rate, rate_on, published_at, known_at, event_source,"
        " event_id) values (null, 'ecb', 'EUR', 'USD', 1.25, $1, now(), clock_timestamp(), 'fx', $1::date::text)",
        on,
    )


async def on_basis(service: Service, basis: str) -> None:
    mapping = {"standard": True, "currencies": ["EUR"], "tax_basis": basis}
    assert (await service.send("PUT", "/ledgers/main/account-mapping", mapping))[0] == 200


async def invoice(service: Service, **more: Any) -> dict[str, Any]:
    """An invoice over 120.00 EUR."""
    body = {"customer": "Acme Corp", "currency": "EUR", "lines": LINES, "issue": True, **more}
    return await did(service, "/invoices", body)


async def tied(service: Service) -> None:
    """The ledger's own rules post all of it, and everything ties out at every sequence."""
    books = RuledBooks(service.acme.pool, Log("demo"))
    await books.open()
    await books.settle()
    for sequence in range(books.log.sequence + 1):
        proof = await books.proof(sequence)
        assert proof.ties, [row for row in proof.rows if not row.ties]
    assert proof.unposted_count == 0


async def movements(service: Service) -> dict[tuple[str, str], int]:
    rows = await service.acme.all("select role, currency, sum(amount) as amount from movements group by role, currency")
    return {(row["role"], row["currency"]): int(row["amount"]) for row in rows if row["amount"]}


PAID = [
    ("all of it", {"amount": "132.00", "rate": RATE}, ("paid", "120.00", "0.00", "0.00"), (13200, 0, 0, 0)),
    ("by the other way round", {"amount": "150.00", "rate": {"base": "USD", "counter": "EUR", "rate": "0.8"}},
     ("paid", "120.00", "0.00", "0.00"), (15000, 0, 0, 0)),
    ("a part", {"amount": "50.00", "currency": "USD", "rate": RATE}, ("part-paid", "45.45", "0.00", "74.55"),
     (5000, 0, 0, 0)),
    ("too much", {"amount": "140.00", "rate": RATE}, ("paid", "120.00", "0.00", "0.00"), (13200, 0, 800, 0)),
    ("with a fee", {"amount": "132.00", "fee": "3.00", "rate": RATE}, ("paid", "120.00", "0.00", "0.00"),
     (13200, 0, 0, 0)),
    ("what is said", {"amount": "132.00", "rate": RATE, "allocations": [{"amount": "60.00", "paid": "66.01"}]},
     ("part-paid", "60.00", "0.00", "60.00"), (6601, 0, 6599, 0)),
    ("the invoice's amount", {"amount": "132.00", "rate": RATE, "allocations": [{"amount": "60.00"}]},
     ("part-paid", "60.00", "0.00", "60.00"), (6600, 0, 6600, 0)),
]  # fmt: skip


@pytest.mark.parametrize(("body", "stands", "placed"), [row[1:] for row in PAID], ids=[row[0] for row in PAID])
@pytest.mark.parametrize("basis", ["accrual", "cash"])
async def test_a_payment_crosses_at_its_rate(
    service: Service, body: dict[str, Any], stands: Any, placed: tuple[int, ...], basis: str
) -> None:
    await on_basis(service, basis)
    made = await invoice(service)
    named = {"invoice_id": made["id"]}
    if "allocations" in body:
        named = {"allocations": [{**named, **each} for each in body["allocations"]]}  # type: ignore[dict-item] # a body
    told = await did(service, "/payments", {**body, **named})
    assert (told["currency"], told["rate"]["rate"]) == ("USD", body["rate"]["rate"].rstrip("0"))
    (allocation,) = told["allocations"]
    assert (allocation["currency"], allocation["amount"], allocation["paid"]) == (
        "EUR",
        stands[1],
        f"{placed[0] / 100:.2f}",
    )
    assert await amounts(service, made["id"]) == stands
    assert [row[1:] for row in await payments(service.acme.pool)] == [placed]
    _, read, _ = await service.send("GET", f"/payments/{told['id']}")
    assert (read["rate"], read["allocations"]) == (told["rate"], told["allocations"])
    _, read, _ = await service.send("GET", f"/invoices/{made['id']}")
    assert read["allocations"] == told["allocations"]
    await tied(service)


async def _back(service: Service, step: str, payment: str, **body: Any) -> dict[str, Any]:
    return await did(service, f"/payments/{payment}/{step}", body)


@pytest.mark.parametrize("basis", ["accrual", "cash"])
async def test_what_goes_back_goes_back_at_the_same_rate(service: Service, basis: str) -> None:
    await on_basis(service, basis)
    made = await invoice(service)
    told = await did(service, "/payments", {"invoice_id": made["id"], "amount": "140.00", "rate": RATE})
    await _back(service, "return", told["id"], amount="41.00", fee="2.00")
    assert await amounts(service, made["id"]) == ("part-paid", "90.00", "0.00", "30.00")
    opened = await _back(service, "disputes", told["id"], amount="33.33", fee="15.00")
    assert await amounts(service, made["id"]) == ("part-paid", "59.70", "0.00", "60.30")
    await did(service, f"/disputes/{opened['id']}/won", {"fee": "15.00"}, 200)
    assert await amounts(service, made["id"]) == ("part-paid", "90.00", "0.00", "30.00")
    await _back(service, "refunds", told["id"], amount="0.01")
    assert await payments(service.acme.pool) == [(told["payment_id"], 9899, 0, 0, 4101)]
    _, read, _ = await service.send("GET", f"/payments/{told['id']}")
    undone = {each["undoes"] for each in read["allocations"]}
    standing = [each for each in read["allocations"] if each["undoes"] is None and each["id"] not in undone]
    path = f"/payments/{told['id']}/allocations"
    for each in standing:
        status, back, _ = await service.send("DELETE", f"{path}/{each['id']}")
        assert (status, back["amount"], back["paid"]) == (200, each["amount"], each["paid"])
    assert await amounts(service, made["id"]) == ("issued", "0.00", "0.00", "120.00")
    assert await payments(service.acme.pool) == [(told["payment_id"], 0, 9899, 0, 4101)]
    found = await movements(service)
    assert (found["receivable", "EUR"], found["unapplied-receipts", "USD"]) == (12000, -9899)
    await tied(service)


async def test_a_won_dispute_finds_its_invoice_settled_by_other_money(service: Service) -> None:
    made = await invoice(service)
    told = await did(service, "/payments", {"invoice_id": made["id"], "amount": "132.00", "rate": RATE})
    opened = await _back(service, "disputes", told["id"])
    await did(service, "/payments", {"invoice_id": made["id"], "amount": "100.00"})
    await did(service, f"/disputes/{opened['id']}/won", None, 200)
    assert await amounts(service, made["id"]) == ("paid", "120.00", "0.00", "0.00")
    rows = [row[1:] for row in await payments(service.acme.pool)]
    assert sorted(rows) == [(2200, 11000, 0, 0), (10000, 0, 0, 0)]
    await tied(service)


async def test_two_currencies_that_are_both_foreign_wait_for_a_rate(service: Service) -> None:
    mapping = {"standard": True, "currencies": ["EUR", "GBP"]}
    assert (await service.send("PUT", "/ledgers/main/account-mapping", mapping))[0] == 200
    made = await invoice(service)
    rate = {"base": "GBP", "counter": "EUR", "rate": "1.20"}
    told = await did(service, "/payments", {
        "invoice_id": made["id"], "amount": "100.00", "received_on": "2026-03-02", "rate": rate,
    })  # fmt: skip
    assert await amounts(service, made["id"]) == ("paid", "120.00", "0.00", "0.00")
    posting = await service.acme.one("select id, state, rejection from postings where purpose = 'payment'")
    assert (posting["state"], "rate-missing" in posting["rejection"]) == ("waiting", True)
    await rate_known(service, date(2026, 3, 2))
    status, tried, _ = await service.send("POST", f"/postings/{posting['id']}/retry")
    assert (status, tried["state"]) == (200, "waiting"), tried
    await service.acme.post_all()
    found = await movements(service)
    assert (found.get(("receivable", "EUR")), told["currency"]) == (None, "GBP")
    drafted = await service.acme.one("select value from postings where purpose = 'payment'")
    assert b'"base":"GBP","counter":"USD","rate":"1.5"' in drafted["value"]


REFUSED = [
    ("no rate", {"currency": "USD"}, "currency-mismatch", "/currency", {"currency": "EUR"}),
    ("the rate of a third", {"currency": "USD", "rate": {**RATE, "counter": "GBP"}}, "currency-mismatch", "/rate",
     {"currency": "USD", "invoice": "EUR", "rate": "1.10"}),
    ("a rate where none is needed", {"currency": "EUR", "rate": RATE}, "currency-mismatch", "/rate", None),
    ("a rate of nothing", {"rate": {**RATE, "rate": "0.00"}}, "rate-mismatch", "/rate/rate", None),
    ("a rate and no invoice", {"currency": "USD", "rate": RATE, "allocations": []}, "rate-without-invoice", "/rate",
     None),
    ("amounts that do not fit", {"rate": RATE, "allocations": [{"amount": "120.00", "paid": "131.00"}]},
     "rate-mismatch", "/allocations/0",
     {"amount": "131.00", "at_rate": "132.00", "paid": "131.00", "settled": "120.00", "base": "EUR", "counter": "USD",
      "rate": "1.10"}),
    ("more than is left", {"rate": RATE, "allocations": [{"amount": "120.01"}]}, "allocation-exceeds-payment",
     "/allocations/0/amount", {"amount": "132.01", "left": "132.00"}),
    ("more than is open", {"amount": "200.00", "rate": RATE, "allocations": [{"amount": "120.01"}]},
     "allocation-exceeds-open", "/amount", None),
    ("paid and no amount", {"rate": RATE, "allocations": [{"paid": "66.00"}]}, "paid-without-rate",
     "/allocations/0/paid", None),
    ("paid and no rate", {"currency": "EUR", "allocations": [{"amount": "60.00", "paid": "60.00"}]},
     "paid-without-rate", "/allocations/0/paid", None),
]  # fmt: skip


@pytest.mark.parametrize(
    ("body", "code", "pointer", "facts"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED]
)
async def test_what_does_not_fit_is_refused_with_its_numbers(
    service: Service, body: dict[str, Any], code: str, pointer: str, facts: Any
) -> None:
    made = await invoice(service)
    named: dict[str, Any] = {"invoice_id": made["id"]}
    if "allocations" in body:
        named = {"allocations": [{**named, **each} for each in body["allocations"]]}
    refused = await did(service, "/payments", {"amount": "132.00", **body, **named}, 422)
    assert (refused["code"], refused["errors"][0]["pointer"]) == (code, pointer)
    assert facts in (None, refused["facts"]), refused["facts"]
    assert await amounts(service, made["id"]) == ("issued", "0.00", "0.00", "120.00")
    assert await payments(service.acme.pool) == []


async def test_too_small_a_part_is_refused(service: Service) -> None:
    made = await invoice(service)
    rate = {"base": "EUR", "counter": "USD", "rate": "1000"}
    told = await did(service, "/payments", {"invoice_id": made["id"], "amount": "10.00", "rate": rate})
    refused = await did(service, f"/payments/{told['id']}/return", {"amount": "9.99"}, 422)
    assert (refused["code"], refused["facts"]) == (
        "rate-mismatch", {"amount": "9.99", "paid": "10.00", "settled": "0.01", "currency": "EUR"},
    )  # fmt: skip
    await did(service, f"/payments/{told['id']}/return")
    assert await amounts(service, made["id"]) == ("issued", "0.00", "0.00", "120.00")
    await tied(service)


_PAYMENT = (
    "insert into payments (organization, id, ledger, provider, payment_id, currency, amount, fee, received_on, method, "
    "allocated, unapplied, to_credit, refunded, posting, created_at, stated_base, stated_counter, stated_rate) "
    "select organization, gen_random_uuid(), ledger, provider, 'x', currency, 1, 0, received_on, method, 0, 1, 0, 0, "
    "'none', created_at, {} from payments"
)
_MOVED = (
    "update payments set allocated = allocated + 1, to_credit = to_credit - 1; "
    "update invoices set paid = paid + 1, version = version + 1; "
)
_ALLOCATION = (
    "insert into allocations select organization, gen_random_uuid(), {} on_date, {}, created_at, {} from allocations"
)
_LIKE = "source, source_id, invoice, amount,"
GUARDED = [
    ("another rate", "update payments set stated_rate = 2", "payment_is_fixed"),
    ("half a rate", _PAYMENT.format("'EUR', null, 1"), "rate_stated_whole"),
    ("a rate of nothing", _PAYMENT.format("'EUR', 'USD', 0"), "rate_mismatch"),
    ("a rate of others", _PAYMENT.format("'EUR', 'GBP', 1"), "rate_of_the_payment"),
    ("an allocation that does not say what was paid",
     _MOVED + _ALLOCATION.format("source, source_id, invoice, 1,", "null", "null"), "currency_mismatch"),
    ("nothing paid", _ALLOCATION.format(_LIKE, "null", "0"), "paid_not_positive"),
    ("credit that crosses", _ALLOCATION.format("'credit', source_id, invoice, amount,", "null", "1"),
     "paid_by_a_payment"),
    ("another amount taken back", _ALLOCATION.format(_LIKE, "id", "1"), "undoing_differs"),
    ("what was paid is not what the payment placed",
     _MOVED + _ALLOCATION.format("source, source_id, invoice, 1,", "null", "2"), "allocations_add_up"),
]  # fmt: skip
"""What is tried with the service's own role, and which constraint refuses it."""


@pytest.mark.parametrize(("statement", "constraint"), [row[1:] for row in GUARDED], ids=[row[0] for row in GUARDED])
async def test_the_database_refuses(service: Service, statement: str, constraint: str) -> None:
    made = await invoice(service)
    placed = [{"invoice_id": made["id"], "amount": "60.00"}]
    await did(service, "/payments", {"amount": "132.00", "rate": RATE, "allocations": placed})
    with pytest.raises((asyncpg.CheckViolationError, asyncpg.UniqueViolationError)) as refused:
        await service.acme.pool.execute(statement)
    assert refused.value.constraint_name == constraint


async def test_money_settles_invoices_of_its_own_ledger(service: Service) -> None:
    mapping = {"standard": True, "currencies": ["EUR"], "functional_currency": "USD"}
    assert (await service.send("PUT", "/ledgers/second/account-mapping", mapping))[0] == 200
    elsewhere = await invoice(service, ledger="second")
    loose = await did(service, "/payments", {"amount": "50.00", "currency": "EUR"})
    await did(service, f"/payments/{loose['id']}/customer", {"customer": "Acme Corp"}, 200)
    named = {"invoice_id": elsewhere["id"], "amount": "5.00"}
    refused = await did(service, f"/payments/{loose['id']}/allocations", named, 422)
    assert (refused["code"], refused["facts"]) == ("ledger-differs", {"ledger": "second"})
    await did(service, f"/payments/{loose['id']}/keep-as-credit", None, 200)
    wish = {"currency": "EUR", "allocations": [named]}
    refused = await did(service, f"/customers/{elsewhere['customer']}/credit/apply", wish, 422)
    assert (refused["code"], refused["errors"][0]["pointer"]) == ("ledger-differs", "/allocations/0/invoice_id")
