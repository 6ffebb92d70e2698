"""A journal kept in memory, and its sums computed the plain way: what statements are tried against without a database.

Lines are written "CODE +12.50" (a debit) or "CODE -12.50" (a credit); an account's currency is the ledger's unless its
code is listed with another.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any

from libs.common.journal import NORMAL_SIDE
from libs.common.money import ISO_4217, from_text
from services.ledger.account_sum import AccountSum
from services.ledger.reports.cash_flow import CashLine


@dataclass(frozen=True, slots=True)
class Entry:
    """A balanced entry: account number and debits less credits, in minor units."""

    day: date
    kind: str
    lines: tuple[tuple[int, int], ...]


@dataclass(slots=True)
class Journal:
    """Accounts and entries of one ledger."""

    accounts: dict[str, AccountSum] = field(default_factory=dict)
    entries: list[Entry] = field(default_factory=list)

    def open(self, code: str, type_: Any, currency: str | None = "EUR", **more: Any) -> None:
        parent = more.pop("parent", None)
        self.accounts[code] = AccountSum(
            **{
                "no": len(self.accounts) + 1, "code": code, "name": code.title(), "type": type_,
                "normal_side": NORMAL_SIDE[type_], "currency": currency,
                "exponent": ISO_4217[currency].exponent if currency else 0, "heading": None,
                "parent_no": self.accounts[parent].no if parent else None, "summary": currency is None, "cash": False,
                "cash_flow_class": None, "monetary": True, "translation": "closing", "debits": 0, "credits": 0, **more,
            }
        )  # fmt: skip

    def pair(self, currency: str, functional: str = "EUR") -> None:
        self.open(f"FX-POSITION-{currency}", "equity", currency)
        self.open(f"FX-EQUIVALENT-{currency}", "equity", functional)

    def post(self, day: str, *lines: str, kind: str = "normal") -> None:
        found = []
        for text in lines:
            code, amount = text.split()
            account = self.accounts[code]
            found.append((account.no, from_text(amount.removeprefix("+"), account.exponent)))
        self.add(Entry(date.fromisoformat(day), kind, tuple(found)))

    def add(self, entry: Entry) -> None:
        by_no = {account.no: account for account in self.accounts.values()}
        nets: dict[str | None, int] = defaultdict(int)
        for no, net in entry.lines:
            nets[by_no[no].currency] += net
        assert not any(nets.values()), f"does not balance: {dict(nets)}"
        self.entries.append(entry)

    def _lines(self, since: date | None, through: date, closings: bool) -> Iterator[tuple[date, int, int]]:
        for entry in self.entries:
            if (since or date.min) <= entry.day <= through and (closings or entry.kind != "closing"):
                for no, net in entry.lines:
                    yield entry.day, no, net

    def sums(self, since: date | None, through: date, *, closings: bool = True) -> list[AccountSum]:
        debits: dict[int, int] = defaultdict(int)
        credits_: dict[int, int] = defaultdict(int)
        for _, no, net in self._lines(since, through, closings):
            (debits if net > 0 else credits_)[no] += abs(net)
        return [
            replace(account, debits=debits[account.no], credits=credits_[account.no])
            for account in sorted(self.accounts.values(), key=lambda each: each.code)
        ]

    def daily(self, through: date, *, closings: bool = True) -> list[tuple[date, AccountSum]]:
        days = sorted({day for day, _, _ in self._lines(None, through, closings)})
        return [
            (day, account)
            for day in days
            for account in self.sums(day, day, closings=closings)
            if any(entry.day == day and account.no in dict(entry.lines) for entry in self.entries)
        ]

    def cash_lines(self, since: date, through: date) -> list[CashLine]:
        cash = {account.no for account in self.accounts.values() if account.cash}
        return [
            CashLine(sequence, no, net > 0, abs(net), entry.day)
            for sequence, entry in enumerate(self.entries, 1)
            if since <= entry.day <= through and cash & {no for no, _ in entry.lines}
            for no, net in entry.lines
        ]
