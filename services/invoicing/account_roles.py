"""Which account plays which part: what the posting rules say is in roles, a ledger's mapping makes accounts of them.

    mapping: (role, currency) -> account code

Currency "" stands for the ledger's functional currency, so that a ledger that invoices in its own currency alone names
each account once. Nothing falls back further: a role that no account plays in a currency is `mapping-missing`, for a
line never goes to an account of another currency. Roles of results (revenue, fees, ...) and of tax are in the
functional currency unless the mapping names an account for them in the invoice's; roles of what is owed stay in the
currency it is owed in. STANDARD is the mapping a new ledger may begin with, and the accounts it needs.
"""

from collections.abc import Iterable
from typing import Final, Literal, TypeAlias, get_args

from libs.common.errors import Fault, Rejection
from libs.common.journal import AccountRequest, AccountType, Heading, Side
from libs.common.values import value
from services.invoicing.rejections import reject

Role = Literal[
    "receivable",
    "revenue",
    "tax-due",
    "tax-not-yet-due",
    "bank",
    "processor-clearing",
    "fees",
    "unapplied-receipts",
    "customer-credit",
    "refunds-payable",
    "deferred-revenue",
    "bad-debt",
    "bad-debt-recovery",
    "discounts",
    "withholding",
    "rounding",
]
ROLES: Final[tuple[Role, ...]] = get_args(Role)

CONTROLLED: Final[frozenset[Role]] = frozenset(
    {"receivable", "unapplied-receipts", "customer-credit", "refunds-payable"}
)
"""Control accounts of this service: each line names a party, and nobody else posts to them."""

TIED: Final[frozenset[Role]] = CONTROLLED | {"tax-due", "tax-not-yet-due", "deferred-revenue", "processor-clearing"}
"""What invoicing knows line by line: the sum of its movements is the account's balance, at any sequence."""

OWED_IN_ITS_CURRENCY: Final[frozenset[Role]] = CONTROLLED | {"bank", "processor-clearing"}
"""Never converted. All other roles are, unless the mapping names an account for them in the currency."""

Mapping: TypeAlias = dict[tuple[Role, str], str]
"""(role, currency or "" for the functional one) -> account code."""


def resolve(role: Role, currency: str, mapping: Mapping, functional: str) -> str | Rejection:
    """The account that plays `role` in `currency` in a ledger whose functional currency is `functional`."""
    code = mapping.get((role, currency))
    if code is None and currency == functional:
        code = mapping.get((role, ""))
    if code is not None:
        return code
    said = f"{role} in {currency} has no account"
    return reject("mapping-missing", f"{said}.", [Fault("/mapping", said)], role=role, currency=currency)


def books_currency(role: Role, currency: str, mapping: Mapping, functional: str) -> str:
    """The currency in which an amount of `currency` goes to the books under `role`: its own or the functional one.

    Deferred revenue is where revenue is, for it becomes that.
    """
    role = "revenue" if role == "deferred-revenue" else role
    if role in OWED_IN_ITS_CURRENCY or (role, currency) in mapping:
        return currency
    return functional


@value(frozen=True, slots=True)
class StandardAccount:
    """An account of a standard chart that plays a role."""

    role: Role
    code: str
    name: str
    type: AccountType
    heading: tuple[int, str]
    normal_side: Side | None = None
    reconcilable: bool = False
    cash: bool = False
    monetary: bool = True

    @property
    def control_owner(self) -> str | None:
        """Who alone may post to it."""
        return "invoicing" if self.role in CONTROLLED else None

    def request(self, currency: str, functional: str) -> AccountRequest:
        """What opens it for a currency; the code of a foreign currency's account ends in the currency."""
        foreign = currency != functional
        number, heading = self.heading
        return AccountRequest(
            code=f"{self.code}-{currency}" if foreign else self.code,
            name=f"{self.name}, {currency}" if foreign else self.name,
            type=self.type,
            currency=currency,
            normal_side=self.normal_side,
            heading=Heading(number=number, name=heading),
            control_owner=self.control_owner,
            reconcilable=self.reconcilable,
            cash=self.cash,
            cash_flow_class=None if self.cash else "operating",
            monetary=self.monetary,
            translation="closing" if self.monetary else "historical",
        )


_ASSETS, _LIABILITIES = (10, "Current assets"), (30, "Current liabilities")
_REVENUE, _EXPENSES, _OTHER = (60, "Revenue"), (80, "Operating expenses"), (90, "Other income and expense")

STANDARD: Final[tuple[StandardAccount, ...]] = (
    StandardAccount("receivable", "1100-AR", "Accounts receivable", "asset", _ASSETS),
    StandardAccount("revenue", "4010-SALES", "Sales", "income", _REVENUE),
    StandardAccount("tax-due", "2100-OUTPUT-VAT", "VAT to pay", "liability", _LIABILITIES),
    StandardAccount("tax-not-yet-due", "2110-VAT-NOT-YET-DUE", "VAT not yet due", "liability", _LIABILITIES),
    StandardAccount("bank", "1010-BANK", "Bank account", "asset", _ASSETS, reconcilable=True, cash=True),
    StandardAccount(
        "processor-clearing", "1030-CLEARING", "Card payments on their way", "asset", _ASSETS, reconcilable=True
    ),
    StandardAccount("fees", "6060-PAYMENT-FEES", "Fees of payment processors", "expense", _EXPENSES),
    StandardAccount("unapplied-receipts", "2310-UNAPPLIED", "Unapplied receipts", "liability", _LIABILITIES),
    StandardAccount("customer-credit", "2300-CUSTOMER-CREDIT", "Customer credit", "liability", _LIABILITIES),
    StandardAccount("refunds-payable", "2320-REFUNDS-PAYABLE", "Refunds payable", "liability", _LIABILITIES),
    StandardAccount("deferred-revenue", "2400-DEFERRED", "Deferred revenue", "liability", _LIABILITIES, monetary=False),
    StandardAccount("bad-debt", "6070-BAD-DEBT", "Receivables written off", "expense", _EXPENSES),
    StandardAccount("bad-debt-recovery", "7300-BAD-DEBT-RECOVERED", "Recovered receivables", "income", _OTHER),
    StandardAccount("discounts", "4090-DISCOUNTS", "Discounts given", "income", _REVENUE, normal_side="debit"),
    StandardAccount("withholding", "1410-TAX-WITHHELD", "Tax withheld by customers", "asset", _ASSETS),
    StandardAccount("rounding", "7200-ROUNDING", "Rounding differences", "expense", _OTHER),
)
"""One account for each role. A ledger is free to map any others, several roles to one account too."""


def standard_mapping(functional: str, currencies: Iterable[str] = ()) -> Mapping:
    """Each role played by its standard account, in the functional currency and, where owed in them, in `currencies`."""
    mapping: Mapping = {(standard.role, ""): standard.code for standard in STANDARD}
    for currency in currencies:
        if currency != functional:
            for standard in STANDARD:
                if standard.role in OWED_IN_ITS_CURRENCY:
                    mapping[standard.role, currency] = standard.request(currency, functional).code
    return mapping


def standard_accounts(functional: str, currencies: Iterable[str] = ()) -> list[AccountRequest]:
    """The accounts that `standard_mapping` names, as requests that open them."""
    requests = [standard.request(functional, functional) for standard in STANDARD]
    for currency in currencies:
        if currency != functional:
            owed = (standard for standard in STANDARD if standard.role in OWED_IN_ITS_CURRENCY)
            requests.extend(standard.request(currency, functional) for standard in owed)
    return requests
