"""What callers send about reminders: the JSON bodies, checked into plain dataclasses as those of bodies.py."""

from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal
from uuid import UUID

from annotated_types import Ge, Le, Len, MaxLen

from libs.common.journal import CodeText, LongText, ShortText, SlugText
from services.invoicing.bodies import AmountsByCurrency, Day
from services.invoicing.reminding import LEVELS_MAX


class _Body:
    __slots__ = ()
    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid", "strict": True}


@dataclass(slots=True, kw_only=True)
class LevelBody(_Body):
    """A reminder, from so many days after the due date on; `fees` are amounts by currency."""

    days_after_due: Annotated[int, Ge(1), Le(3_660)]
    title: Annotated[ShortText, Len(1)]
    text: LongText
    fees: AmountsByCurrency = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class LevelsBody(_Body):
    """A ledger's whole levels, lowest first; none ends dunning. `fee_account` takes the fees instead of revenue."""

    levels: Annotated[list[LevelBody], MaxLen(LEVELS_MAX)]
    fee_account: CodeText | None = None


@dataclass(slots=True, kw_only=True)
class DunningBody(_Body):
    """A ledger's dunning on a day, today where it is absent."""

    ledger: SlugText = "main"
    on: Day | None = None


@dataclass(slots=True, kw_only=True)
class HoldBody(_Body):
    """No reminders of an invoice, or to a customer (an id or a name), through `until` or until it is released.

    A promise is a hold that the customer's word is the reason of; it has its day.
    """

    invoice_id: UUID | None = None
    customer: ShortText | None = None
    kind: Literal["hold", "promise"] = "hold"
    until: Day | None = None
    reason: LongText | None = None
