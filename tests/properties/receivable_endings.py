"""How a receivable ends: money goes back, it is given up, and all is there to the cent, in documents and books."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

from libs.common.errors import Rejection
from services.invoicing import domain
from services.invoicing import posting_rules as rules
from services.invoicing.account_roles import TIED
from services.invoicing.allocating import Kept, put_back, unwind
from services.invoicing.business_events import CreditNote, MoneyBack, Owed
from services.invoicing.cash_basis import TaxRow
from services.invoicing.entry_drafts import Part
from services.invoicing.recognition import left
from tests.invoicing.books_in_memory import EUR, USD, summed
from tests.properties.receivable_history import PLACES, History, Invoice, Payment, Step, in_usd, part, pick


def _kept(history: History, payment: Payment) -> Kept:
    credit = 0
    if payment.credit_party is not None:
        credit = min(payment.to_credit, history.credit[payment.credit_party, payment.currency.code])
    allocations = tuple((str(key), amount) for key, (_, amount) in sorted(payment.placed.items()))
    return Kept(payment.unapplied, credit, allocations)


def _sources(
    history: History, payment: Payment, taken: Kept, sign: int, invoices: Mapping[str, Invoice]
) -> tuple[list[Owed], list[Part]]:
    """Moves what goes back (sign -1) or comes again (1): where it was, and what it makes due."""
    sources, due = [], []
    if taken.unapplied:
        sources.append(Owed("unapplied-receipts", payment.party, taken.unapplied))
        payment.unapplied += sign * taken.unapplied
    if taken.credit:
        assert payment.credit_party is not None
        sources.append(Owed("customer-credit", payment.credit_party, taken.credit))
        payment.to_credit += sign * taken.credit
        history.credit[payment.credit_party, payment.currency.code] += sign * taken.credit
    for key, amount in taken.allocations:
        invoice = invoices[key]
        sources.append(Owed("receivable", invoice.customer, amount))
        due += history.paid(invoice, sign * amount)
        if sign > 0:
            history.place(payment, invoice, amount)
        elif payment.placed[int(key)][1] == amount:
            del payment.placed[int(key)]
        else:
            payment.placed[int(key)] = (invoice, payment.placed[int(key)][1] - amount)
    payment.gone_back -= sign * taken.amount
    return sources, due


def _back(history: History, first: int, second: int, percent: int, kind: str) -> bool:
    payment = pick([each for each in history.payments if _kept(history, each).amount], first)
    if payment is None:
        return False
    kept = _kept(history, payment)
    taken = unwind(kept, part(kept.amount, percent), payment.currency)
    assert isinstance(taken, Kept)
    invoices = {str(key): invoice for key, (invoice, _) in payment.placed.items()}
    sources, due = _sources(history, payment, taken, -1, invoices)
    place, fee = PLACES[second % 2], second % 3
    back = MoneyBack(place, sources, fee, due)
    rule = {"refund": rules.refund, "returned": rules.returned, "dispute": rules.dispute_opened}[kind]
    history.ledger.post(rule(history.told(payment.currency), back, history.books))
    history.hold(place, payment.currency, -taken.amount - fee)
    if kind == "dispute":
        payment.disputes.append((taken, invoices))
    return True


def refund(history: History, first: int, second: int, percent: int) -> bool:
    return _back(history, first, second, percent, "refund")


def returned(history: History, first: int, second: int, percent: int) -> bool:
    return _back(history, first, second, percent, "returned")


def dispute(history: History, first: int, second: int, percent: int) -> bool:
    return _back(history, first, second, percent, "dispute")


def win_dispute(history: History, first: int, second: int, percent: int) -> bool:
    """What cannot go back to where it was, because that is settled meanwhile, is unapplied."""
    payment = pick([each for each in history.payments if each.disputes], first)
    if payment is None:
        return False
    taken, invoices = payment.disputes.pop()
    numbers = {key: str(history.invoices.index(invoice)) for key, invoice in invoices.items()}
    was = replace(taken, allocations=tuple((numbers[key], amount) for key, amount in taken.allocations))
    open_ = {number: invoices[key].amounts.open for key, number in numbers.items() if not invoices[key].is_void}
    placed = put_back(was, open_)
    invoices = {number: history.invoices[int(number)] for number in numbers.values()}
    sources, due = _sources(history, payment, placed, 1, invoices)
    back = MoneyBack(PLACES[1], sources, second % 2, due)
    history.ledger.post(rules.dispute_won(history.told(payment.currency), back, history.books))
    history.hold(PLACES[1], payment.currency, taken.amount + second % 2)
    return True


def promise(history: History, first: int, second: int, percent: int) -> bool:
    key = pick([key for key, amount in history.credit.items() if amount], first)
    if key is None:
        return False
    amount = part(history.credit[key], percent)
    occasion = history.told(USD if key[1] == "USD" else EUR)
    history.ledger.post(rules.refund_payable(occasion, key[0], amount, history.books))
    history.credit[key] -= amount
    history.promised[key] += amount
    return True


def pay_promise(history: History, first: int, second: int, percent: int) -> bool:
    key = pick([key for key, amount in history.promised.items() if amount], first)
    if key is None:
        return False
    amount, currency = history.promised.pop(key), USD if key[1] == "USD" else EUR
    back = MoneyBack(PLACES[second % 2], [Owed("refunds-payable", key[0], amount)])
    history.ledger.post(rules.refund(history.told(currency), back, history.books))
    history.hold(back.place, currency, -amount)
    return True


def cancel_promise(history: History, first: int, second: int, percent: int) -> bool:
    key = pick([key for key, amount in history.promised.items() if amount], first)
    if key is None:
        return False
    amount = part(history.promised[key], percent)
    occasion = history.told(USD if key[1] == "USD" else EUR)
    history.ledger.post(rules.refund_payable_cancelled(occasion, key[0], amount, history.books))
    history.promised[key] -= amount
    history.credit[key] += amount
    return True


def payout(history: History, first: int, second: int, percent: int) -> bool:
    code = ("USD", "EUR")[first % 2]
    whole = history.clearing[code]
    amount = whole * percent // 100
    if not amount:
        return False
    occasion = history.told(USD if code == "USD" else EUR)
    history.ledger.post(rules.payout(occasion, amount, second % 3, PLACES[0], PLACES[1], history.books))
    history.clearing[code] -= amount + second % 3
    return True


def withhold(history: History, first: int, second: int, percent: int) -> bool:
    invoice = pick([each for each in history.invoices if domain.receivable(each.status, each.amounts)], first)
    if invoice is None:
        return False
    amount = part(invoice.amounts.open, max(1, percent // 5))
    due = history.paid(invoice, amount)
    occasion = history.told(invoice.currency)
    history.ledger.post(rules.withheld(occasion, invoice.customer, amount, history.books, due))
    invoice.withheld.append(amount)
    return True


def take_back_withheld(history: History, first: int, second: int, percent: int) -> bool:
    invoice = pick([each for each in history.invoices if each.withheld], first)
    if invoice is None or isinstance(domain.unallocate(invoice.at(), invoice.withheld[-1]), Rejection):
        return False
    amount = invoice.withheld.pop()
    due = history.paid(invoice, -amount)
    occasion = history.told(invoice.currency)
    history.ledger.post(rules.withheld_taken_back(occasion, invoice.customer, amount, history.books, due))
    return True


def lose_discount(history: History, first: int, second: int, percent: int) -> bool:
    """Any of the discounts that stand, whatever came after it."""
    invoice = pick([each for each in history.invoices if each.discounts], first)
    if invoice is None:
        return False
    found = invoice.discounts[second % len(invoice.discounts)]
    after = domain.take_back_discount(invoice.at(), found.total)
    if isinstance(after, Rejection):
        return False
    note = CreditNote(
        number="", issued_on=history.day, invoice=invoice.issued, totals=found, on_receivable=found.total,
        deferred_left={}, standing=invoice.standing() if history.tax_basis == "cash" else None,
    )  # fmt: skip
    history.ledger.post(rules.discount_taken_back(note, invoice.books))
    assert invoice.take(after)
    invoice.discounts.remove(found)
    invoice.notes.remove(found)
    for row in found.taxes:
        invoice.rows_left[row.terms] += in_usd(row.amount, invoice.currency, invoice.books.rates["EUR"])
    return True


def write_off(history: History, first: int, second: int, percent: int) -> bool:
    invoice = pick([each for each in history.invoices if domain.receivable(each.status, each.amounts)], first)
    if invoice is None:
        return False
    amount = part(invoice.amounts.open, percent)
    rows: tuple[TaxRow, ...] = ()
    standing = None
    if history.tax_basis == "cash":
        standing = invoice.standing()
        rows = standing.not_due_in(amount)
    occasion = history.told(invoice.currency)
    history.ledger.post(rules.write_off(occasion, invoice.customer, amount, history.books, standing))
    assert invoice.take(domain.write_off(invoice.at(), amount))
    _keep_tax(invoice, rows, -1)
    invoice.write_offs.append((amount, rows))
    return True


def reverse_write_off(history: History, first: int, second: int, percent: int) -> bool:
    invoice = pick([each for each in history.invoices if each.write_offs and not each.relieved], first)
    if invoice is None:
        return False
    amount, rows = invoice.write_offs.pop()
    standing = invoice.standing() if history.tax_basis == "cash" else None
    occasion = history.told(invoice.currency)
    history.ledger.post(rules.write_off_reversed(occasion, invoice.customer, amount, history.books, standing, rows))
    assert invoice.take(domain.reverse_write_off(invoice.at(), amount))
    _keep_tax(invoice, rows, 1)
    return True


def _keep_tax(invoice: Invoice, rows: tuple[TaxRow, ...], sign: int) -> None:
    for row in rows:
        invoice.rows_left[row.terms] += sign * row.amount


def relieve(history: History, first: int, second: int, percent: int) -> bool:
    invoice = pick([each for each in history.invoices if each.amounts.written_off > each.relieved], first)
    if invoice is None:
        return False
    amount = part(invoice.amounts.written_off - invoice.relieved, percent)
    rows = rules.tax_inside(invoice.issued.totals, amount, invoice.relieved)
    draft = rules.relief(history.told(invoice.currency), rows, invoice.books)
    if history.tax_basis == "cash":
        assert isinstance(draft, Rejection)
        return False
    invoice.relieved += amount
    _relieve(history, invoice, rows, 1, draft)
    return True


def recover(history: History, first: int, second: int, percent: int) -> bool:
    """Money for what was written off, and the relief of it repaid."""
    invoice = pick([each for each in history.invoices if each.relieved > each.repaid], first)
    if invoice is None:
        return False
    amount = part(invoice.relieved - invoice.repaid, percent)
    history.ledger.post(rules.recovery(history.told(invoice.currency), amount, PLACES[second % 2], history.books))
    history.hold(PLACES[second % 2], invoice.currency, amount)
    rows = rules.tax_inside(invoice.issued.totals, amount, invoice.repaid)
    invoice.repaid += amount
    _relieve(history, invoice, rows, -1, rules.relief_repaid(history.told(invoice.currency), rows, invoice.books))
    return True


def _relieve(history: History, invoice: Invoice, rows: tuple[TaxRow, ...], sign: int, draft: rules.Answer) -> None:
    assert isinstance(draft, rules.EntryDraft), draft
    if draft.lines:
        history.ledger.post(draft)
    rate = invoice.books.rates["EUR"]
    history.relief += sign * sum(in_usd(row.amount, row.currency, rate) for row in rows)


STEPS: dict[str, Step] = {
    "issue": History.issue,
    "pay": History.pay,
    "recognise": History.recognise,
    "allocate": History.allocate,
    "unallocate": History.unallocate,
    "note": History.note,
    "discount": History.discount,
    "void": History.void,
    "keep_as_credit": History.keep_as_credit,
    "apply_credit": History.apply_credit,
    "take_back_credit": History.take_back_credit,
    "refund": refund,
    "returned": returned,
    "dispute": dispute,
    "win_dispute": win_dispute,
    "promise": promise,
    "pay_promise": pay_promise,
    "cancel_promise": cancel_promise,
    "payout": payout,
    "withhold": withhold,
    "take_back_withheld": take_back_withheld,
    "lose_discount": lose_discount,
    "write_off": write_off,
    "reverse_write_off": reverse_write_off,
    "relieve": relieve,
    "recover": recover,
}


def check_documents(history: History) -> None:
    """Every cent of every document is somewhere."""
    settled: Counter[int] = Counter()
    for payment in history.payments:
        placed = sum(amount for _, amount in payment.placed.values())
        assert payment.amount == placed + payment.unapplied + payment.to_credit + payment.gone_back, payment
        assert min(payment.unapplied, payment.to_credit, payment.gone_back) >= 0, payment
        for invoice, amount in payment.placed.values():
            settled[id(invoice)] += amount
    for invoice in history.invoices:
        amounts = invoice.amounts
        assert amounts.total == amounts.paid + amounts.credited + amounts.written_off + amounts.open
        assert amounts.written_off == sum(amount for amount, _ in invoice.write_offs)
        assert amounts.credited + invoice.left_to_credit == sum(note.total for note in invoice.notes)
        assert settled[id(invoice)] <= amounts.paid
    assert min(history.credit.values(), default=0) >= 0
    assert min(history.promised.values(), default=0) >= 0


def said_by_documents(history: History) -> Counter[tuple[str, str | None, str]]:
    """What the accounts that are tied out should hold, by role, party and currency, debits less credits."""
    said: Counter[tuple[str, str | None, str]] = Counter()
    for invoice in history.invoices:
        said["receivable", invoice.customer, invoice.currency.code] += domain.receivable(
            invoice.status, invoice.amounts
        )
        if not invoice.is_void:
            for line, deferral in invoice.deferrals.items():
                still = left(deferral, invoice.off_deferred[line], invoice.recognised[line])
                said["deferred-revenue", None, "USD"] -= still
            standing = invoice.standing()
            for row in standing.rows:
                due = standing.due(row) if history.tax_basis == "cash" else row.amount
                said["tax-due", None, "USD"] -= due
                said["tax-not-yet-due", None, "USD"] -= row.amount - due
    said["tax-due", None, "USD"] += history.relief
    for payment in history.payments:
        said["unapplied-receipts", payment.party, payment.currency.code] -= payment.unapplied
    for (party, code), amount in history.credit.items():
        said["customer-credit", party, code] -= amount
    for (party, code), amount in history.promised.items():
        said["refunds-payable", party, code] -= amount
    for code, amount in history.clearing.items():
        said["processor-clearing", None, code] += amount
    return said


def check_books(history: History) -> None:
    """Documents, movements and the ledger's own lines say the same of every account that is tied out."""
    said = {key: amount for key, amount in said_by_documents(history).items() if amount}
    assert summed(history.ledger.moved) == said
    for role in TIED:
        for code in ("USD", "EUR"):
            if code == "EUR" and role in ("tax-due", "tax-not-yet-due", "deferred-revenue"):
                continue
            expected = sum(amount for (named, _, currency), amount in said.items() if (named, currency) == (role, code))
            assert history.ledger.balance(role, code) == expected, (role, code)
    for role in ("receivable", "unapplied-receipts", "customer-credit", "refunds-payable"):
        for code in ("USD", "EUR"):
            by_party = {
                party: amount for (named, party, currency), amount in said.items() if (named, currency) == (role, code)
            }
            assert history.ledger.by_party(role, code) == by_party
