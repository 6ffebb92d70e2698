"""An account with what its lines add up to: the value every report is made of."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from libs.common.journal import AccountType, CashFlowClass, Side, Translation


@dataclass(frozen=True, slots=True)
class AccountSum:
    """An account and its sums, in minor units; a summary account has no currency and sums of zero."""

    no: int
    code: str
    name: str
    type: AccountType
    normal_side: Side
    currency: str | None
    exponent: int
    heading: tuple[int, str] | None
    parent_no: int | None
    summary: bool
    cash: bool
    cash_flow_class: CashFlowClass | None
    monetary: bool
    translation: Translation
    debits: int
    credits: int

    @property
    def posted(self) -> int:
        """The balance on the normal side."""
        return self.debits - self.credits if self.normal_side == "debit" else self.credits - self.debits


def add_up(accounts: Iterable[AccountSum]) -> dict[str, tuple[int, int]]:
    """Debits and credits by currency, by code."""
    totals: dict[str, tuple[int, int]] = {}
    for account in accounts:
        if account.currency is not None:
            debits, credits_ = totals.get(account.currency, (0, 0))
            totals[account.currency] = (debits + account.debits, credits_ + account.credits)
    return dict(sorted(totals.items()))


def less(whole: AccountSum, part: AccountSum) -> AccountSum:
    """What is in the whole and not in the part of the same account."""
    assert whole.no == part.no
    return replace(whole, debits=whole.debits - part.debits, credits=whole.credits - part.credits)
