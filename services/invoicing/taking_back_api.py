"""What was done wrongly, taken back over REST: relief, recoveries, payouts, kept credit; and refunds that bounced."""

from dataclasses import dataclass

from pydantic import TypeAdapter

from libs.common.db import Connection
from libs.common.errors import Rejection
from libs.common.http import App
from services.invoicing import bouncing, undoing
from services.invoicing.asking import OK, Done
from services.invoicing.bodies import DayBody
from services.invoicing.money_bodies import BouncedBody, TakeBackBody
from services.invoicing.writing import Asked, Tools, Write, add_write


@dataclass(frozen=True, slots=True)
class TakingBackApi:
    """The routes that take something back."""

    tools: Tools

    def add_to(self, app: App) -> None:
        """Puts every route into the application."""
        day, payout, bounced = TypeAdapter(DayBody), TypeAdapter(TakeBackBody), TypeAdapter(BouncedBody)
        on_payments = ("payments",)
        for write in (
            Write("/write-offs/{id}/take-back", "invoice:write-off", day, "Relief or a recovery taken back",
                  _relief_or_recovery, status=OK, is_empty_allowed=True, tags=("invoices",)),
            Write("/payouts/{id}/take-back", "payment:write", payout, "A payout taken back", _payout, status=OK,
                  is_empty_allowed=True, tags=on_payments),
            Write("/kept-credits/{id}/take-back", "payment:write", day, "Kept credit unapplied again", _kept,
                  status=OK, is_empty_allowed=True, tags=on_payments),
            Write("/refunds/{id}/bounced", "payment:write", bounced, "A refund that came back", _bounced,
                  is_empty_allowed=True, tags=on_payments),
        ):  # fmt: skip
            add_write(app, self.tools, write)


async def _relief_or_recovery(connection: Connection, asked: Asked) -> Done | Rejection:
    on = asked.body.on or asked.now.date()
    return await undoing.take_back_write_off_part(connection, asked.organization, asked.ids["id"], on, asked.now)


async def _payout(connection: Connection, asked: Asked) -> Done | Rejection:
    body: TakeBackBody = asked.body
    on = body.on or asked.now.date()
    return await undoing.take_back_payout(
        connection, asked.organization, asked.ids["id"], on, body.reason, asked.now
    )  # fmt: skip


async def _kept(connection: Connection, asked: Asked) -> Done | Rejection:
    on = asked.body.on or asked.now.date()
    return await undoing.take_back_kept(connection, asked.organization, asked.ids["id"], on, asked.now)


async def _bounced(connection: Connection, asked: Asked) -> Done | Rejection:
    body: BouncedBody = asked.body
    on = body.on or asked.now.date()
    return await bouncing.bounce(connection, asked.organization, asked.ids["id"], on, body.account, asked.now)
