"""Whether the subledger and the books say the same: sums of movements against sums of lines, account by account. Pure.

    movements   what invoicing asked for, by role, party and currency      (posted at or before a ledger sequence)
    book lines  what the ledger posted on accounts that a role is or was mapped to         (the same sequence)

    difference = books - by_others - subledger                                          zero wherever all is well

A role may have had several accounts, and several roles may share one; what belongs together that way is compared
together (`Row.roles`, `Row.accounts`). Receivables, unapplied receipts, customer credit and refunds payable are also
compared party by party. `by_others` is what other hands posted on these accounts: on a controlled account nobody but
invoicing has any business, so that is a fault by itself; on tax or clearing accounts others settle what invoicing
owes or is owed. Amounts are in minor units, debits positive.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

PARTY_ROLES: Final = frozenset({"receivable", "unapplied-receipts", "customer-credit", "refunds-payable"})
"""Their accounts are invoicing's own, and every line on them names a party."""

TIED_ROLES: Final = PARTY_ROLES | {"tax-due", "tax-not-yet-due", "processor-clearing", "deferred-revenue"}
"""Roles whose movements are kept, so that they can be compared."""


class MappedAccount(NamedTuple):
    """An account that a role is or was mapped to. `complete`: all its lines are known here."""

    account: str
    role: str
    complete: bool = True


class MovementSum(NamedTuple):
    """What the subledger says."""

    role: str
    party: str | None
    currency: str
    amount: int


class BookSum(NamedTuple):
    """What the books say; `by_others` is the part of `amount` that other hands posted."""

    account: str
    party: str | None
    currency: str
    amount: int
    by_others: int = 0


@dataclass(slots=True)
class Row:
    """One comparison. `shared_with` names roles on the same accounts that have no movements to compare with."""

    roles: tuple[str, ...]
    accounts: tuple[str, ...]
    party: str | None
    currency: str
    complete: bool
    shared_with: tuple[str, ...] = ()
    subledger: int = 0
    books: int = 0
    by_others: int = 0

    @property
    def difference(self) -> int:
        return self.books - self.by_others - self.subledger

    @property
    def ties(self) -> bool:
        """No difference, and on a controlled account nothing by another hand."""
        return self.difference == 0 and not (self.by_others and PARTY_ROLES.intersection(self.roles))


@dataclass(slots=True)
class _Group:
    """Roles and accounts that belong together."""

    roles: set[str] = field(default_factory=set)
    accounts: set[str] = field(default_factory=set)
    complete: bool = True

    @property
    def by_party(self) -> bool:
        return bool(PARTY_ROLES & self.roles)


def compare(
    mapped: Sequence[MappedAccount], movements: Iterable[MovementSum], books: Iterable[BookSum]
) -> tuple[Row, ...]:
    """Every comparison that is not zero on all sides, by roles, currency and party.

    A movement of a role that never had an account is a row without accounts: it can only be one that was not posted.
    """
    of_role, of_account = _groups(mapped)
    rows: dict[tuple[int, str, str | None], Row] = {}

    def row_of(group: _Group, party: str | None, currency: str) -> Row:
        party = party or None if group.by_party else None
        key = (id(group), currency, party)
        if key not in rows:
            rows[key] = Row(
                tuple(sorted(group.roles & TIED_ROLES)),
                tuple(sorted(group.accounts)),
                party,
                currency,
                group.complete,
                tuple(sorted(group.roles - TIED_ROLES)),
            )
        return rows[key]

    for moved in movements:
        if moved.role in TIED_ROLES:
            group = of_role.setdefault(moved.role, _Group({moved.role}))
            row_of(group, moved.party, moved.currency).subledger += moved.amount
    for line in books:
        if (found := of_account.get(line.account)) is not None and found.roles & TIED_ROLES:
            row = row_of(found, line.party, line.currency)
            row.books += line.amount
            row.by_others += line.by_others
    told = [row for row in rows.values() if row.subledger or row.books or row.by_others]
    return tuple(sorted(told, key=lambda row: (row.roles, row.currency, row.party or "")))


def _groups(mapped: Sequence[MappedAccount]) -> tuple[dict[str, _Group], Mapping[str, _Group]]:
    """The group of each role and of each account: joined wherever one is mapped to the other."""
    of_role: dict[str, _Group] = {}
    of_account: dict[str, _Group] = {}
    for each in mapped:
        group = of_role.setdefault(each.role, _Group())
        other = of_account.setdefault(each.account, group)
        if other is not group:
            group.roles |= other.roles
            group.accounts |= other.accounts
            group.complete &= other.complete
            of_role.update(dict.fromkeys(other.roles, group))
            of_account.update(dict.fromkeys(other.accounts, group))
        group.roles.add(each.role)
        group.accounts.add(each.account)
        group.complete &= each.complete
    return of_role, of_account
