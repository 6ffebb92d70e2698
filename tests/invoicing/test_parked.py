"""Parked messages: one document's trouble is its own; put right, dismissed, replayed; each done twice as once."""

import orjson
import pytest

from libs.common.clock import now
from libs.common.db import Pool, transaction
from libs.common.errors import Rejection
from services.invoicing import parked_store, parking
from services.invoicing.parked_sweep import ParkedSweep
from services.invoicing.payment_effects import apply
from tests.invoicing.paying import accounted, body, parked, payments, tell, told
from tests.invoicing.trading import company, payment

FIX = orjson.dumps(body("received", "12.00"))


async def _release(pool: Pool, document: str = "stripe/p-1") -> int:
    async with transaction(pool) as connection:
        return await parking.release(connection, ("demo", document), now(), apply, "anna")


async def _fix(pool: Pool, id_: int, value: bytes, organization: str = "demo") -> Rejection | None:
    async with transaction(pool) as connection:
        return await parking.fix(connection, organization, id_, value, "a typing error")


async def _ids(pool: Pool) -> list[int]:
    return [row["id"] for row in await pool.fetch("select id from parked order by id")]


async def test_what_waits_holds_back_its_own_document_alone(writer: Pool) -> None:
    await company(writer)
    await tell(writer, told("received", "0.00"), told("refunded", "1.00"), told("received", payment_id="p-2"))
    await tell(writer, told("disputed", "1.00", status="opened"), told("received", payment_id="p-3"))
    await tell(writer, told("refunded", "1.00", payment_id="p-3", refund_id="r-3"))
    assert [row[0] for row in await payments(writer)] == ["p-2", "p-3"]
    reasons = [("stripe/p-1", "amount-not-positive"), ("stripe/p-1", "queued"), ("stripe/p-1", "queued")]
    assert await parked(writer) == reasons


async def test_a_message_put_right_goes_and_those_behind_it_follow(writer: Pool) -> None:
    await company(writer)
    await tell(writer, told("received", "0.00"), told("refunded", "2.00"), told("refunded", "99.00", refund_id="r-2"))
    first, second, third = await _ids(writer)
    assert await _release(writer) == 0
    assert await _fix(writer, first, FIX) is None
    assert await _release(writer) == 2
    assert await _release(writer) == 0
    assert await payments(writer) == [("p-1", 0, 1000, 0, 200)]
    assert await parked(writer) == [("stripe/p-1", "refund-exceeds-payment")]
    (kept,) = await writer.fetch("select value, fixed from parked where id = $1", first)
    assert (orjson.loads(kept["value"])["amount"], orjson.loads(kept["fixed"])["amount"]) == ("0.00", "12.00")
    async with transaction(writer) as connection:
        await parked_store.settle(connection, [third], "dismissed", now(), "anna", "told by mistake")
    await tell(writer, told("refunded", "1.00", refund_id="r-3"))
    assert await payments(writer) == [("p-1", 0, 900, 0, 300)]
    assert second in await _ids(writer)
    await accounted(writer)


@pytest.mark.parametrize(
    ("value", "organization", "code"),
    [
        (orjson.dumps(body("received", payment_id="p-2")), "demo", "document-differs"),
        (orjson.dumps(body("received", organization="other")), "demo", "document-differs"),
        (orjson.dumps(body("received") | {"amount": 5}), "demo", "malformed"),
        (b"{", "demo", "malformed"),
        (FIX, "other", "unknown-parked-message"),
    ],
)
async def test_a_fix_is_about_the_same_document(writer: Pool, value: bytes, organization: str, code: str) -> None:
    await company(writer)
    await tell(writer, told("received", "0.00"))
    (first,) = await _ids(writer)
    refused = await _fix(writer, first, value, organization)
    assert refused is not None
    assert refused.code == code
    assert [row["fixed"] for row in await writer.fetch("select fixed from parked")] == [None]


async def test_what_was_released_is_left_alone(writer: Pool) -> None:
    await company(writer)
    await tell(writer, told("refunded", "2.00"))
    await tell(writer, told("received"))
    (first,) = await _ids(writer)
    refused = await _fix(writer, first, FIX)
    assert refused is not None
    assert refused.code == "not-waiting"
    assert await parked(writer, "released") == [("stripe/p-1", "unknown-payment")]


async def test_a_refund_waits_for_a_payment_that_comes_by_a_request(writer: Pool) -> None:
    acme = await company(writer)
    sweep = ParkedSweep(writer, now, apply)
    await tell(writer, told("refunded", "2.00"))
    assert await sweep.step() == 0
    await acme.record(payment("10.00"))
    assert await parked(writer) == [("stripe/p-1", "unknown-payment")]
    assert await sweep.step() == 1
    assert await sweep.step() == 0
    assert await payments(writer) == [("p-1", 0, 800, 0, 200)]


async def test_a_message_told_again_while_it_waits_is_parked_once(writer: Pool) -> None:
    await company(writer)
    for _ in range(3):
        await tell(writer, told("refunded", "2.00"))
    assert await parked(writer) == [("stripe/p-1", "unknown-payment")]
