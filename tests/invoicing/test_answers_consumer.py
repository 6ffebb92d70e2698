"""The ledger's answers over a real Kafka: each once, ours alone, and what cannot be read set aside."""

from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import orjson
import pytest

from libs.common.bus import DEAD_LETTER_SUFFIX, Message
from libs.common.clock import new_id, now
from libs.common.db import Pool
from libs.common.errors import Poison
from libs.common.events import REQUEST_POSTED, REQUEST_REJECTED
from services.invoicing.answers_consumer import AnswersConsumer, decode
from services.invoicing.posting_requests import PostedAnswer, RejectedAnswer, document_name, posting_id
from tests.invoicing.hearing import Told, as_record, event, eventually, running, telling
from tests.invoicing.trading import DAY, ORGANIZATION, Company, company, payment
from tests.support.kafka import KafkaBroker

ENTRY = UUID("0190a0b0-0000-8000-8000-000000000001")


def _request(entry: UUID, attempt: int = 1, service: str = "invoicing") -> dict[str, str]:
    return {"service": service, "idempotency_key": f"{entry}/{attempt}", "document": "invoice/1"}


def posted(entry: UUID, sequence: int = 7, event_id: str | None = None, **request: Any) -> Message:
    """The ledger says that an entry is in the books."""
    line = {"account": "1100-AR", "side": "debit", "amount": "1.00", "currency": "USD", "balance_after": "1.00"}
    body = {
        "organization": "demo", "ledger": "main", "sequence": sequence, "hash": "0" * 64, "replayed": False,
        "request": _request(entry) | request,
        "entry": {
            "id": str(entry), "kind": "normal", "effective_on": str(DAY), "value_on": str(DAY), "description": "",
            "lines": [line, line | {"side": "credit"}], "ledger": "main", "sequence": sequence,
            "recorded_at": now().isoformat(), "hash": "0" * 64, "reversed_by": None, "actor": "invoicing",
        },
    }  # fmt: skip
    return event(REQUEST_POSTED.name, body, event_id or str(new_id()), source="ledger")


def rejected(entry: UUID, attempt: int = 1) -> Message:
    """The ledger says no."""
    body = {
        "organization": "demo", "ledger": "main", "code": "account-frozen", "detail": "It is frozen.",
        "facts": {"account": "1100-AR"}, "request": _request(entry, attempt), "replayed": False,
    }  # fmt: skip
    return event(REQUEST_REJECTED.name, body, str(new_id()), source="ledger")


def test_an_answer_says_itself_what_it_is_of() -> None:
    heard = decode(as_record(posted(ENTRY)))
    assert isinstance(heard.answer, PostedAnswer)
    assert (heard.answer.id, heard.answer.sequence, heard.answer.effective_on) == (ENTRY, 7, DAY)
    refused = decode(as_record(rejected(ENTRY, 3))).answer
    assert isinstance(refused, RejectedAnswer)
    assert (refused.id, refused.attempt, refused.code) == (ENTRY, 3, "account-frozen")


NOT_OURS = [
    ("another service's", posted(ENTRY, service="recon")),
    ("an account's", posted(ENTRY, idempotency_key="standard-account/1100-AR")),
    ("of no attempt", posted(ENTRY, idempotency_key=str(ENTRY))),
    ("of another type", event("ledger.something-new.v1", {}, "1", source="ledger")),
]


@pytest.mark.parametrize("message", [row[1] for row in NOT_OURS], ids=[row[0] for row in NOT_OURS])
def test_what_is_not_ours_is_passed_over(message: Message) -> None:
    assert decode(as_record(message)).answer is None


UNREADABLE = [
    ("null", event(REQUEST_POSTED.name, None, "1"), "value-null"),
    ("no JSON", event(REQUEST_POSTED.name, b"{", "1"), "schema"),
    ("another entry's", posted(new_id(), idempotency_key=f"{ENTRY}/1"), "entry-differs"),
    ("no code", event(REQUEST_REJECTED.name, {"organization": "demo"}, "1"), "schema"),
]


@pytest.mark.parametrize(("message", "code"), [row[1:] for row in UNREADABLE], ids=[row[0] for row in UNREADABLE])
def test_what_cannot_be_read_is_poison(message: Message, code: str) -> None:
    with pytest.raises(Poison) as poison:
        decode(as_record(message))
    assert poison.value.code == code


@pytest.fixture
async def told(kafka: KafkaBroker) -> AsyncIterator[Told]:
    """A topic of answers."""
    async with telling(kafka, "answers") as topic:
        yield topic


def _consumer(acme: Company, told: Told, woken: list[None]) -> AnswersConsumer:
    return AnswersConsumer(
        acme.pool, now, told.kafka, wake=lambda: woken.append(None), topic=told.topic, group=told.topic
    )  # fmt: skip


async def test_answers_reach_their_documents_each_once(writer: Pool, told: Told) -> None:
    acme = await company(writer)
    await acme.issued("120.00")
    await acme.record(payment("50.00", reference="2026-000001"))
    (issue,) = await acme.requested()
    answer = posted(issue["id"], 7, "the-answer")
    await told.say(posted(ENTRY, service="fx"), answer, answer, event(REQUEST_POSTED.name, b"{", "x"))
    woken: list[None] = []
    async with running(_consumer(acme, told, woken).run):

        async def is_paid_for() -> bool:
            return bool((await acme.one("select posting from invoices"))["posting"] == "posted")

        await eventually(is_paid_for)
        (paid,) = await acme.requested()
        assert (paid["purpose"], woken != []) == ("payment", True)
        await told.say(rejected(paid["id"]))

        async def is_refused() -> bool:
            return bool((await acme.one("select posting from payments"))["posting"] == "needs-attention")

        await eventually(is_refused)
    assert (await acme.one("select sequence from postings where purpose = 'issue'"))["sequence"] == 7
    kept = orjson.loads((await acme.one("select rejection from postings where purpose = 'payment'"))["rejection"])
    assert kept["code"] == "account-frozen"
    ends = (await told.kafka.cluster([told.topic + DEAD_LETTER_SUFFIX])).topics
    assert ends, "what could not be read has its own topic"


async def test_an_answer_that_came_before_its_posting_is_heard_when_it_comes_again(writer: Pool, told: Told) -> None:
    """A restored database hears old answers before the payments that they are of; asked again, they are repeated."""
    acme = await company(writer)
    received = payment("50.00", reference="no idea")
    entry = posting_id(ORGANIZATION, document_name("payment", received.id), "payment", received.created_at)
    answer = posted(entry, 6, "the-answer")
    async with running(_consumer(acme, told, []).run):

        async def heard() -> bool:
            return bool((await acme.one("select sum(next_offset) as n from consumer_offsets"))["n"])

        await told.say(answer)
        await eventually(heard)
        await acme.record(received)
        assert [row["id"] for row in await acme.requested()] == [entry]
        await told.say(answer)

        async def is_posted() -> bool:
            return bool((await acme.one("select posting from payments"))["posting"] == "posted")

        await eventually(is_posted)


async def test_a_restart_goes_on_where_it_was(writer: Pool, told: Told) -> None:
    acme = await company(writer)
    await acme.issued()
    (issue,) = await acme.requested()
    await told.say(posted(issue["id"]))

    async def is_posted() -> bool:
        return bool((await acme.one("select count(*) as n from postings where state = 'requested'"))["n"] == 0)

    async with running(_consumer(acme, told, []).run):
        await eventually(is_posted)
    await acme.issued()
    (second,) = await acme.requested()
    await told.say(posted(second["id"], 8))
    async with running(_consumer(acme, told, []).run):
        await eventually(is_posted)
    rows = await acme.all("select sequence from postings order by sequence")
    assert [row["sequence"] for row in rows] == [7, 8]
