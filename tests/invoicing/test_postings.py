"""What the ledger is asked and what its answers do: dependent postings, refusals and tries after them, what waits."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import orjson
import pytest

from libs.common.clock import now
from libs.common.db import Pool, transaction
from libs.common.events import ENTRY_WANTED, EVENT_TYPES, REQUESTS, REVERSAL_WANTED
from libs.common.events_invoicing import INVOICING
from services.invoicing.asking import Done
from services.invoicing.catalog import MappingWish, put_mapping
from services.invoicing.catalog_store import Mapped
from services.invoicing.posting_requests import RESEND_FIRST, resend_due, retry
from services.invoicing.redrafting import redraft
from services.invoicing.voiding import void_invoice
from tests.invoicing.trading import LEDGER, ORGANIZATION, Company, body_of, company, payment, refused


async def _sent(acme: Company, type_: str = ENTRY_WANTED.name) -> list[dict[str, Any]]:
    """Requests in the outbox, oldest first."""
    asked = await acme.told(REQUESTS)
    return [body_of(each.value or b"") for each in asked if dict(each.headers)["ce_type"] == type_.encode()]


async def _states(acme: Company) -> dict[str, str]:
    rows = await acme.all("select purpose, state from postings order by created_at")
    return {row["purpose"]: row["state"] for row in rows}


async def test_an_issue_asks_for_receivable_revenue_and_tax(writer: Pool) -> None:
    acme = await company(writer)
    made = await acme.issued("120.00")
    assert (made["status"], made["posting"], made["number"]) == ("issued", "requested", "2026-000001")
    (sent,) = await _sent(acme)
    assert sent["document"] == f"invoice/{made['id']}"
    assert [(line["account"], line["side"], line["amount"], line.get("party")) for line in sent["lines"]] == [
        ("1100-AR", "debit", "120.00", str(acme.customer)),
        ("4010-SALES", "credit", "100.00", None),
        ("2100-OUTPUT-VAT", "credit", "20.00", None),
    ]
    ENTRY_WANTED.adapter.validate_json(orjson.dumps(sent))
    moved = await acme.all("select role, party, amount, sequence from movements order by place")
    assert [(row["role"], int(row["amount"]), row["sequence"]) for row in moved] == [
        ("receivable", 12000, None),
        ("tax-due", -2000, None),
    ]
    await acme.post_all()
    row = await acme.one("select posting, status from invoices")
    assert (row["posting"], row["status"]) == ("posted", "issued")
    assert {row["sequence"] for row in await acme.all("select sequence from movements")} == {1}


async def test_a_payment_waits_for_its_invoice_to_be_posted(writer: Pool) -> None:
    acme = await company(writer)
    made = await acme.issued("120.00")
    await acme.record(payment("50.00", reference=f"Invoice {made['number']}"))
    assert await _states(acme) == {"issue": "requested", "payment": "waiting"}
    assert (await acme.one("select posting from payments"))["posting"] == "requested"
    assert len(await _sent(acme)) == 1
    (issue,) = await acme.requested()
    await acme.answer([acme.posted(issue["id"])])
    assert await _states(acme) == {"issue": "posted", "payment": "requested"}
    assert [sent["document"].split("/")[0] for sent in await _sent(acme)] == ["invoice", "payment"]
    await acme.post_all()
    assert (await acme.one("select posting from payments"))["posting"] == "posted"


async def test_an_answer_given_twice_is_one_answer(writer: Pool) -> None:
    acme = await company(writer)
    await acme.issued()
    (issue,) = await acme.requested()
    answer = acme.posted(issue["id"])
    await acme.answer([answer])
    await acme.answer([answer, answer._replace(sequence=9)])
    await acme.answer([refused(issue["id"])])
    row = await acme.one("select state, sequence from postings")
    assert (row["state"], row["sequence"]) == ("posted", 1)


async def test_a_refused_posting_needs_attention_and_is_tried_again_under_the_next_attempt(writer: Pool) -> None:
    acme = await company(writer)
    await acme.issued()
    (issue,) = await acme.requested()
    await acme.answer([refused(issue["id"])])
    row = await acme.one("select posting from invoices")
    assert row["posting"] == "needs-attention"
    kept = orjson.loads((await acme.one("select rejection from postings"))["rejection"])
    assert (kept["code"], kept["facts"]) == ("unknown-account", {"account": "x"})
    async with transaction(writer) as connection:
        wish = MappingWish(standard=True, rows=[Mapped("revenue", "", "4999-OTHER")])
        assert isinstance(await put_mapping(connection, ORGANIZATION, LEDGER, wish, now()), Done)
        assert await retry(connection, ORGANIZATION, issue["id"], now(), redraft) == "requested"
    again = (await _sent(acme))[-1]
    assert again["id"] == str(issue["id"])
    assert again["idempotency_key"] == f"{issue['id']}/2"
    assert again["lines"][1]["account"] == "4999-OTHER"
    await acme.answer([refused(issue["id"], attempt=1)])
    assert (await acme.one("select posting from invoices"))["posting"] == "requested", "an old answer is old news"
    await acme.post_all()
    assert (await acme.one("select posting from invoices"))["posting"] == "posted"


async def test_a_payment_without_any_mapping_is_kept_and_posted_when_there_is_one(writer: Pool) -> None:
    acme = await company(writer)
    await acme.record(payment("50.00", ledger="other"))
    row = await acme.one("select id, posting, unapplied from payments")
    assert (row["posting"], int(row["unapplied"])) == ("needs-attention", 5000)
    kept = await acme.one("select id, state, rejection from postings")
    assert (kept["state"], orjson.loads(kept["rejection"])["code"]) == ("needs-attention", "mapping-missing")
    async with transaction(writer) as connection:
        wish = MappingWish(standard=True, functional_currency="USD")
        await put_mapping(connection, ORGANIZATION, "other", wish, now())
        assert await retry(connection, ORGANIZATION, kept["id"], now(), redraft) == "requested"
    assert [line["account"] for line in (await _sent(acme))[-1]["lines"]] == ["1030-CLEARING", "2310-UNAPPLIED"]
    assert len(await acme.all("select * from movements")) == 2


async def test_an_invoice_in_a_foreign_currency_waits_for_a_rate(writer: Pool) -> None:
    acme = await company(writer)
    made = await acme.issued("120.00", currency="EUR")
    assert made["posting"] == "requested"
    row = await acme.one("select id, state, value, rejection from postings")
    assert (row["state"], row["value"], orjson.loads(row["rejection"])["code"]) == ("waiting", None, "rate-missing")
    await writer.execute(
        "insert into rates (organization, provider, base, counter, rate, rate_on, published_at, known_at, event_source,"
        " event_id) values (null, 'ecb', 'EUR', 'USD', 1.25, '2026-03-01', now(), now(), 'fx', '1')"
    )
    async with transaction(writer) as connection:
        wish = MappingWish(standard=True, currencies=["EUR"])
        await put_mapping(connection, ORGANIZATION, LEDGER, wish, now())
        assert await retry(connection, ORGANIZATION, row["id"], now(), redraft) == "requested"
    sent = (await _sent(acme))[-1]
    assert sent["rates"] == [{"base": "EUR", "counter": "USD", "rate": "1.25"}]
    assert [(line["account"], line["currency"], line["amount"]) for line in sent["lines"]] == [
        ("1100-AR-EUR", "EUR", "120.00"),
        ("4010-SALES", "USD", "125.00"),
        ("2100-OUTPUT-VAT", "USD", "25.00"),
    ]


@pytest.mark.parametrize("is_posted", [True, False], ids=["posted", "on its way"])
async def test_a_void_reverses_what_was_sent(writer: Pool, is_posted: bool) -> None:
    acme = await company(writer)
    made = await acme.issued()
    if is_posted:
        await acme.post_all()
    async with transaction(writer) as connection:
        done = await void_invoice(connection, ORGANIZATION, UUID(str(made["id"])), "wrong customer", now())
    assert isinstance(done, Done)
    assert (done.body["status"], done.body["number"]) == ("void", made["number"])
    assert await _states(acme) == {
        "issue": "posted" if is_posted else "requested",
        "void": "requested" if is_posted else "waiting",
    }
    await acme.post_all()
    (sent,) = await _sent(acme, REVERSAL_WANTED.name)
    REVERSAL_WANTED.adapter.validate_json(orjson.dumps(sent))
    left = await acme.all("select role, sum(amount) as amount from movements group by role")
    assert {row["role"]: int(row["amount"]) for row in left} == {"receivable": 0, "tax-due": 0}


async def test_a_void_of_what_was_never_posted_withdraws_the_request(writer: Pool) -> None:
    acme = await company(writer)
    made = await acme.issued()
    (issue,) = await acme.requested()
    await acme.answer([refused(issue["id"])])
    async with transaction(writer) as connection:
        await void_invoice(connection, ORGANIZATION, UUID(str(made["id"])), None, now())
    assert await _states(acme) == {"issue": "withdrawn"}
    assert (await acme.one("select posting, status from invoices"))["posting"] == "none"


async def test_what_is_not_answered_is_sent_again_byte_by_byte_and_ever_later(writer: Pool) -> None:
    acme = await company(writer)
    await acme.issued()
    asked_at = (await acme.one("select requested_at from postings"))["requested_at"]
    for wait, count in ((RESEND_FIRST / 2, 0), (RESEND_FIRST, 1), (RESEND_FIRST * 2, 0), (RESEND_FIRST * 3, 1)):
        async with transaction(writer) as connection:
            assert await resend_due(connection, asked_at + wait + timedelta(milliseconds=1)) == count, wait
    asked = [(each.value or b"", dict(each.headers)["ce_id"]) for each in await acme.told(REQUESTS)]
    sent = [each for each in asked if b"invoice/" in each[0]]
    assert (len(sent), len(set(sent))) == (3, 1)
    await acme.post_all()
    async with transaction(writer) as connection:
        assert await resend_due(connection, asked_at + timedelta(days=1)) == 0


async def test_facts_say_what_happened_in_the_words_of_their_schemas(writer: Pool) -> None:
    acme = await company(writer)
    made = await acme.issued("120.00")
    await acme.record(payment("50.00", reference="2026-000001"), payment("1.00", "p-2"))
    await acme.post_all()
    (second,) = await acme.all("select id from payments where payment_id = 'p-2'")
    await acme.record(payment("2.00", "p-3"))
    (third,) = await acme.requested()
    await acme.answer([refused(third["id"])])
    messages = await acme.told(INVOICING)
    told = []
    for each in messages:
        event_type = EVENT_TYPES[dict(each.headers)["ce_type"].decode()]
        fact = event_type.adapter.validate_json(each.value or b"")
        told.append((event_type.name.split(".")[1], (each.key or b"").decode(), fact))
    assert [name for name, _, _ in told] == [
        "invoice-issued", "invoice-paid", "payment-posted", "payment-posted", "payment-needs-attention",
    ]  # fmt: skip
    paid = told[1][2]
    assert (told[1][1], paid.status, paid.paid, paid.open) == (str(made["id"]), "part-paid", "50.00", "70.00")
    assert {key for _, key, _ in told[2:4]} > {str(second["id"])}
    assert told[4][2].code == "unknown-account"
    ids = [dict(each.headers)["ce_id"] for each in messages]
    assert len(set(ids)) == len(ids)
