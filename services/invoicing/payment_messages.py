"""A payment event as it reached us, over Kafka or by a webhook: what it says, and which document it is about."""

from collections.abc import Sequence
from dataclasses import field
from datetime import datetime
from typing import Final

import orjson
from pydantic import ValidationError

from libs.common.errors import Poison
from libs.common.events_payments import PAYMENT_EVENTS, AnyPaymentEvent, PaymentDisputed, PaymentReceived, PayoutPaid
from libs.common.problems import faults_of
from libs.common.values import value

EVENT_BYTES_MAX: Final = 512 * 1024
"""A payout with 5,000 items takes most of it."""

TYPES: Final = {each.name: each for each in PAYMENT_EVENTS}


@value(frozen=True, slots=True)
class ToldPayment:
    """One event: who told it when under which id, the record it came in, and what it says.

    `told_at` is the event's own time, the same whenever it is told again: ids are derived from it.
    """

    event: AnyPaymentEvent
    type: str
    source: str
    event_id: str
    told_at: datetime
    value: bytes
    topic: str = ""
    partition: int = 0
    offset: int = 0
    headers: Sequence[tuple[str, bytes]] = ()
    traceparent: str | None = None
    document: tuple[str, str] = field(init=False)
    """Organization and document: what must be heard in order, and waits together."""

    def __post_init__(self) -> None:
        """The document follows from the event; it is asked for often, so it is made once."""
        object.__setattr__(self, "document", (self.event.organization, document_of(self.event)))

    @property
    def headers_text(self) -> str:
        """The headers as they are kept with a message that waits."""
        told = [(name, content.decode(errors="replace")) for name, content in self.headers if content]
        return orjson.dumps(told).decode().replace("\\u0000", "")

    @property
    def unblocks(self) -> frozenset[str]:
        """The reasons for which others of its document wait for just this."""
        if isinstance(self.event, PaymentReceived):
            return frozenset({"unknown-payment", "unknown-dispute"})
        is_opened = isinstance(self.event, PaymentDisputed) and self.event.status == "opened"
        return frozenset({"unknown-dispute"} if is_opened else ())


def document_of(event: AnyPaymentEvent) -> str:
    """The document's name: provider and payment, or provider and payout."""
    if isinstance(event, PayoutPaid):
        return f"{event.provider}/payout/{event.payout_id}"
    return f"{event.provider}/{event.payment_id}"


def id_in_key(event: AnyPaymentEvent) -> str:
    """The id that the Kafka key has behind the organization."""
    return event.payout_id if isinstance(event, PayoutPaid) else event.payment_id


def read_event(type_: str, raw: bytes | None) -> AnyPaymentEvent:
    """What an event of a known type says. Raises Poison."""
    if raw is None:
        raise Poison("value-null", "a payment event has a value")
    if len(raw) > EVENT_BYTES_MAX:
        raise Poison("oversize", f"{len(raw)} bytes, at most {EVENT_BYTES_MAX} are taken")
    try:
        event: AnyPaymentEvent = TYPES[type_].adapter.validate_json(raw)
    except ValidationError as error:
        fault = faults_of(error.errors(include_url=False), None)[0]
        raise Poison("schema", fault.detail, fault.pointer) from None
    if b"\\u0000" in raw:
        raise Poison("schema", "has a NUL character")
    return event
