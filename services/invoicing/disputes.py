"""How disputes end. Lost: the money stays away, and so does what it had settled. Won: it comes back to where it was.

What comes back goes where `coming_back` says: the dispute's own record of where the money was is its guide.
"""

from dataclasses import dataclass
from datetime import date, datetime
from typing import Literal

from libs.common.db import Connection
from libs.common.errors import Fault, Rejection
from services.invoicing import payment_store, settlement_store
from services.invoicing.asking import OK, Done
from services.invoicing.coming_back import ComingBack, come_back
from services.invoicing.rejections import reject
from services.invoicing.words import amount_text


@dataclass(frozen=True, slots=True, kw_only=True)
class DisputeEnd:
    """How a dispute ended; `fee` is what of its fee was given back."""

    organization: str
    provider: str
    dispute_id: str
    status: Literal["won", "lost"]
    on: date
    created_at: datetime
    fee: int = 0


async def end_dispute(connection: Connection, end: DisputeEnd, now: datetime) -> Done | Rejection:
    """Ends a dispute once; one that has ended so is told so, one that ended in another way is `dispute-settled`."""
    dispute = await payment_store.lock_dispute(connection, end.organization, end.provider, end.dispute_id)
    if dispute is None:
        return reject("unknown-dispute", dispute_id=end.dispute_id)
    if dispute["status"] == end.status:
        return Done({"id": dispute["id"], "status": end.status}, OK)
    if dispute["status"] != "opened":
        return reject("dispute-settled", f"It was {dispute['status']}.", status=dispute["status"])
    if end.fee > int(dispute["fee"]):
        given, taken = (amount_text(fee, dispute["currency"]) for fee in (end.fee, dispute["fee"]))
        return reject("fee-exceeds-dispute", errors=[Fault("/fee", f"is {given}, {taken} was taken")], fee=given,
                      taken=taken)  # fmt: skip
    if end.status == "won":
        was_on = await settlement_store.dispute_allocations(connection, end.organization, dispute["id"])
        back = ComingBack(
            organization=end.organization, event="dispute_won", document=dispute, taken=was_on,
            said=(f"Dispute {end.dispute_id} of payment ", " won"), short="a won dispute",
            purpose=f"dispute_won/{dispute['id']}", name=f"won/{dispute['id']}", on=end.on, created_at=end.created_at,
            fee=end.fee,
        )  # fmt: skip
        kept = await come_back(connection, back, now)
        if isinstance(kept, Rejection):
            return kept
    await payment_store.settle_dispute(connection, end.organization, dispute["id"], end.status, end.on)
    return Done({"id": dispute["id"], "status": end.status}, OK)
