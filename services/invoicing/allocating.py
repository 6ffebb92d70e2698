"""Where a payment goes: to the invoices its reference names, then to the payer's, oldest due first.

    payment, reference, customer, open invoices -> allocations + unapplied + to_credit = amount

A reference is free text from a bank. It names an invoice where the invoice's number, or its creditor reference, stands
in it as words of its own: case, spaces and punctuation between them do not count, the longest match wins, and a number
of fewer than four letters and digits counts only where it is the whole text. `numbers_in` gives what to look up.
What is left over when every invoice is settled is the customer's credit where the reference named an invoice (it was
overpaid), else it is unapplied, and `reason` says why. A payment that is short by no more than its invoices' discounts
for early payment settles them (`early_payment.missing`). Where money goes back, `unwind` takes it from where it still
is: unapplied first, then credit, then the newest allocations; where it comes again after all, `put_back` puts it where
it was. Pure, and the same for any order of its arguments.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date
from itertools import accumulate
from typing import NamedTuple

from libs.common.errors import Fault, Rejection
from libs.common.money import Currency, to_text
from libs.common.values import value
from services.invoicing.early_payment import missing
from services.invoicing.rejections import reject

WORDS_MAX = 100
"""Words of a reference that are looked at."""
WORDS_OF_A_NAME_MAX = 12
DIGITS_OF_A_NUMBER_MIN = 10
"""A year and six digits of a serial; a creditor reference is made of a number."""
SHORT_NAME = 4
"""A number with fewer letters and digits than this says nothing inside other words."""

_WORD = re.compile(r"[^\W_]+")


@value(frozen=True, slots=True)
class OpenInvoice:
    """An invoice that is owed, as far as placing a payment goes. `open`, and the discount that it may take, in minor
    units."""

    id: str
    number: str
    creditor_reference: str | None
    customer: str
    currency: str
    open: int
    due_on: date
    issued_on: date
    discount: int = 0


@value(frozen=True, slots=True)
class Placement:
    """Where a payment goes: `allocations` (invoice id, amount), what is left, and the discounts that it takes.

    `customer` is whose it is, None while nobody knows; `to_credit` is never without one.
    """

    allocations: tuple[tuple[str, int], ...]
    unapplied: int
    to_credit: int
    reason: str | None
    customer: str | None
    discounts: tuple[tuple[str, int], ...] = ()


class _Name(NamedTuple):
    """A stretch of a reference: its place, its length in words, and its letters and digits alone."""

    start: int
    words: int
    plain: str


def plain(name: str) -> str:
    """The letters and digits of a number or reference, in upper case: what two ways to write it have in common.

    >>> plain("inv-2026/000001"), plain("RF18 5390 0754 7034")
    ('INV2026000001', 'RF18539007547034')
    """
    return "".join(_WORD.findall(name)).upper()


def numbers_in(reference: str) -> frozenset[str]:
    """Every `plain` name in the reference that may be an invoice's: what numbers and creditor references are looked up
    by. They have a year and a serial number, and end with it (`invoices.number_of`)."""
    words = _words(reference)
    digits = [0 if word.isalpha() else sum(map(str.isdigit, word)) for word in words]
    names: set[str] = set()
    for start in range(len(words)):
        name, count = "", 0
        for place in range(start, min(start + WORDS_OF_A_NAME_MAX, len(words))):
            name += words[place]
            count += digits[place]
            if count >= DIGITS_OF_A_NUMBER_MIN and words[place][-1].isdigit():
                names.add(name)
    return frozenset(names)


def _words(reference: str) -> list[str]:
    return [word.upper() for word in _WORD.findall(reference)[:WORDS_MAX]]


def _stretches(reference: str, names: Iterable[str]) -> Iterator[_Name]:
    """Where these `plain` names stand in the reference as words of their own."""
    words = _words(reference)
    text = "".join(words)
    at_word = {start: number for number, start in enumerate(accumulate(map(len, words), initial=0))}
    for name in names:
        at = text.find(name)
        while at >= 0:
            first, last = at_word.get(at), at_word.get(at + len(name))
            if first is not None and last is not None:
                says_something = len(name) >= SHORT_NAME or last - first == len(words)
                if says_something and last - first <= WORDS_OF_A_NAME_MAX:
                    yield _Name(first, last - first, name)
            at = text.find(name, at + 1)


def named(reference: str | None, invoices: Iterable[OpenInvoice]) -> list[OpenInvoice]:
    """The invoices that the reference names, in its order; a longer name hides the shorter ones inside it."""
    if not reference:
        return []
    by_name: dict[str, list[OpenInvoice]] = {}
    for invoice in invoices:
        for own in {plain(invoice.number), plain(invoice.creditor_reference or "")} - {""}:
            by_name.setdefault(own, []).append(invoice)
    known = sorted(_stretches(reference, by_name), key=lambda name: (-len(name.plain), name.start))
    taken: set[int] = set()
    found: list[tuple[int, OpenInvoice]] = []
    for name in known:
        places = set(range(name.start, name.start + name.words))
        if not places & taken:
            taken |= places
            found.extend((name.start, invoice) for invoice in sorted(by_name[name.plain], key=_oldest))
    ordered = (invoice for _, invoice in sorted(found, key=lambda pair: pair[0]))
    return list({invoice.id: invoice for invoice in ordered}.values())


def allocate(
    payment_amount: int, currency: str, reference: str | None, customer: str | None, invoices: Sequence[OpenInvoice]
) -> Placement:
    """Where a payment of so many minor units goes, among these invoices.

    They need not be the customer's alone: somebody may pay another's invoice by naming it. What is left is the payer's,
    else that of the customer whose invoices were named, where it is one.
    """
    called = named(reference, invoices)
    payable = [invoice for invoice in called if invoice.currency == currency]
    whose = customer if customer is not None else _only([invoice.customer for invoice in payable])
    rest = [invoice for invoice in invoices if invoice.customer == whose and invoice.currency == currency]
    queue = [*payable, *sorted((each for each in rest if each not in payable), key=_oldest)]
    discounts = _discounts(payment_amount, queue, len(payable))
    left, allocations = payment_amount, []
    for invoice in queue:
        part = min(left, invoice.open - discounts.get(invoice.id, 0))
        if part:
            allocations.append((invoice.id, part))
            left -= part
    is_overpaid = whose is not None and any(invoice.customer == whose for invoice in payable)
    to_credit = left if is_overpaid else 0
    reason = _reason(reference, currency, whose, called, payable) if left - to_credit else None
    return Placement(tuple(allocations), left - to_credit, to_credit, reason, whose, tuple(discounts.items()))


def _discounts(amount: int, queue: Sequence[OpenInvoice], named_count: int) -> dict[str, int]:
    """What a payment takes off by invoice, paid early; where nothing may be taken off, nothing is tried."""
    if not any(invoice.discount for invoice in queue):
        return {}
    taken = missing(amount, [(invoice.open, invoice.discount) for invoice in queue], named_count)
    return {invoice.id: part for invoice, part in zip(queue, taken or (), strict=False) if part}


def _oldest(invoice: OpenInvoice) -> tuple[date, date, str, str]:
    return invoice.due_on, invoice.issued_on, invoice.number, invoice.id


def _only(customers: list[str]) -> str | None:
    """The one customer that is named, None where none or several are."""
    return customers[0] if len(set(customers)) == 1 else None


def _reason(
    reference: str | None, currency: str, whose: str | None, called: list[OpenInvoice], payable: list[OpenInvoice]
) -> str:
    """Why something is unapplied."""
    if called and not payable:
        currencies = ", ".join(sorted({invoice.currency for invoice in called}))
        return f"the reference names an invoice in {currencies}, the payment is in {currency}"
    if payable:
        return "more was paid than the invoices that are named have open, and they are not the payer's alone"
    if whose is not None:
        return f"the customer has no more open invoices in {currency}"
    return (
        "the reference names no open invoice, and the payer is not known"
        if reference
        else "nothing says what it is for"
    )


# --- money that goes back ---------------------------------------------------------------------------------------------


@value(frozen=True, slots=True)
class Kept:
    """What is left of a payment: not placed, in the customer's credit, and on invoices (allocation id, amount),
    the oldest allocation first."""

    unapplied: int = 0
    credit: int = 0
    allocations: tuple[tuple[str, int], ...] = ()

    @property
    def amount(self) -> int:
        """All of it."""
        return self.unapplied + self.credit + sum(amount for _, amount in self.allocations)


def unwind(kept: Kept, amount: int, currency: Currency) -> Kept | Rejection:
    """Where `amount` that goes back is taken from; of its allocations, the newest first."""
    if amount <= 0:
        given = to_text(amount, currency.exponent)
        return reject("amount-not-positive", errors=[Fault("/amount", f"is {given}")], amount=given)
    if amount > kept.amount:
        given, there = to_text(amount, currency.exponent), to_text(kept.amount, currency.exponent)
        said = f"{given} {currency.code} is more than the {there} that are left"
        return reject("refund-exceeds-payment", f"{said}.", [Fault("/amount", said)], amount=given, left=there)
    unapplied = min(amount, kept.unapplied)
    credit = min(amount - unapplied, kept.credit)
    left = amount - unapplied - credit
    allocations = []
    for allocation, allocated in reversed(kept.allocations):
        part = min(left, allocated)
        if part:
            allocations.append((allocation, part))
            left -= part
    return Kept(unapplied, credit, tuple(allocations))


def put_back(taken: Kept, open_: Mapping[str, int]) -> Kept:
    """Where money that was `taken` and comes again goes: where it was. Of its allocations, which are by invoice here,
    as much as is `open_` of each, in the order in which they were taken off; the rest is unapplied."""
    left, allocations, elsewhere = dict(open_), [], 0
    for invoice, amount in taken.allocations:
        part = min(amount, left.get(invoice, 0))
        if part:
            allocations.append((invoice, part))
            left[invoice] -= part
        elsewhere += amount - part
    return Kept(taken.unapplied + elsewhere, taken.credit, tuple(allocations))
