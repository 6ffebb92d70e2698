"""The tree of accounts: what is whose parent, and what a branch adds up to in each currency.

A summary account has no lines and no currency; any account may have children. A branch's total is shown on the normal
side of its top account, so a contra account below it counts against the others.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from libs.common.journal import Side
from libs.common.money import to_text
from services.ledger.account_sum import AccountSum
from services.ledger.reports.answers import AccountBranch, CurrencyBalance


class Held(NamedTuple):
    """What open holds would add to an account if they were captured whole, in minor units."""

    debits: int
    credits: int


NOTHING_HELD = Held(0, 0)


@dataclass(frozen=True, slots=True)
class Amounts:
    """Sums of one currency, in minor units."""

    exponent: int
    debits: int = 0
    credits: int = 0
    held: Held = NOTHING_HELD

    def plus(self, other: "Amounts") -> "Amounts":
        """Both together."""
        held = Held(self.held.debits + other.held.debits, self.held.credits + other.held.credits)
        return Amounts(self.exponent, self.debits + other.debits, self.credits + other.credits, held)


@dataclass(slots=True)
class Branch:
    """An account, its depth (1 at the top), and the branches below it by code."""

    account: AccountSum
    level: int = 1
    children: list["Branch"] = field(default_factory=list)

    def walk(self) -> Iterator["Branch"]:
        """This branch and all below it, parents first."""
        yield self
        for child in self.children:
            yield from child.walk()


def grow(accounts: Sequence[AccountSum]) -> list[Branch]:
    """The branches of accounts without a parent; accounts come by code, and stay so."""
    branches = {account.no: Branch(account) for account in accounts}
    tops: list[Branch] = []
    for branch in branches.values():
        parent = branches.get(branch.account.parent_no) if branch.account.parent_no is not None else None
        (parent.children if parent is not None else tops).append(branch)
    waiting = list(tops)
    while waiting:
        branch = waiting.pop()
        for child in branch.children:
            child.level = branch.level + 1
        waiting += branch.children
    return tops


def find(tops: Iterable[Branch], no: int) -> Branch | None:
    """The branch of an account."""
    return next((branch for top in tops for branch in top.walk() if branch.account.no == no), None)


def total_of(accounts: Iterable[AccountSum], held: Mapping[int, Held]) -> dict[str, Amounts]:
    """What accounts add up to by currency."""
    totals: dict[str, Amounts] = {}
    for account in accounts:
        if account.currency is not None:
            amounts = Amounts(account.exponent, account.debits, account.credits, held.get(account.no, NOTHING_HELD))
            before = totals.get(account.currency)
            totals[account.currency] = amounts if before is None else before.plus(amounts)
    return dict(sorted(totals.items()))


def balances(totals: Mapping[str, Amounts], side: Side) -> list[CurrencyBalance]:
    """Balances on a normal side. Holds on the other side lower what is available; those on the same never raise it."""
    answer: list[CurrencyBalance] = []
    for currency, sums in totals.items():
        posted = on_side(side, sums.debits, sums.credits)
        held = sums.held.credits if side == "debit" else sums.held.debits
        answer.append(
            {
                "currency": currency,
                "posted": to_text(posted, sums.exponent),
                "pending_debits": to_text(sums.held.debits, sums.exponent),
                "pending_credits": to_text(sums.held.credits, sums.exponent),
                "available": to_text(posted - held, sums.exponent),
            }
        )
    return answer


def on_side(side: Side, debits: int, credits_: int) -> int:
    """A balance on its normal side."""
    return debits - credits_ if side == "debit" else credits_ - debits


def branch_answer(branch: Branch, held: Mapping[int, Held]) -> AccountBranch:
    """A branch with own, children and total."""
    account = branch.account
    return {
        "account": account.code,
        "name": account.name,
        "normal_side": account.normal_side,
        "summary": account.summary,
        "own": balances(total_of([account], held), account.normal_side),
        "children": [branch_answer(child, held) for child in branch.children],
        "total": balances(total_of((each.account for each in branch.walk()), held), account.normal_side),
    }


def at_level(tops: Sequence[Branch], level: int | None) -> list[tuple[Branch, list[AccountSum]]]:
    """The accounts to show down to a level, each with those that it stands for: deeper ones are taken together with
    their ancestor at that level. Every account is in exactly one of the groups."""
    groups: dict[int, list[AccountSum]] = defaultdict(list)
    shown: list[Branch] = []
    waiting = [(top, top) for top in reversed(tops)]
    while waiting:
        branch, stands = waiting.pop()
        if level is None or branch.level <= level:
            stands = branch
            shown.append(branch)
        groups[stands.account.no].append(branch.account)
        waiting += [(child, stands) for child in reversed(branch.children)]
    return [(branch, groups[branch.account.no]) for branch in shown]
