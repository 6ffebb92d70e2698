"""Our own webhooks on real parts: from an event to a receiver that checks the signature; failures come again."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from libs.common.clock import now
from libs.common.db import Pool
from libs.common.errors import Poison
from libs.common.events_invoicing import INVOICE_ISSUED, INVOICE_PAID
from services.invoicing.deliveries_consumer import DeliveriesConsumer, decode
from services.invoicing.delivering import FIRST_WAIT, LONGEST_WAIT, SIGNATURE_HEADER, TRIES_MAX, wait_after
from services.invoicing.webhook_signatures import check_stripe
from tests.gateway.serving import serving
from tests.invoicing.conftest import InvoicingDatabase
from tests.invoicing.hearing import as_record, event, eventually, running, telling
from tests.invoicing.messaging import Messaging, messaging
from tests.support.kafka import KafkaBroker

SECRET = "a secret of sixteen or more"
KEY = {"Idempotency-Key": "target-1"}


@dataclass(slots=True)
class Receiver:
    """Somebody's server: what came, and with what it answers."""

    url: str = ""
    statuses: list[int] = field(default_factory=list)
    came: list[tuple[bytes, str]] = field(default_factory=list)

    async def take(self, request: Request) -> Response:
        self.came.append((await request.body(), request.headers[SIGNATURE_HEADER]))
        return Response(status_code=self.statuses.pop(0) if self.statuses else 200, headers={"Location": "/elsewhere"})


@asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    async with serving(Starlette(routes=[Route("/hook", receiver.take, methods=["POST"])])) as url:
        receiver.url = f"{url}/hook"
        yield receiver


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as running_one:
        yield running_one


@pytest.fixture
async def service(writer: Pool, receivables: InvoicingDatabase, tmp_path: Path) -> AsyncIterator[Messaging]:
    async with messaging(writer, receivables, tmp_path) as running_one:
        yield running_one


async def target(service: Messaging, url: str, **body: Any) -> dict[str, Any]:
    status, told, _ = await service.send("POST", "/webhook-targets", {"url": url, "secret": SECRET, **body}, KEY)
    assert status == 201, told
    assert SECRET not in str(told)
    return dict(told)


def fact(type_: str, id_: str, organization: str = "demo") -> Any:
    return event(type_, {"organization": organization, "invoice_id": id_, "total": "1.00"}, id_, source="invoicing")


async def deliveries(service: Messaging, of: dict[str, Any]) -> list[tuple[str, str, int]]:
    _, told, _ = await service.send("GET", f"/webhook-targets/{of['id']}/deliveries")
    return sorted((item["event_id"], item["state"], item["tries"]) for item in told["items"])


async def heard(service: Messaging, kafka: KafkaBroker, *facts: Any, of: dict[str, Any], count: int) -> None:
    """Facts on a topic of their own, until so many deliveries are there."""
    async with telling(kafka, "own") as told:
        consumer = DeliveriesConsumer(service.acme.pool, service.clock, told.kafka, group=told.topic, topic=told.topic)

        async def enough() -> bool:
            return len(await deliveries(service, of)) == count

        async with running(consumer.run):
            await told.say(*facts)
            await eventually(enough)


async def test_an_event_goes_to_who_hears_of_it_signed(
    service: Messaging, receiver: Receiver, kafka: KafkaBroker
) -> None:
    of = await target(service, receiver.url, types=[INVOICE_PAID.name])
    paid, issued = fact(INVOICE_PAID.name, "e-1"), fact(INVOICE_ISSUED.name, "e-2")
    foreign, later = fact(INVOICE_PAID.name, "e-3", "other"), fact(INVOICE_PAID.name, "e-4")
    await heard(service, kafka, paid, paid, issued, foreign, later, of=of, count=2)
    while await service.delivering.step():
        pass
    assert await deliveries(service, of) == [("e-1", "delivered", 1), ("e-4", "delivered", 1)]
    at_s = int(service.clock().timestamp())
    for raw, signature in receiver.came:
        assert check_stripe([SECRET.encode()], signature, raw, at_s) is None
        assert check_stripe([b"another"], signature, raw, at_s) == "signature-wrong"
    said = sorted((orjson.loads(raw) for raw, _ in receiver.came), key=lambda each: each["id"])
    assert [(each["id"], each["type"], each["data"]["total"]) for each in said] == [
        ("e-1", INVOICE_PAID.name, "1.00"),
        ("e-4", INVOICE_PAID.name, "1.00"),
    ]


async def test_a_failure_comes_again_later_and_is_given_up_at_last(
    service: Messaging, receiver: Receiver, kafka: KafkaBroker
) -> None:
    of = await target(service, receiver.url)
    await heard(service, kafka, fact(INVOICE_PAID.name, "e-1"), of=of, count=1)
    receiver.statuses = [500, 302, 429] + [503] * 100
    assert await service.delivering.step() == 1
    assert await service.delivering.step() == 0  # not due yet
    for _ in range(TRIES_MAX - 1):
        service.clock.move(hours=9)
        assert await service.delivering.step() == 1
    service.clock.move(days=30)
    assert await service.delivering.step() == 0
    assert await deliveries(service, of) == [("e-1", "dead", TRIES_MAX)]
    assert len(receiver.came) == TRIES_MAX
    assert len({raw for raw, _ in receiver.came}) == 1
    receiver.statuses = []
    _, told, _ = await service.send("GET", f"/webhook-targets/{of['id']}/deliveries?state=dead")
    replay = f"/webhook-targets/{of['id']}/deliveries/{told['items'][0]['id']}/replay"
    assert [(await service.send("POST", replay))[1]["due_again"] for _ in range(2)] == [True, False]
    assert await service.delivering.step() == 1
    assert await deliveries(service, of) == [("e-1", "delivered", 1)]


async def test_while_a_secret_is_replaced_both_sign(service: Messaging, receiver: Receiver, kafka: KafkaBroker) -> None:
    of = await target(service, receiver.url)
    body = {"secret": "the next secret of ours", "overlap_hours": 1}
    await service.send("POST", f"/webhook-targets/{of['id']}/secrets", body, {"Idempotency-Key": "next"})
    await heard(service, kafka, fact(INVOICE_PAID.name, "e-1"), of=of, count=1)
    assert await service.delivering.step() == 1
    ((raw, signature),) = receiver.came
    at_s = int(service.clock().timestamp())
    assert [check_stripe([secret.encode()], signature, raw, at_s) for secret in (SECRET, body["secret"])] == [None] * 2


async def test_a_target_that_is_off_gets_nothing_and_what_waits_goes_when_it_is_on(
    service: Messaging, receiver: Receiver, kafka: KafkaBroker
) -> None:
    of = await target(service, receiver.url)
    await heard(service, kafka, fact(INVOICE_PAID.name, "e-1"), of=of, count=1)
    switch = f"/webhook-targets/{of['id']}/switch"
    await service.send("POST", switch, {"active": False})
    assert await service.delivering.step() == 0
    await service.send("POST", switch, {"active": True})
    assert await service.delivering.step() == 1


async def test_private_addresses_are_never_connected_to(
    writer: Pool, receivables: InvoicingDatabase, tmp_path: Path, receiver: Receiver
) -> None:
    async with messaging(writer, receivables, tmp_path, private_allowed=False) as service:
        status, told, _ = await service.send(
            "POST", "/webhook-targets", {"url": receiver.url, "secret": SECRET, "types": ["x"]}, KEY
        )
        assert (status, [each["pointer"] for each in told["errors"]]) == (422, ["/url", "/types/0"])
        # a name that was public when it was stored, and is not when it is looked up
        insert = "insert into webhook_targets values ('demo', $1, $2, '{}', true, now())"
        deliver = (
            "insert into webhook_deliveries (organization, id, target, event_id, type, body, due_at, created_at)"
            " values ('demo', gen_random_uuid(), $1, 'e', 't', '{}', now() - interval '1 year', now())"
        )
        for number, host in enumerate(("localhost.", "127.0.0.1", "localhost")):
            id_ = f"00000000-0000-4000-8000-00000000000{number}"
            await writer.execute(insert, id_, receiver.url.replace("http://127.0.0.1", f"https://{host}"))
            await writer.execute(deliver, id_)
        assert await service.delivering.step() == 3
        faults = [row["last_fault"] for row in await writer.fetch("select last_fault from webhook_deliveries")]
        assert all("public" in fault for fault in faults), faults
    assert receiver.came == []


async def test_a_name_that_stands_for_a_private_address_is_refused_when_it_is_connected_to() -> None:
    from services.invoicing.delivering import NotPublic, PublicResolver

    with pytest.raises(NotPublic):
        await PublicResolver().resolve("localhost", 443)


def test_waits_grow_and_end() -> None:
    waits = [wait_after(tries) for tries in range(1, TRIES_MAX)]
    assert waits[0] == FIRST_WAIT
    assert waits == sorted(waits)
    assert waits[-1] == LONGEST_WAIT
    assert timedelta(days=1) < sum(waits, timedelta()) < timedelta(days=5)


@pytest.mark.parametrize("value", [None, b"{", b"[]", b'{"organization": 5}'])
def test_what_cannot_be_read_is_poison(value: bytes | None) -> None:
    with pytest.raises(Poison):
        decode(as_record(event(INVOICE_PAID.name, value, "e")))


def test_the_time_of_an_event_is_told() -> None:
    body = orjson.loads(decode(as_record(fact(INVOICE_PAID.name, "e-1"))).body)
    assert body["time"].startswith(now().isoformat()[:13])
