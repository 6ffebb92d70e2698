"""The events of accounts: what is answered of one, and the facts of its being opened and changed."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal
from uuid import UUID

from pydantic import TypeAdapter

from libs.common.event_shapes import FACTS, Fact, Open, Ordinal, RecordedRequest
from libs.common.event_type import EventType
from libs.common.journal import AccountType, AmountText, CodeText, CurrencyText, OverdraftPolicy, Side, Translation


@dataclass(slots=True, kw_only=True)
class AccountHeading(Open):
    """The group of an account in reports."""

    number: int
    name: str


@dataclass(slots=True, kw_only=True)
class AccountOverdraft(Open):
    """How far the available balance may fall below zero."""

    policy: OverdraftPolicy
    limit: AmountText | None


@dataclass(slots=True, kw_only=True)
class OpenedAccount(Open):
    """An account in the books. A summary account has no currency."""

    id: UUID
    code: CodeText
    name: str
    type: AccountType
    normal_side: Side
    currency: CurrencyText | None
    decimals: int
    heading: AccountHeading | None
    parent: str | None
    summary: bool
    control_owner: str | None
    reconcilable: bool
    cash: bool
    cash_flow_class: str | None
    monetary: bool
    translation: Translation
    overdraft: AccountOverdraft
    external_id: str | None
    metadata: dict[str, Any]
    frozen: str | None = None
    closed: bool = False


@dataclass(slots=True, kw_only=True)
class AnsweredAccount(OpenedAccount):
    """An account as the one who asked for it is told; `version` is the sequence that opened it."""

    ledger: str
    version: Ordinal
    opened_at: datetime


@dataclass(slots=True, kw_only=True)
class AccountOpened(Fact):
    """An account was opened."""

    type: Literal["account-opened"]
    request: RecordedRequest
    account: OpenedAccount


@dataclass(slots=True, kw_only=True)
class AccountChanged(Fact):
    """An account was described otherwise, frozen, unfrozen or closed; `account` is all that is true of it now."""

    type: Literal["account-changed"]
    request: RecordedRequest
    change: Literal["changed", "frozen", "unfrozen", "closed"]
    account: OpenedAccount
    reason: str | None = None


ACCOUNT_OPENED: Final = EventType(
    "ledger.account-opened.v1", FACTS, TypeAdapter(AccountOpened), "An account was opened."
)
ACCOUNT_CHANGED: Final = EventType(
    "ledger.account-changed.v1", FACTS, TypeAdapter(AccountChanged), "An account was changed, frozen or closed."
)
