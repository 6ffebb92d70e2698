"""The records of accounts: opened, and changed in whatever is said of them. Each says all that is true after it."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from libs.common.account_changes import Frozen
from libs.common.journal import OverdraftPolicy
from libs.common.money import to_text
from services.ledger.state import Account, AccountSheet, LedgerState


@dataclass(slots=True)
class AccountOpened:
    """A new account, with all that is said of it."""

    account: Account
    sheet: AccountSheet

    def body(self) -> dict[str, Any]:
        """The record's own part of the payload."""
        return {"type": "account-opened", "account": account_body(self.account, self.sheet)}

    def moved_accounts(self) -> Iterable[Account]:
        """None: it has no sums before."""
        return ()

    def apply(self, state: LedgerState, sequence: int, /) -> None:
        """The account is there from now on."""
        account = self.account
        account.version = sequence
        state.accounts[account.code] = account
        state.next_account_no = account.no + 1


@dataclass(slots=True)
class AccountStanding:
    """What postings look at in an account, and what can change of it. The limit is in minor units."""

    overdraft_policy: OverdraftPolicy
    overdraft_limit: int
    frozen: Frozen | None
    closed: bool


AccountChange = Literal["changed", "frozen", "unfrozen", "closed"]


@dataclass(slots=True, kw_only=True)
class AccountChanged:
    """An account that is another one now: described otherwise, frozen, unfrozen or closed.

    `version` is the sequence of the record that last said what it was (`accounts.version`).
    """

    account: Account
    sheet: AccountSheet
    standing: AccountStanding
    change: AccountChange
    reason: str | None
    version: int

    def body(self) -> dict[str, Any]:
        """The record's own part of the payload: all that is true after it."""
        account = account_body(self.account, self.sheet, self.standing)
        body: dict[str, Any] = {"type": "account-changed", "change": self.change, "account": account}
        if self.reason is not None:
            body["reason"] = self.reason
        return body

    def moved_accounts(self) -> Iterable[Account]:
        """None: its sums stay."""
        return ()

    def apply(self, _state: LedgerState, _sequence: int, /) -> None:
        """Postings look at the new standing."""
        account, standing = self.account, self.standing
        account.overdraft_policy, account.overdraft_limit = standing.overdraft_policy, standing.overdraft_limit
        account.frozen, account.closed = standing.frozen, standing.closed
        account.guard()


def account_body(account: Account, sheet: AccountSheet, standing: AccountStanding | None = None) -> dict[str, Any]:
    """An account as records have it."""
    now = standing or AccountStanding(account.overdraft_policy, account.overdraft_limit, account.frozen, account.closed)
    limit = to_text(now.overdraft_limit, account.exponent) if now.overdraft_policy == "limit" else None
    body = {
        "id": str(account.id),
        "no": account.no,
        "code": account.code,
        "name": sheet.name,
        "type": account.type,
        "normal_side": account.normal_side,
        "currency": account.currency,
        "decimals": account.exponent,
        "heading": {"number": sheet.heading.number, "name": sheet.heading.name} if sheet.heading else None,
        "parent": sheet.parent.code if sheet.parent else None,
        "summary": account.summary,
        "control_owner": account.control_owner,
        "reconcilable": sheet.reconcilable,
        "cash": sheet.cash,
        "cash_flow_class": sheet.cash_flow_class,
        "monetary": sheet.monetary,
        "translation": sheet.translation,
        "overdraft": {"policy": now.overdraft_policy, "limit": limit},
        "external_id": sheet.external_id,
        "metadata": sheet.metadata,
    }
    if standing is not None:
        body |= {"frozen": now.frozen, "closed": now.closed, "opened_at": sheet.opened_at}
    return body
