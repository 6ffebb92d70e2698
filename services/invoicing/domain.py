"""What is owed on an invoice, as pure rules: the state follows from the amounts. Read this file first.

    total = paid + credited + written off + open

`paid` is what payments and customer credit settled, tax the customer withheld included; `credited` is what credit notes
and early-payment discounts took off; `written_off` was given up. Nobody sets a status: it is read off the amounts, and
what moves the amounts are the rules here. Each takes the invoice's standing and gives the amounts after, or the
rejection. Amounts are minor units. *Overdue* is no status: it is an open amount past its `due_on`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Final, Literal, get_args

from libs.common.errors import Fault, Rejection
from libs.common.money import Currency, to_text
from libs.common.values import value
from services.invoicing.rejections import reject

Status = Literal["draft", "issued", "part-paid", "paid", "credited", "void", "written-off"]
STATUSES: Final[tuple[Status, ...]] = get_args(Status)

Posting = Literal["none", "requested", "posted", "needs-attention"]
POSTINGS: Final[tuple[Posting, ...]] = get_args(Posting)

OWED: Final[frozenset[Status]] = frozenset({"issued", "part-paid", "paid", "credited", "written-off"})
"""On these the open amount is a receivable; a draft is not owed yet, a void invoice is owed no more."""


@value(frozen=True, slots=True)
class Amounts:
    """Minor units of the invoice's currency; none is negative, and the three together are at most the total."""

    total: int
    paid: int = 0
    credited: int = 0
    written_off: int = 0

    def __post_init__(self) -> None:
        assert min(self.total, self.paid, self.credited, self.written_off, self.open) >= 0, f"cannot be: {self}"

    @property
    def open(self) -> int:
        """What is left to pay."""
        return self.total - self.paid - self.credited - self.written_off


@value(frozen=True, slots=True)
class Standing:
    """An invoice as the rules see it."""

    status: Status
    amounts: Amounts
    currency: Currency


def status_of(amounts: Amounts, is_draft: bool, is_void: bool) -> Status:
    """The one status that fits; a zero total is paid as soon as it is issued."""
    if is_draft:
        return "draft"
    if is_void:
        return "void"
    if amounts.open:
        return "issued" if amounts.open == amounts.total else "part-paid"
    if amounts.written_off:
        return "written-off"
    return "credited" if amounts.credited and not amounts.paid else "paid"


def receivable(status: Status, amounts: Amounts) -> int:
    """What the books show as owed on it."""
    return amounts.open if status in OWED else 0


# --- from status to status --------------------------------------------------------------------------------------------

STEPS: Final[Mapping[Status, Mapping[Status, str]]] = {
    "draft": {
        "draft": "changed",
        "issued": "issued",
        "paid": "issued with a total of zero",
    },
    "issued": {
        "issued": "nothing about its amounts",
        "part-paid": "paid, credited or written off in part",
        "paid": "paid whole",
        "credited": "credited whole",
        "void": "made void",
        "written-off": "written off whole",
    },
    "part-paid": {
        "issued": "everything on it taken back",
        "part-paid": "paid, credited, written off or taken back in part",
        "paid": "the rest paid, or credited after a payment",
        "credited": "the rest credited, nothing paid",
        "written-off": "the rest written off, or settled after a write-off",
    },
    "paid": {
        "issued": "all payments taken back",
        "part-paid": "a payment taken back",
        "paid": "nothing about its amounts",
    },
    "credited": {
        "credited": "nothing about its amounts",
    },
    "void": {
        "void": "nothing about its amounts",
    },
    "written-off": {
        "issued": "the whole write-off reversed",
        "part-paid": "a write-off reversed or a payment taken back",
        "written-off": "nothing about its amounts",
    },
}
"""From each status, where one rule may lead and by what. What is not here is refused, by the database too.

Taken back is a payment by its return, refund, dispute or unallocation.
"""

TRANSITIONS: Final[Mapping[tuple[Status, Status], str | None]] = {
    (before, after): STEPS[before].get(after) for before in STATUSES for after in STATUSES
}
"""All pairs: what leads from the first to the second, None where nothing may."""


def may_follow(before: Status, after: Status) -> bool:
    """Whether one rule may lead from the one to the other."""
    return TRANSITIONS[before, after] is not None


def posting_of(states: Iterable[str]) -> Posting:
    """What a document says of its postings: the worst of them (waiting ones are on their way too)."""
    seen = set(states)
    if "needs-attention" in seen:
        return "needs-attention"
    if seen & {"waiting", "requested"}:
        return "requested"
    return "posted" if "posted" in seen else "none"


# --- the rules --------------------------------------------------------------------------------------------------------


def issue(standing: Standing) -> Amounts | Rejection:
    """A draft becomes a receivable; nothing is on it yet."""
    if standing.status != "draft":
        return reject("not-a-draft", f"This one is {standing.status}.", status=standing.status)
    return Amounts(standing.amounts.total)


def redraw(standing: Standing) -> Amounts | Rejection:
    """A draft may become another one, or go; what is issued stays as it is."""
    if standing.status != "draft":
        return reject("not-a-draft", f"This one is {standing.status}.", status=standing.status)
    return standing.amounts


def void(standing: Standing) -> Amounts | Rejection:
    """An issued invoice as if it had never been; it keeps its number. Its amounts stay, nothing of them is owed."""
    match standing.status:
        case "void":
            return reject("invoice-void", status="void")
        case "draft":
            return reject("not-issued", "A draft has no number to keep: delete it.", status="draft")
        case "issued":
            return standing.amounts
        case _:
            return reject("void-not-allowed", "Credit it instead.", (), status=standing.status, **_facts(standing))


def allocate(standing: Standing, amount: int, pointer: str = "/amount") -> Amounts | Rejection:
    """A payment, customer credit or tax withheld settles `amount` of what is open."""
    refused = _movable(standing, amount, pointer)
    if refused is not None:
        return refused
    if amount > standing.amounts.open:
        return _too_much("allocation-exceeds-open", standing, amount, pointer)
    before = standing.amounts
    return Amounts(before.total, before.paid + amount, before.credited, before.written_off)


def unallocate(standing: Standing, amount: int, pointer: str = "/amount") -> Amounts | Rejection:
    """What was paid is open again: unallocation, refund, return or dispute."""
    refused = _movable(standing, amount, pointer)
    if refused is not None:
        return refused
    if amount > standing.amounts.paid:
        return _too_much("unallocation-exceeds-paid", standing, amount, pointer)
    return replace(standing.amounts, paid=standing.amounts.paid - amount)


def credit(standing: Standing, amount: int, pointer: str = "/amount") -> Amounts | Rejection:
    """A credit note or early-payment discount takes `amount` off what is open.

    Of a credit note that is the part up to open; the rest of it becomes customer credit and is not on the invoice.
    """
    refused = _movable(standing, amount, pointer)
    if refused is not None:
        return refused
    if amount > standing.amounts.open:
        return _too_much("credit-exceeds-invoice", standing, amount, pointer)
    return replace(standing.amounts, credited=standing.amounts.credited + amount)


def take_back_discount(standing: Standing, amount: int, pointer: str = "/amount") -> Amounts | Rejection:
    """An early-payment discount is lost where its payment is taken back. What credit notes took off stays off."""
    refused = _movable(standing, amount, pointer)
    if refused is not None:
        return refused
    if amount > standing.amounts.credited or standing.status == "credited":
        return _too_much("unallocation-exceeds-discount", standing, amount, pointer)
    return replace(standing.amounts, credited=standing.amounts.credited - amount)


def write_off(standing: Standing, amount: int | None = None, pointer: str = "/amount") -> Amounts | Rejection:
    """Gives up `amount`, or all that is open."""
    amount = standing.amounts.open if amount is None else amount
    refused = _movable(standing, amount, pointer)
    if refused is not None:
        return refused
    if amount > standing.amounts.open:
        return _too_much("write-off-exceeds-open", standing, amount, pointer)
    return replace(standing.amounts, written_off=standing.amounts.written_off + amount)


def reverse_write_off(standing: Standing, amount: int | None = None, pointer: str = "/amount") -> Amounts | Rejection:
    """What was given up is owed again: `amount` of it, or all."""
    amount = standing.amounts.written_off if amount is None else amount
    refused = _movable(standing, amount, pointer)
    if refused is not None:
        return refused
    if amount > standing.amounts.written_off:
        return _too_much("reversal-exceeds-write-off", standing, amount, pointer)
    return replace(standing.amounts, written_off=standing.amounts.written_off - amount)


_LIMITS = {
    "unallocation-exceeds-paid": "paid",
    "unallocation-exceeds-discount": "credited",
    "reversal-exceeds-write-off": "written_off",
}
"""What an amount is measured against, where that is not what is open."""


def _movable(standing: Standing, amount: int, pointer: str) -> Rejection | None:
    if standing.status == "draft":
        return reject("not-issued", status="draft")
    if standing.status == "void":
        return reject("invoice-void", status="void")
    if amount <= 0:
        given = to_text(amount, standing.currency.exponent)
        return reject("amount-not-positive", errors=[Fault(pointer, f"is {given}")], amount=given)
    return None


def _too_much(code: str, standing: Standing, amount: int, pointer: str) -> Rejection:
    given = to_text(amount, standing.currency.exponent)
    facts = _facts(standing)
    limit = _LIMITS.get(code, "open")
    said = f"{given} {standing.currency.code} is more than the {facts[limit]} {limit.replace('_', ' ')}"
    return reject(code, f"{said}.", [Fault(pointer, said)], amount=given, **facts)


def _facts(standing: Standing) -> dict[str, str]:
    amounts, exponent = standing.amounts, standing.currency.exponent
    return {
        "currency": standing.currency.code,
        "total": to_text(amounts.total, exponent),
        "paid": to_text(amounts.paid, exponent),
        "credited": to_text(amounts.credited, exponent),
        "written_off": to_text(amounts.written_off, exponent),
        "open": to_text(amounts.open, exponent),
    }
