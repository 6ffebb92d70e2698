"""What fx tells the others: facts on `fx.events.v1`, keyed by whose rate it is and the pair.

Fields that a reader does not know are ignored, so that the producer may go first.
"""

from dataclasses import dataclass
from datetime import date, datetime
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import TypeAdapter

from libs.common.event_type import EventType
from libs.common.journal import CurrencyText, Pattern, ShortText, SlugText

FX: Final = "fx.events.v1"
FX_SOURCE: Final = "fx"
"""The `ce_source` of everything fx publishes."""

PublishedRateText = Annotated[str, Pattern(r"^[0-9]{1,20}(\.[0-9]{1,28})?$")]


@dataclass(slots=True, kw_only=True)
class RatePublished:
    """`rate` units of `counter` were worth one of `base` on the day `on`, as `provider` published it.

    `organization` is null where the rate is everybody's. A correction is another event that names the id of the one it
    replaces in `supersedes`; what was published later counts.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "ignore"}
    provider: ShortText
    base: CurrencyText
    counter: CurrencyText
    rate: PublishedRateText
    on: date
    published_at: datetime
    side: Literal["bid", "mid", "ask"] = "mid"
    organization: SlugText | None = None
    supersedes: ShortText | None = None


RATE_PUBLISHED: Final = EventType(
    "fx.rate-published.v1", FX, TypeAdapter(RatePublished), "An exchange rate may be used from now on."
)


def rate_key(organization: str | None, base: str, counter: str) -> bytes:
    """The Kafka key of a rate: corrections of a rate stay behind it."""
    return "/".join([*([organization] if organization else []), base, counter]).encode()
