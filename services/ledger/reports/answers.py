"""What the reports answer, for the OpenAPI document and its readers.

Amounts are text in major units; a balance is on the account's normal side. Every report says its ledger, its range, the
sequence it is true at with the log's hash there, and its tie-outs: two figures found in different ways, and whether
they are equal.
"""

from typing import Any, NotRequired

from typing_extensions import TypedDict

from libs.common.journal import AccountType, Side
from services.ledger.answers import BalanceAnswer

Stated = TypedDict(
    "Stated",
    {
        "report": str,
        "ledger": str,
        "from": str | None,
        "to": str | None,
        "sequence": int,
        "hash": str,
    },
)
"""What every report states. No `from` is the beginning, no `to` is whatever day comes."""


class TieOut(TypedDict):
    """Two figures of one currency that must be equal."""

    name: str
    currency: str
    left: str
    right: str
    ok: bool


class HeadingAnswer(TypedDict):
    """The group of an account in reports; `number` gives the order."""

    number: int
    name: str


class TrialBalanceRow(TypedDict):
    """One account in one currency. `debits` and `credits` are the range's turnover, `balance` is at its end.

    With `from`: `opening` + `movement` = `closing` = `balance`. With `compare`: turnover and balance as of that day.
    `level` is the account's depth in the tree; a row that holds accounts below it says so with `rolled_up`.
    """

    account: str
    name: str
    type: AccountType
    currency: str
    normal_side: Side
    heading: HeadingAnswer | None
    level: int
    rolled_up: bool
    debits: str
    credits: str
    balance: str
    opening: NotRequired[str]
    movement: NotRequired[str]
    closing: NotRequired[str]
    compare_debits: NotRequired[str]
    compare_credits: NotRequired[str]
    compare_balance: NotRequired[str]


class TrialBalanceTotal(TypedDict):
    """Debits and credits of one currency; they are equal."""

    currency: str
    debits: str
    credits: str


class HeadingTotal(TypedDict):
    """Debits and credits of the accounts of one heading, in one currency."""

    heading: HeadingAnswer | None
    currency: str
    debits: str
    credits: str


class TrialBalance(Stated):
    """Every account's turnover and balance at one sequence."""

    compare: str | None
    rows: list[TrialBalanceRow]
    headings: list[HeadingTotal]
    totals: list[TrialBalanceTotal]
    balanced: bool
    tie_outs: list[TieOut]


class CurrencyBalance(TypedDict):
    """A balance in one currency on the normal side of the account it is shown for."""

    currency: str
    posted: str
    pending_debits: str
    pending_credits: str
    available: str


class AccountBranch(TypedDict):
    """An account with its own balance, those below it, and all of them together, by currency."""

    account: str
    name: str
    normal_side: Side
    summary: bool
    own: list[CurrencyBalance]
    children: list["AccountBranch"]
    total: list[CurrencyBalance]


class BranchBalance(BalanceAnswer):
    """The balance of an account that has others below it: its own, theirs, and all together."""

    own: list[CurrencyBalance]
    children: list[AccountBranch]
    total: list[CurrencyBalance]


class SummaryBalance(TypedDict):
    """The balance of a summary account, which has no currency and nothing of its own."""

    account: str
    summary: bool
    normal_side: Side
    own: list[CurrencyBalance]
    children: list[AccountBranch]
    total: list[CurrencyBalance]
    sequence: int
    effective_on: str | None


class AccountTree(Stated):
    """All accounts without a parent, each with what is below it."""

    accounts: list[AccountBranch]
    tie_outs: list[TieOut]


class StatementLine(TypedDict):
    """A line of an account; in a statement with the balance after it, in the order of effective day and sequence."""

    effective_on: str
    value_on: str
    sequence: int
    line: int
    entry: str
    kind: str
    description: str
    external_id: str | None
    origin: str | None
    party: str | None
    side: Side
    amount: str
    balance: NotRequired[str]


class LinePage(TypedDict):
    """Lines in the order of posting, as of a sequence."""

    items: list[StatementLine]
    next_cursor: str | None
    sequence: int


class AccountTotals(Stated):
    """Debits and credits of the lines of one account that pass the filters; `balance` is their difference."""

    account: str
    currency: str
    normal_side: Side
    filters: dict[str, Any]
    debits: str
    credits: str
    balance: str


class AccountStatement(Stated):
    """One page of an account's lines; `opening`, `closing`, `debits` and `credits` are the whole range's."""

    account: str
    name: str
    currency: str
    normal_side: Side
    opening: str
    debits: str
    credits: str
    closing: str
    items: list[StatementLine]
    next_cursor: str | None
    tie_outs: list[TieOut]


class LedgerAccount(TypedDict):
    """An account in the general ledger."""

    account: str
    name: str
    type: AccountType
    currency: str
    normal_side: Side
    opening: str
    lines: list[StatementLine]
    debits: str
    credits: str
    closing: str


class GeneralLedger(Stated):
    """Every account with its lines and running balance."""

    accounts: list[LedgerAccount]
    totals: list[TrialBalanceTotal]
    balanced: bool
    tie_outs: list[TieOut]


class JournalReport(Stated):
    """Entries in the order of their sequence, as `GET /entries/{id}` shows them."""

    entries: list[dict[str, Any]]
    totals: list[TrialBalanceTotal]
    balanced: bool
    tie_outs: list[TieOut]
