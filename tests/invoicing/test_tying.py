"""Receivables tie out with the books at any sequence, whatever happens; what does not is told, and by whom."""

import random
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from libs.common import metrics
from libs.common.clock import now
from libs.common.db import Pool, create_pool, transaction
from libs.common.money import ISO_4217
from services.invoicing.keeping import assign, keep_as_credit
from services.invoicing.refunds_payable import PromiseWish, cancel, pay, promise
from services.invoicing.tying import TieOutGauge
from services.invoicing.voiding import void_invoice
from services.invoicing.withholding import withhold
from tests.invoicing.bookkeeping_story import Books
from tests.invoicing.conftest import InvoicingDatabase
from tests.invoicing.paying import tell, told
from tests.invoicing.serving import invoicing_service
from tests.invoicing.trading import DAY, ORGANIZATION, Company, company


async def books_of(acme: Company) -> Books:
    books = Books(acme.pool)
    await books.open()
    return books


async def test_a_story_ties_at_every_sequence(writer: Pool) -> None:
    acme = await company(writer)
    books = await books_of(acme)
    await acme.issued("1500.00")
    await tell(writer, told("received", "750.00", reference="2026-000001", fee="20.00"))
    await books.settle()
    await tell(writer, told("received", "800.00", reference="2026-000001", payment_id="p-2"))
    await tell(writer, told("received", "33.00", payment_id="p-3"), told("refunded", "100.00"))
    await books.settle()
    await tell(writer, told("disputed", "50.00", status="opened", fee="15.00"), told("paid", "1000.00"))
    await books.settle()
    proofs = [await books.proof(sequence) for sequence in range(books.log.sequence + 1)]
    assert all(proof.ties and proof.complete for proof in proofs)
    assert [proof.unposted_count for proof in proofs][-1] == 0
    last = {(row.roles, row.party is None): row.books for row in proofs[-1].rows}
    assert last[("receivable",), False] == 15_000
    assert last[("customer-credit",), False] == -5_000
    assert last[("unapplied-receipts",), False] == -3_300


async def test_what_is_not_posted_yet_is_told_and_ties_all_the_same(writer: Pool) -> None:
    acme = await company(writer)
    books = await books_of(acme)
    await acme.issued("120.00")
    await tell(writer, told("received", "50.00", reference="2026-000001"))
    await books.post(1)
    await books.tell()  # in the books, the answer is late: the books' word counts
    proof = await books.proof(books.log.sequence)
    assert proof.ties
    assert [(row.roles, row.books) for row in proof.rows if row.roles == ("receivable",)] == [(("receivable",), 12_000)]
    assert [(each.purpose, each.state) for each in proof.unposted] == [("payment", "waiting")]
    await books.settle()
    assert (await books.proof(books.log.sequence)).unposted_count == 0


async def test_an_entry_by_another_hand_is_flagged_and_a_lost_one_too(
    writer: Pool, receivables: InvoicingDatabase
) -> None:
    acme = await company(writer)
    books = await books_of(acme)
    await acme.issued("120.00")
    await books.settle()
    account = await writer.fetchval("select account from account_mappings where role = 'receivable' and currency = ''")
    auditor = await create_pool(receivables.dsns.auditor, name="auditor", max_size=2)
    gauge = TieOutGauge(auditor)
    await gauge.step()
    assert _gauges() == (0, 0)
    lines = [
        {"account": account, "side": "debit", "amount": "5.00", "party": str(acme.customer)},
        {"account": "4000-OTHER", "side": "credit", "amount": "5.00"},
    ]
    books.add(lines, None, "api")
    await books.tell()
    proof = await books.proof(books.log.sequence)
    assert not proof.ties
    assert [(each.service, each.account, each.amount) for each in proof.by_others] == [("api", account, 500)]
    await gauge.step()
    assert _gauges() == (0, 1)
    books.add(lines, None, "invoicing")  # posted as ours, but never asked for
    await books.tell()
    await gauge.step()
    assert _gauges() == (1, 1)
    proof = await books.proof(books.log.sequence)
    assert [row.difference for row in proof.rows if not row.ties] == [500]
    assert (await books.proof(books.log.sequence - 2)).ties
    await auditor.close()


def _gauges() -> tuple[float, float]:
    return (
        metrics.INVOICING_TIE_OUT_DIFFERENCES._value.get(),
        metrics.INVOICING_ENTRIES_BY_OTHERS._value.get(),
    )


async def test_the_tie_out_over_rest(writer: Pool, receivables: InvoicingDatabase, tmp_path: Path) -> None:
    async with invoicing_service(writer, receivables, tmp_path) as service:
        books = await books_of(service.acme)
        await service.acme.issued("120.00")
        await books.settle()
        await service.acme.issued("60.00")
        status, told_, _ = await service.send("GET", "/receivables/tie-out")
        assert status == 200, told_
        assert (told_["sequence"], told_["ties"], told_["complete"], told_["unposted"]["count"]) == (2, True, True, 1)
        owed = next(row for row in told_["rows"] if row["roles"] == ["receivable"])
        assert (owed["subledger"], owed["books"], owed["difference"]) == ("120.00", "120.00", "0.00")
        status, before, _ = await service.send("GET", "/receivables/tie-out?sequence=1")
        assert (status, before["rows"]) == (200, [])
        status, refused, _ = await service.send("GET", "/receivables/tie-out?sequence=9")
        assert (status, refused["code"], refused["facts"]["heard_through"]) == (422, "sequence-not-heard", 2)
        other = service.headers(organization="other")
        status, empty, _ = await service.send("GET", "/receivables/tie-out", headers=other)
        assert (status, empty["rows"], empty["sequence"]) == (200, [], 0)


async def _happen(acme: Company, chance: random.Random, number: int, invoices: list[Any]) -> None:
    """Something of a company's day."""
    what = chance.choice(
        ["invoice", "pay", "pay", "pay", "refund", "dispute", "won", "void", "payout", "withhold", "keep", "promise"]
    )
    amount = f"{chance.randint(1, 40)}.00"
    payment = {"payment_id": f"p-{chance.randint(0, 8)}"}
    if what == "invoice" or not invoices:
        terms = (Decimal(chance.choice([2, 50])), 10) if chance.random() < 0.5 else None
        invoices.append(await acme.issued(f"{chance.randint(1, 9) * 6}.00", early_payment=terms))
    elif what == "pay":
        reference = chance.choice([each["number"] for each in invoices] + ["nobody knows"])
        await tell(acme.pool, told("received", amount, reference=reference, payment_id=f"p-{number}", fee="0.30"))
    elif what == "refund":
        await tell(acme.pool, told("refunded", amount, refund_id=f"r-{number}", **payment))
    elif what == "dispute":
        await tell(acme.pool, told("disputed", amount, dispute_id=f"d-{number % 5}", status="opened", **payment))
    elif what == "won":
        await tell(acme.pool, told("disputed", amount, dispute_id=f"d-{number % 5}", status="won", **payment))
    elif what == "void":
        async with transaction(acme.pool) as connection:
            await void_invoice(connection, ORGANIZATION, chance.choice(invoices)["id"], None, now())
    elif what in ("withhold", "keep", "promise"):
        await _settle(acme, chance, what, chance.randint(1, 40) * 100, chance.choice(invoices))
    else:
        await tell(acme.pool, told("paid", amount, payout_id=f"po-{number}"))


async def _settle(acme: Company, chance: random.Random, what: str, amount: int, invoice: Any) -> None:
    """What is not a payment; where it cannot be nothing happens."""
    paid = await acme.all("select id from payments where unapplied > 0 order by id")
    promised = await acme.all("select id from refunds_payable where amount > paid + cancelled order by id")
    async with transaction(acme.pool) as connection:
        if what == "withhold":
            await withhold(connection, ORGANIZATION, invoice["id"], amount, "W-1", DAY, now())
        elif what == "keep" and paid:
            one = chance.choice(paid)["id"]
            await assign(connection, ORGANIZATION, one, acme.customer)
            await keep_as_credit(connection, ORGANIZATION, one, None, DAY, now())
        elif what == "promise" and promised and amount > 2000:
            await pay(connection, ORGANIZATION, promised[0]["id"], min(amount, 1500), None, "card", DAY, now())
        elif what == "promise" and promised:
            await cancel(connection, ORGANIZATION, promised[0]["id"], DAY, now())
        elif what == "promise":
            wish = PromiseWish(
                organization=ORGANIZATION, ledger="main", customer=acme.customer, currency=ISO_4217["USD"],
                amount=None, on=DAY,
            )  # fmt: skip
            await promise(connection, wish, now())


@pytest.mark.parametrize("seed", range(4))
async def test_random_histories_tie_at_every_sequence(writer: Pool, seed: int) -> None:
    """Requests, facts and answers each go at their own pace; at no sequence that was heard is there a difference."""
    chance = random.Random(seed)
    acme = await company(writer)
    books, invoices = await books_of(acme), list[Any]()
    for number in range(40):
        await _happen(acme, chance, number, invoices)
        if chance.random() < 0.6:
            await books.post(chance.randint(1, 4))
        if chance.random() < 0.6:
            await books.tell(chance.randint(1, 4))
        if chance.random() < 0.6:
            await books.reply(chance.randint(1, 4))
        if number % 5 == 0:
            heard = await writer.fetchval("select sequence from heads")
            assert (await books.proof(chance.randint(0, heard))).ties, (seed, number)
    await books.settle()
    for sequence in range(books.log.sequence + 1):
        proof = await books.proof(sequence)
        assert proof.ties, (seed, sequence, [row for row in proof.rows if not row.ties])
    assert await writer.fetchval("select count(*) from movements where sequence is null") == 0
