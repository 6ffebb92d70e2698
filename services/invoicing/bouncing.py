"""A refund that did not arrive, or a returned payment that was none: its money is here again, and goes where it was.

Each refund comes back whole and once; the row that says so names it. `coming_back` says where the money goes: nothing
that happened since stands in the way, for what finds its place taken is unapplied.
"""

from datetime import date, datetime
from uuid import UUID

from libs.common.clock import new_id
from libs.common.db import Connection
from libs.common.errors import Rejection
from services.invoicing import money_reads, payment_store, settlement_store
from services.invoicing.asking import CREATED, Done
from services.invoicing.coming_back import ComingBack, come_back
from services.invoicing.money_words import refund_words
from services.invoicing.rejections import reject


async def bounce(
    connection: Connection, organization: str, refund: UUID, on: date, account: str | None, now: datetime
) -> Done | Rejection:
    """The refund's money came back. Twice is `already-undone`."""
    known = await money_reads.read_refund(connection, organization, refund)
    if known is None or known["kind"] == "bounced":
        return reject("unknown-refund", refund=str(refund))
    await payment_store.lock_payment(connection, organization, known["payment"])
    if await settlement_store.is_bounced(connection, organization, refund):
        return reject("already-undone", refund=str(refund))
    id_ = new_id()
    back = ComingBack(
        organization=organization,
        event="refund_bounced",
        document=known,
        taken=await settlement_store.refund_allocations(connection, organization, refund),
        said=("Refund of payment ", " that came back"),
        short="a refund that came back",
        purpose=f"refund_bounced/{id_}",
        name=f"bounced/{id_}",
        on=on,
        created_at=now,
        account=account,
    )
    kept = await come_back(connection, back, now)
    if isinstance(kept, Rejection):
        return kept
    row = {
        **dict(known),
        "id": id_,
        "kind": "bounced",
        "provider": "manual",
        "refund_id": str(id_),
        "fee": 0,
        "from_unapplied": kept.unapplied,
        "from_credit": kept.credit,
        "from_allocated": sum(amount for _, amount in kept.allocations),
        "refunded_on": on,
        "undoes": refund,
        "posting": "requested",
        "created_at": now,
    }
    await payment_store.insert_refund(connection, row)
    return Done(refund_words({**row, "state": "requested"}), CREATED)
