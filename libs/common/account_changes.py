"""What may be asked of an account that is open: to be described otherwise, frozen, unfrozen, closed.

What a posting was decided on never changes: code, type, normal side, currency, whether it is a summary, and its owner.
"""

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from annotated_types import Ge, Le
from typing_extensions import TypedDict

from libs.common.journal import CashFlowClass, CodeText, Heading, LongText, Metadata, Overdraft, ShortText, Translation

Frozen = Literal["in", "out", "both"]
"""Which lines a frozen account refuses: those on its normal side, those on the other, or all."""

Version = Annotated[int, Ge(1), Le(2**63 - 1)]

_STRICT: dict[str, Any] = {"extra": "forbid", "strict": True}


class AccountPatch(TypedDict, total=False):
    """What is to change; what is absent stays. `expected_version` is the account's version that was looked at."""

    __pydantic_config__ = _STRICT  # type: ignore[misc]  # pydantic reads it here
    name: ShortText
    parent: CodeText | None
    heading: Heading | None
    metadata: Metadata
    overdraft: Overdraft
    reconcilable: bool
    cash: bool
    cash_flow_class: CashFlowClass | None
    monetary: bool
    translation: Translation
    external_id: ShortText | None
    expected_version: Version


@dataclass(slots=True, kw_only=True)
class AccountChangeRequest:
    """An account someone wants described otherwise."""

    code: str
    patch: AccountPatch


@dataclass(slots=True, kw_only=True)
class FreezeBody:
    """Which lines an account is to refuse from now on, and why."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT
    direction: Frozen
    reason: Annotated[LongText, "why, for whoever meets it"]
    expected_version: Version | None = None


@dataclass(slots=True, kw_only=True)
class ReasonBody:
    """Why an account is unfrozen or closed."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT
    reason: LongText | None = None
    expected_version: Version | None = None


@dataclass(slots=True, kw_only=True)
class StandingRequest:
    """An account someone wants frozen, unfrozen or closed. `direction` is for freezing alone."""

    code: str
    change: Literal["frozen", "unfrozen", "closed"]
    direction: Frozen | None = None
    reason: str | None = None
    expected_version: int | None = None
