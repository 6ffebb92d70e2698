"""Payment events as payment services tell them, and how money and messages stand afterwards."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from libs.common.bus import Message, cloud_event_headers
from libs.common.clock import now
from libs.common.db import Pool, transaction
from libs.common.events_payments import payment_key
from services.invoicing.parking import Taken, take
from services.invoicing.payment_effects import apply
from services.invoicing.payment_messages import ToldPayment, id_in_key, read_event

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
PROVIDER = "stripe"

_IDS = {"received": "payment_id", "refunded": "refund_id", "returned": "return_id", "disputed": "dispute_id"}
_DAYS = {
    "received": "received_on", "refunded": "refunded_on", "returned": "returned_on", "disputed": "occurred_on",
    "paid": "paid_on",
}  # fmt: skip


def body(kind: str, amount: str = "120.00", **more: Any) -> dict[str, Any]:
    """The value of an event: kind is received, refunded, returned, disputed or paid (a payout)."""
    told: dict[str, Any] = {
        "organization": "demo", "ledger": "main", "provider": PROVIDER, "currency": "USD", "amount": amount,
        _DAYS[kind]: "2026-03-02",
    }  # fmt: skip
    if kind == "received":
        told |= {"payment_id": "p-1", "method": "card", "reference": ""}
    elif kind == "paid":
        told |= {"payout_id": "po-1"}
    else:
        told |= {"payment_id": "p-1", _IDS[kind]: f"{kind}-1"}
    if kind == "returned":
        told["reason"] = "no funds"
    return told | more


def type_of(kind: str) -> str:
    return "payments.payout-paid.v1" if kind == "paid" else f"payments.payment-{kind}.v1"


def told(kind: str, amount: str = "120.00", *, id_: str | None = None, **more: Any) -> ToldPayment:
    """An event as it reaches us; its id is the value's own unless another is given."""
    value = orjson.dumps(body(kind, amount, **more))
    event = read_event(type_of(kind), value)
    at = NOON + timedelta(milliseconds=sum(value) % 1000)
    return ToldPayment(event, type_of(kind), "shop", id_ or value.decode()[:300], at, value)


def message(kind: str, amount: str = "120.00", *, id_: str, key: bytes | None = None, **more: Any) -> Message:
    """The same as a record of `payments.events.v1`."""
    value = orjson.dumps(body(kind, amount, **more))
    event = read_event(type_of(kind), value)
    headers = cloud_event_headers(type_of(kind), "shop", id_, NOON + timedelta(milliseconds=len(id_)))
    return Message("?", key or payment_key(event.organization, id_in_key(event)), value, headers)


async def tell(pool: Pool, *events: ToldPayment) -> Taken:
    """The events taken in one transaction."""
    async with transaction(pool) as connection:
        return await take(connection, events, now(), apply)


async def payments(pool: Pool) -> list[tuple[Any, ...]]:
    """Where each payment's money is: id, allocated, unapplied, to credit, refunded."""
    rows = await pool.fetch(
        "select organization, payment_id, allocated, unapplied, to_credit, refunded from payments order by 1, 2"
    )
    return [(row["payment_id"], *(int(each) for each in tuple(row.values())[2:])) for row in rows]


async def parked(pool: Pool, state: str = "waiting") -> list[tuple[str, str]]:
    """Document and reason of parked messages, in their order."""
    rows = await pool.fetch("select document, reason from parked where state = $1 order by id", state)
    return [(row["document"], row["reason"]) for row in rows]


async def invoices(pool: Pool) -> list[tuple[str, int]]:
    """Status and open amount of invoices by number."""
    rows = await pool.fetch("select status, open from invoices order by number")
    return [(row["status"], int(row["open"])) for row in rows]


async def accounted(pool: Pool) -> None:
    """Every cent is somewhere: allocated, unapplied, credit or gone back; and its entry asks for just that."""
    for row in await pool.fetch("select * from payments"):
        assert row["amount"] == row["allocated"] + row["unapplied"] + row["to_credit"] + row["refunded"]
    for row in await pool.fetch("select id, value from postings where value is not null"):
        lines = orjson.loads(row["value"]).get("lines", [])
        sides = {side: _sum([line for line in lines if line["side"] == side]) for side in ("debit", "credit")}
        assert sides["debit"] == sides["credit"], row["id"]


def _sum(lines: Sequence[dict[str, Any]]) -> dict[str, int]:
    sums: dict[str, int] = {}
    for line in lines:
        code = line["currency"]
        sums[code] = sums.get(code, 0) + int(line["amount"].replace(".", ""))
    return sums
