"""Money that goes back, and what a processor paid out, over REST: what payment services tell as events, told by hand.

    POST /payments/{id}/return           refunds.take_back          payments.payment-returned.v1
    POST /payments/{id}/disputes         refunds.take_back          payments.payment-disputed.v1, opened
    POST /disputes/{id}/won, .../lost    disputes.end_dispute       payments.payment-disputed.v1, won or lost
    POST /payouts                        payouts.record_payouts     payments.payout-paid.v1

Each goes through the function that the event goes through, beside it. Where an id of the payment's provider is given,
what the event tells later is the same document; without one it is a document of ours.
"""

from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from typing import Literal

from pydantic import TypeAdapter

from libs.common.clock import new_id
from libs.common.db import Connection
from libs.common.errors import Fault, Rejection
from libs.common.http import App
from libs.common.money import ISO_4217
from services.invoicing import disputes, money_reads, payment_store, payout_store, payouts, receivable_reads, refunds
from services.invoicing.asked_amounts import fee_of, minor_of, minor_where_given
from services.invoicing.asking import CREATED, OK, Done
from services.invoicing.disputes import DisputeEnd
from services.invoicing.money_bodies import DisputeBody, DisputeEndBody, PayoutBody, ReturnBody
from services.invoicing.money_words import dispute_words, payout_items_words, payout_words
from services.invoicing.payment_api import PROVIDER
from services.invoicing.payouts import Payout
from services.invoicing.refunds import BackWish
from services.invoicing.rejections import reject
from services.invoicing.writing import Asked, Tools, Write, add_write


@dataclass(frozen=True, slots=True)
class MoneyBackApi:
    """The routes of returned payments, disputes and payouts."""

    tools: Tools

    def add_to(self, app: App) -> None:
        """Puts every route into the application."""
        returned, dispute = TypeAdapter(ReturnBody), TypeAdapter(DisputeBody)
        end, payout, tags = TypeAdapter(DisputeEndBody), TypeAdapter(PayoutBody), ("payments",)
        for write in (
            Write("/payments/{id}/return", "payment:write", returned, "A payment that its bank took back", _return,
                  is_empty_allowed=True, tags=tags),
            Write("/payments/{id}/disputes", "payment:write", dispute, "A payment that is disputed", _dispute,
                  is_empty_allowed=True, tags=tags),
            Write("/disputes/{id}/won", "payment:write", end, "A dispute that was won", _end("won"), status=OK,
                  is_empty_allowed=True, tags=tags),
            Write("/disputes/{id}/lost", "payment:write", end, "A dispute that was lost", _end("lost"), status=OK,
                  is_empty_allowed=True, tags=tags),
            Write("/payouts", "payment:write", payout, "A recorded payout", _pay_out, tags=tags),
        ):  # fmt: skip
            add_write(app, self.tools, write)


async def _return(connection: Connection, asked: Asked) -> Done | Rejection:
    body: ReturnBody = asked.body
    wish = await _wish(connection, asked, "returned", body.return_id)
    return wish if isinstance(wish, Rejection) else await _taken_back(connection, wish, asked)


async def _dispute(connection: Connection, asked: Asked) -> Done | Rejection:
    body: DisputeBody = asked.body
    wish = await _wish(connection, asked, "dispute_opened", body.dispute_id)
    return wish if isinstance(wish, Rejection) else await _taken_back(connection, wish, asked)


async def _taken_back(connection: Connection, wish: BackWish, asked: Asked) -> Done | Rejection:
    """The document, whether it is new or was told before."""
    done = await refunds.take_back(connection, wish, asked.now)
    return done if isinstance(done, Rejection) else done._replace(status=CREATED)


async def _wish(
    connection: Connection, asked: Asked, event: Literal["returned", "dispute_opened"], name: str | None
) -> BackWish | Rejection:
    """What of the payment goes back; `name` is its provider's, where it gave one."""
    body: ReturnBody | DisputeBody = asked.body
    row = await receivable_reads.read_payment(connection, asked.organization, asked.ids["id"])
    if row is None:
        return reject("unknown-payment", payment=str(asked.ids["id"]))
    currency = ISO_4217[row["currency"]]
    amount, fee = minor_where_given(body.amount, currency), fee_of(body.fee, currency)
    if isinstance(amount, Rejection):
        return amount
    if isinstance(fee, Rejection):
        return fee
    return BackWish(
        organization=asked.organization,
        payment=asked.ids["id"],
        event=event,
        provider=PROVIDER if name is None else row["provider"],
        name=name or str(new_id()),
        amount=amount,
        currency=None,
        on=body.on or asked.now.date(),
        created_at=asked.now,
        fee=fee,
        reason=body.reason if isinstance(body, ReturnBody) else None,
        account=body.account if isinstance(body, ReturnBody) else None,
    )


def _end(status: Literal["won", "lost"]) -> Callable[[Connection, Asked], Awaitable[Done | Rejection]]:
    """What ends a dispute in this way."""

    async def end(connection: Connection, asked: Asked) -> Done | Rejection:
        body: DisputeEndBody = asked.body
        organization, dispute = asked.organization, asked.ids["id"]
        row = await money_reads.read_dispute(connection, organization, dispute)
        if row is None:
            return reject("unknown-dispute", dispute=str(dispute))
        fee = fee_of(body.fee, ISO_4217[row["currency"]])
        if isinstance(fee, Rejection):
            return fee
        if fee and status == "lost":
            return reject("fee-exceeds-dispute", errors=[Fault("/fee", "stays away where a dispute is lost")])
        wish = DisputeEnd(
            organization=organization, provider=row["provider"], dispute_id=row["dispute_id"], status=status,
            on=body.on or asked.now.date(), created_at=asked.now, fee=fee,
        )  # fmt: skip
        done = await disputes.end_dispute(connection, wish, asked.now)
        if isinstance(done, Rejection):
            return done
        ended = await money_reads.read_dispute(connection, organization, dispute)
        assert ended is not None, "a dispute is never removed"
        return Done(dispute_words(ended), OK)

    return end


async def _pay_out(connection: Connection, asked: Asked) -> Done | Rejection:
    payout = _payout(asked)
    if isinstance(payout, Rejection):
        return payout
    await payment_store.hold_payments(connection, [payout.held])
    known = await payout_store.known_payouts(connection, [payout.name])
    (refused,) = await payouts.record_payouts(connection, [payout], asked.now)
    if refused is not None:
        return refused
    id_ = known[payout.name]["id"] if known else payout.id
    row = await money_reads.read_payout(connection, asked.organization, id_)
    assert row is not None, "it is recorded"
    return Done({**payout_words(row), "items": payout_items_words(row)}, CREATED)


def _payout(asked: Asked) -> Payout | Rejection:
    """The body in the command's words."""
    body: PayoutBody = asked.body
    currency = ISO_4217.get(body.currency)
    if currency is None:
        return reject("unknown-currency", errors=[Fault("/currency", f"is {body.currency}")], currency=body.currency)
    amount, fees = minor_of(body.amount, currency, "/amount"), payouts.fees_of(body.items, currency)
    if isinstance(amount, Rejection):
        return amount
    if isinstance(fees, Rejection):
        return fees
    return Payout(
        organization=asked.organization,
        ledger=body.ledger,
        provider=body.provider,
        payout_id=body.payout_id or str(new_id()),
        currency=currency,
        amount=amount,
        fee=fees,
        paid_on=body.paid_on or asked.now.date(),
        account=body.account,
        items=[asdict(item) for item in body.items],
        created_at=asked.now,
    )
