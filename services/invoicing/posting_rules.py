"""The accounting policy, whole: a business event in, the entry it asks the ledger for out. Nothing else decides.

    event                    debit                                        credit
    issue                    receivable                                   revenue or deferred revenue, tax; rounding
    recognition              deferred revenue                             revenue
    payment                  clearing or bank, fees                       receivable, unapplied, customer credit
    payout                   bank, fees                                   clearing
    allocation               unapplied                                    receivable
    unallocation             receivable                                   unapplied
    kept_as_credit           unapplied                                    customer credit
    credit_applied           customer credit                              receivable
    credit_note              deferred revenue, then revenue; tax          receivable up to open, then customer credit
    early_discount           discounts, tax                               receivable
    discount_taken_back      receivable                                   discounts, tax
    withheld                 withholding                                  receivable
    withheld_taken_back      receivable                                   withholding
    refund_payable           customer credit                              refunds payable
    refund_payable_cancelled refunds payable                              customer credit
    refund                   customer credit, refunds payable, ...; fees  clearing or bank
    returned                 receivable, ...; fees                        bank or clearing
    dispute_opened           receivable, ...; fees                        clearing or bank
    dispute_won              clearing or bank                             receivable, ...; fees
    refund_bounced           clearing or bank                             receivable, customer credit, ...
    write_off                bad debt                                     receivable
    write_off_reversed       receivable                                   bad debt
    relief                   tax due                                      bad debt
    recovery                 bank                                         bad-debt recovery
    relief_repaid            bad-debt recovery                            tax due

A void is no entry of its own: it reverses the issue entry (`entry_drafts.mirrored` is what that moves), after
`recognition` of what was recognised, with the sign turned. A dunning fee is a document of its own, and issued.

Rates. What is owed stays in the currency it is owed in; results and tax go to the books in the functional currency:
those of a document (issue, credit_note, early_discount and its taking back, relief) at the rate of the invoice's date,
all others at the rate of the event's. The caller gives the rates of that day in `books`; where one is missing the
answer is `rate-missing`, and the posting waits. What the crossing is worth later is the fx service's business.

Tax. On accrual basis tax is due with the document. On cash basis (`cash_basis.py`) it waits under "tax not yet due";
what a payment makes due is moved in the payment's own entry: the parts `due`.

An entry's purpose is the event's name, and a document asks once for each: what can happen again (an allocation, a
refund) is a document of its own; a recognition names the day it reaches to.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import date

from libs.common.errors import Fault, Rejection
from libs.common.journal import Rate
from libs.common.money import Currency, to_text
from services.invoicing.account_roles import Role
from services.invoicing.business_events import (
    CreditNote,
    IssuedInvoice,
    MoneyBack,
    Occasion,
    Owed,
    Place,
    Placed,
    Receipt,
)
from services.invoicing.cash_basis import TaxRow, TaxStanding, negated, tax_inside, tax_parts
from services.invoicing.entry_drafts import (
    Books,
    EntryDraft,
    Movement,
    Part,
    RuleLine,
    crossed,
    drafted,
    entry_request,
    in_books,
    mirrored,
    movements,
    unlike,
)
from services.invoicing.recognition import Deferral
from services.invoicing.rejections import reject

__all__ = [
    "Books", "CreditNote", "EntryDraft", "IssuedInvoice", "MoneyBack", "Movement", "Occasion", "Owed", "Place",
    "Placed", "Receipt", "RuleLine", "entry_request", "mirrored", "movements",
    "tax_inside",
]  # fmt: skip

Answer = EntryDraft | Rejection
_OFF = "Early-payment discount on invoice"

# --- documents --------------------------------------------------------------------------------------------------------


def issue(invoice: IssuedInvoice, books: Books) -> Answer:
    """Receivable gross; revenue line by line, tax row by row, the rounding to cash."""
    return drafted("issue", f"Invoice {invoice.number}", invoice.issued_on, _issue_parts(invoice, books), books)


def _issue_parts(invoice: IssuedInvoice, books: Books) -> list[Part]:
    totals = invoice.totals
    parts = [Part("receivable", totals.total, totals.currency, party=invoice.customer)]
    for place, line in enumerate(totals.lines):
        role: Role = "deferred-revenue" if _is_deferred(invoice, place) else "revenue"
        account = None if role == "deferred-revenue" else line.draft.revenue_account
        parts.append(Part(role, -line.taxable, totals.currency, account=account, line=place))
    parts += [Part(tax_role(books), -row.amount, totals.currency, tax=row.terms) for row in totals.taxes]
    return [*parts, Part("rounding", -totals.rounding, totals.currency)]


def _is_deferred(invoice: IssuedInvoice, place: int) -> bool:
    """Whether some of the line's service is still to come on the invoice's day."""
    ends_on = invoice.totals.lines[place].draft.service_to
    return ends_on is not None and ends_on > invoice.issued_on


def deferrals(invoice: IssuedInvoice, books: Books) -> tuple[Deferral, ...] | Rejection:
    """What the issue entry defers, line by line, as it stands in the books: what `recognition` is about."""
    booked = in_books(_issue_parts(invoice, books), books)
    if isinstance(booked, Rejection):
        return booked
    found = []
    for part in booked:
        if part.role == "deferred-revenue" and part.amount:
            assert part.line is not None
            draft = invoice.totals.lines[part.line].draft
            assert draft.service_from is not None
            assert draft.service_to is not None
            period = (draft.service_from, draft.service_to)
            found.append(Deferral(part.line, -part.amount, part.currency, draft.revenue_account, *period))
    return tuple(found)


def tax_role(books: Books) -> Role:
    """Where the tax of a document goes."""
    return "tax-due" if books.tax_basis == "accrual" else "tax-not-yet-due"


def recognition(number: str, through: date, earned: Iterable[tuple[Deferral, int]], books: Books) -> Answer | None:
    """What was earned by the end of the day `through` and not recognised before, by deferral; None for nothing.

    Amounts are as booked (`Deferral.currency`). Negative ones take recognised revenue back, before a void.
    """
    parts: list[Part] = []
    for deferral, amount in earned:
        parts.append(Part("deferred-revenue", amount, deferral.currency))
        parts.append(Part("revenue", -amount, deferral.currency, account=deferral.account))
    if not any(part.amount for part in parts):
        return None
    description = f"Revenue of invoice {number} through {through}"
    return drafted(f"recognition/{through}", description, through, parts, books, "recognition")


def credit_note(note: CreditNote, books: Books) -> Answer:
    """Deferred revenue as far as there is some, then revenue, and tax; off the receivable as far as it is open."""
    parts = _credited(note, books)
    if isinstance(parts, Rejection):
        return parts
    description = f"Credit note {note.number} to invoice {note.invoice.number}"
    return drafted("credit_note", description, note.issued_on, _tax_as_it_stands(note, parts), books)


def off_deferred(note: CreditNote, books: Books) -> dict[int, int] | Rejection:
    """What the note takes off deferred revenue, by invoice line, as booked: `credited` of `recognition.earned`."""
    parts = _credited(note, books)
    if isinstance(parts, Rejection):
        return parts
    return {part.line: part.amount for part in parts if part.role == "deferred-revenue" and part.line is not None}


def _credited(note: CreditNote, books: Books) -> list[Part] | Rejection:
    booked = in_books(_credit_parts(note, books, "revenue"), books)
    if isinstance(booked, Rejection):
        return booked
    parts: list[Part] = []
    for part in booked:
        parts.extend(_deferred_first(part, note.deferred_left) if part.role == "revenue" else [part])
    return parts


def early_discount(note: CreditNote, books: Books) -> Answer:
    """A discount for paying early lowers the price and its tax; `note.totals` say by how much of each."""
    booked = in_books(_credit_parts(note, books, "discounts"), books)
    if isinstance(booked, Rejection):
        return booked
    said = f"{_OFF} {note.invoice.number}"
    return drafted("early_discount", said, note.issued_on, _tax_as_it_stands(note, booked), books)


def discount_taken_back(note: CreditNote, books: Books) -> Answer:
    """The payment that took the discount is taken back: the price is the whole one again, and so is its tax."""
    booked = in_books(_credit_parts(note, books, "discounts"), books)
    if isinstance(booked, Rejection):
        return booked
    parts = [replace(part, amount=-part.amount) for part in booked]
    if (before := note.standing) is not None:
        rows = [TaxRow(part.tax, part.amount, part.currency) for part in booked if part.tax is not None]
        untaxed = [part for part in parts if part.tax is None]
        parts = [*untaxed, *tax_parts(before, before.moved(rows, total=note.totals.total))]
    return drafted("discount_taken_back", f"{_OFF} {note.invoice.number} lost", note.issued_on, parts, books)


def _credit_parts(note: CreditNote, books: Books, role: Role) -> list[Part]:
    totals, currency, customer = note.totals, note.invoice.totals.currency, note.invoice.customer
    drafts = [line.draft for line in note.invoice.totals.lines]
    parts: list[Part] = []
    for line in totals.lines:
        account = drafts[line.line].revenue_account if role == "revenue" else None
        parts.append(Part(role, line.net, currency, account=account, line=line.line))
    parts += [Part(tax_role(books), row.amount, currency, tax=row.terms) for row in totals.taxes]
    parts.append(Part("rounding", totals.rounding, currency))
    parts.append(Part("receivable", -note.on_receivable, currency, party=customer))
    parts.append(Part("customer-credit", note.on_receivable - totals.total, currency, party=customer))
    return parts


def _deferred_first(part: Part, deferred_left: Mapping[int, int]) -> list[Part]:
    assert part.line is not None
    left = deferred_left.get(part.line, 0)
    is_alike = (left > 0) == (part.amount > 0)
    taken = min(left, part.amount, key=abs) if is_alike else 0
    if not taken:
        return [part]
    deferred = replace(part, role="deferred-revenue", account=None, amount=taken)
    return [deferred, replace(part, amount=part.amount - taken)]


def _tax_as_it_stands(note: CreditNote, booked: list[Part]) -> list[Part]:
    """On cash basis, each row of tax from where it is: due as far as it is paid, not yet due otherwise."""
    before = note.standing
    if before is None:
        return booked
    rows = [TaxRow(part.tax, part.amount, part.currency) for part in booked if part.tax is not None]
    to_credit = note.totals.total - note.on_receivable
    after = before.moved(negated(rows), total=-note.totals.total, paid=-to_credit)
    return [part for part in booked if part.tax is None] + tax_parts(before, after)


# --- money in ---------------------------------------------------------------------------------------------------------


def payment(occasion: Occasion, receipt: Receipt, books: Books) -> Answer:
    """What came in, less the fee, and what it settled."""
    currency = occasion.currency
    settled = sum(part.amount if part.paid is None else part.paid for part in receipt.placed)
    assert receipt.amount == settled + receipt.unapplied + receipt.to_credit, f"cents are missing: {receipt}"
    if receipt.fee > receipt.amount:
        fee, amount = to_text(receipt.fee, currency.exponent), to_text(receipt.amount, currency.exponent)
        said = f"{fee} of {amount} {currency.code}"
        return reject("fee-exceeds-amount", f"It is {said}.", [Fault("/fee", said)], fee=fee, amount=amount)
    in_rate = _exchanged(occasion, receipt, books)
    if isinstance(in_rate, Rejection):
        return in_rate
    parts = _received(receipt.place, receipt.amount - receipt.fee, receipt.fee, currency)
    parts += [Part("receivable", -part.amount, part.currency, party=part.party) for part in receipt.placed]
    parts.append(Part("unapplied-receipts", -receipt.unapplied, currency, party=receipt.unapplied_party))
    parts.append(Part("customer-credit", -receipt.to_credit, currency, party=receipt.credit_party))
    return drafted("payment", occasion.description, occasion.on, [*parts, *receipt.due], in_rate)


def _received(place: Place, amount: int, fee: int, currency: Currency) -> list[Part]:
    return [Part(place.role, amount, currency, account=place.account), Part("fees", fee, currency)]


def _exchanged(occasion: Occasion, receipt: Receipt, books: Books) -> Books | Rejection:
    """The books with the stated rate, where the payment settles invoices in another currency at it."""
    for part in receipt.placed:
        if part.currency != occasion.currency:
            paid = part.amount if part.paid is None else part.paid
            unfit = unlike(receipt.stated, (occasion.currency, paid), (part.currency, part.amount))
            if unfit is not None:
                return unfit
    return books if receipt.stated is None else crossed(books, receipt.stated)


def payout(occasion: Occasion, amount: int, fee: int, bank: Place, clearing: Place, books: Books) -> Answer:
    """What a processor paid out, and the fees it kept that no payment knew of. A negative amount was collected."""
    parts = _received(bank, amount, fee, occasion.currency)
    parts.append(Part(clearing.role, -amount - fee, occasion.currency, account=clearing.account))
    return drafted("payout", occasion.description, occasion.on, parts, books)


def withheld(occasion: Occasion, customer: str, amount: int, books: Books, due: Sequence[Part] = ()) -> Answer:
    """The customer pays part of the invoice to the tax office, in our name."""
    return _withheld("withheld", occasion, customer, amount, books, due)


def withheld_taken_back(occasion: Occasion, customer: str, amount: int, books: Books, due: Sequence[Part]) -> Answer:
    """The customer did not pay it to the tax office after all."""
    return _withheld("withheld_taken_back", occasion, customer, -amount, books, due)


def _withheld(purpose: str, told: Occasion, customer: str, amount: int, books: Books, due: Sequence[Part]) -> Answer:
    parts = [Part("withholding", amount, told.currency)]
    parts.append(Part("receivable", -amount, told.currency, party=customer))
    return drafted(purpose, told.description, told.on, [*parts, *due], books)


# --- from one place to another ----------------------------------------------------------------------------------------


def allocation(occasion: Occasion, source: Owed, customer: str, books: Books, due: Sequence[Part] = ()) -> Answer:
    """What was not placed yet settles an invoice of the customer."""
    return _moved("allocation", occasion, source, Owed("receivable", customer, source.amount), books, due)


def unallocation(
    occasion: Occasion, owed: Owed, target: Owed, books: Books, due: Sequence[Part] = (), stated: Rate | None = None
) -> Answer:
    """What settled an invoice (`owed` again) is unapplied, or customer credit; at the rate its payment stated."""
    assert owed.money == target.amount, f"cents are missing: {owed} {target}"
    in_rate = books if stated is None else crossed(books, stated)
    if isinstance(in_rate, Rejection):
        return in_rate
    return _moved("unallocation", occasion, owed, target, in_rate, due)


def kept_as_credit(occasion: Occasion, unapplied_party: str, customer: str, amount: int, books: Books) -> Answer:
    """What was not placed yet is the customer's, to be given back or used for a later invoice."""
    source = Owed("unapplied-receipts", unapplied_party, amount)
    return _moved("kept_as_credit", occasion, source, Owed("customer-credit", customer, amount), books)


def credit_applied(occasion: Occasion, customer: str, amount: int, books: Books, due: Sequence[Part] = ()) -> Answer:
    """Customer credit settles an invoice of the same customer."""
    source = Owed("customer-credit", customer, amount)
    return _moved("credit_applied", occasion, source, Owed("receivable", customer, amount), books, due)


def refund_payable(occasion: Occasion, customer: str, amount: int, books: Books) -> Answer:
    """Giving customer credit back is decided; it is on its way."""
    source = Owed("customer-credit", customer, amount)
    return _moved("refund_payable", occasion, source, Owed("refunds-payable", customer, amount), books)


def refund_payable_cancelled(occasion: Occasion, customer: str, amount: int, books: Books) -> Answer:
    """What was to be given back stays with us after all, as the customer's credit."""
    source = Owed("refunds-payable", customer, amount)
    return _moved("refund_payable_cancelled", occasion, source, Owed("customer-credit", customer, amount), books)


def _moved(
    purpose: str, occasion: Occasion, debit: Owed, credit: Owed, books: Books, due: Sequence[Part] = ()
) -> Answer:
    parts = [Part(debit.role, debit.amount, debit.currency or occasion.currency, party=debit.party)]
    parts.append(Part(credit.role, -credit.amount, occasion.currency, party=credit.party))
    return drafted(purpose, occasion.description, occasion.on, [*parts, *due], books)


# --- money out --------------------------------------------------------------------------------------------------------


def refund(occasion: Occasion, back: MoneyBack, books: Books) -> Answer:
    """We give back customer credit, a promised refund or unapplied receipts; else an invoice is open again."""
    return _back("refund", occasion, back, 1, books)


def returned(occasion: Occasion, back: MoneyBack, books: Books) -> Answer:
    """A direct debit that bounced."""
    return _back("returned", occasion, back, 1, books)


def dispute_opened(occasion: Occasion, back: MoneyBack, books: Books) -> Answer:
    """The payer's bank took the money back. A dispute that is lost stays as it is here."""
    return _back("dispute_opened", occasion, back, 1, books)


def dispute_won(occasion: Occasion, back: MoneyBack, books: Books) -> Answer:
    """The money is ours again, where it was before; `fee` is what of the dispute's fee was given back."""
    return _back("dispute_won", occasion, back, -1, books)


def refund_bounced(occasion: Occasion, back: MoneyBack, books: Books) -> Answer:
    """What we gave back did not arrive, and is here again; what that cost stays with us."""
    return _back("refund_bounced", occasion, back, -1, books)


def _back(purpose: str, occasion: Occasion, back: MoneyBack, sign: int, books: Books) -> Answer:
    in_rate = books if back.stated is None else crossed(books, back.stated)
    if isinstance(in_rate, Rejection):
        return in_rate
    currency = occasion.currency
    parts = [Part(owed.role, sign * owed.amount, owed.currency or currency, party=owed.party) for owed in back.sources]
    amount = sum(owed.money for owed in back.sources)
    parts += _received(back.place, -sign * (amount + back.fee), sign * back.fee, currency)
    return drafted(purpose, occasion.description, occasion.on, [*parts, *back.due], in_rate)


# --- given up, and recovered ------------------------------------------------------------------------------------------


def write_off(
    occasion: Occasion, customer: str, amount: int, books: Books, standing: TaxStanding | None = None
) -> Answer:
    """What is given up, with its tax. On cash basis the tax of it was never due, and is no loss."""
    if standing is None:
        return _given_up("write_off", occasion, customer, amount, books, ())
    not_due = standing.not_due_in(amount)
    parts = _never_due(not_due) + tax_parts(standing, standing.moved(negated(not_due), total=-amount))
    return _given_up("write_off", occasion, customer, amount, books, parts)


def write_off_reversed(
    occasion: Occasion,
    customer: str,
    amount: int,
    books: Books,
    standing: TaxStanding | None = None,
    not_due: Sequence[TaxRow] = (),
) -> Answer:
    """What was given up is owed again; on cash basis with the tax `not_due` that it took with it."""
    if standing is None:
        return _given_up("write_off_reversed", occasion, customer, -amount, books, ())
    parts = _never_due(negated(not_due)) + tax_parts(standing, standing.moved(not_due, total=amount))
    return _given_up("write_off_reversed", occasion, customer, -amount, books, parts)


def _never_due(rows: Sequence[TaxRow]) -> list[Part]:
    return [Part("bad-debt", -row.amount, row.currency) for row in rows]


def _given_up(
    purpose: str, occasion: Occasion, customer: str, amount: int, books: Books, tax: Sequence[Part]
) -> Answer:
    parts = [Part("bad-debt", amount, occasion.currency), *tax]
    parts.append(Part("receivable", -amount, occasion.currency, party=customer))
    return drafted(purpose, occasion.description, occasion.on, parts, books)


def relief(occasion: Occasion, rows: Sequence[TaxRow], books: Books) -> Answer:
    """The tax of what was written off is claimed back. On cash basis there is none to claim."""
    if books.tax_basis == "cash":
        return reject("relief-on-cash-basis")
    return _relieved("relief", occasion, "bad-debt", rows, books)


def recovery(occasion: Occasion, amount: int, place: Place, books: Books) -> Answer:
    """Money for what was written off. The invoice stays written off."""
    parts = [*_received(place, amount, 0, occasion.currency), Part("bad-debt-recovery", -amount, occasion.currency)]
    return drafted("recovery", occasion.description, occasion.on, parts, books)


def relief_repaid(occasion: Occasion, rows: Sequence[TaxRow], books: Books) -> Answer:
    """The relief of what was recovered after all is owed to the tax office again."""
    return _relieved("relief_repaid", occasion, "bad-debt-recovery", negated(rows), books)


def _relieved(purpose: str, occasion: Occasion, role: Role, rows: Sequence[TaxRow], books: Books) -> Answer:
    parts = [Part("tax-due", row.amount, row.currency, tax=row.terms) for row in rows]
    parts += [Part(role, -row.amount, row.currency) for row in rows]
    return drafted(purpose, occasion.description, occasion.on, parts, books)
