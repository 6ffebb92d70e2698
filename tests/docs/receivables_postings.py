"""docs/guides/receivables-postings.md, its example entries made by `services.invoicing.posting_rules` itself.

The examples are rows of the table in `tests/invoicing/posting_cases.py`, each of which the ledger's rules take.
"""

from typing import NamedTuple

from libs.common.money import to_text
from services.invoicing.account_roles import resolve
from services.invoicing.entry_drafts import EntryDraft, RuleLine
from tests.invoicing.posting_cases import ACCRUAL, CASES


class Section(NamedTuple):
    """A business event: what is done and why, and the rows that show it."""

    heading: str
    text: str
    rows: tuple[str, ...]


HEAD = """# How receivables are posted

*The entries on this page are made by the posting rules themselves; `make docs` writes it.*

Invoicing keeps the receivables and asks the ledger for every entry; it posts nothing itself. The whole policy is one
file, `services/invoicing/posting_rules.py`, with one function for each event below. It speaks of *roles*; which
account plays which role in which currency is your ledger's account mapping (`PUT /ledgers/{ledger}/account-mapping`).
The examples use the standard accounts, a ledger in USD, and an invoice of 1,000.00 with 20 % and 200.00 with 5 % tax:
1,410.00.

## What holds for all of them

* **Control accounts.** Receivable, unapplied receipts, customer credit and refunds payable belong to invoicing:
  nobody else can post to them, and each line names the party (a customer; a payment while nobody knows whose it is).
  For these, tax, deferred revenue and processor clearing the sum of invoicing's own records is the account's balance,
  at any sequence.
* **Dates.** An entry is effective on the day of its event. Where that day is closed it moves to the next open one,
  and the true day stays as `value_on`.
* **Customer credit and unapplied receipts are not the same.** Credit is ours to give back; what is unapplied is not
  placed yet.
* **Currencies.** What is owed stays in the currency it is owed in. Revenue, tax, fees and losses go to the books in
  the functional currency, unless the mapping names an account for them in the invoice's. Documents (invoice, credit
  note, early-payment discount, relief) use the rate of the invoice's date, everything else that of its own day. While
  no rate is known the posting waits and says so. Gains and losses on exchange are the fx service's, at revaluation or
  settlement.
* **Tax basis.** On accrual basis tax is due with the document. On cash basis it stands under "not yet due", and each
  payment moves what it makes due, row by row, to the cent: `due = round(tax x paid / total)`, less what was due
  before.
* **Order.** Payments, credits and a void wait for their invoice's issue entry. A document asks once for each entry,
  with an id that follows from the document, so nothing is posted twice.

"""

SECTIONS = (
    Section(
        "Invoice issued",
        "The receivable is gross. Each line goes to its revenue account, each row of tax is a line of its own.",
        ("issue", "issue, cash basis", "issue, reverse charge", "issue in a foreign currency"),
    ),
    Section(
        "Rounding to cash",
        "Where a currency has no small coins, the total is rounded and the difference is booked by itself.",
        ("issue, rounded up to cash",),
    ),
    Section(
        "Revenue to come",
        "A line whose service ends after the invoice's day is deferred whole, and recognised by days when a "
        "period ends: by the end of a day, amount x days so far / all days, less what is recognised. Its tax "
        "is not deferred. When that happens is in [revenue that is earned later](deferred-revenue.md).",
        ("issue of a service to come",),
    ),
    Section(
        "Payment",
        "What came in is `amount`; the fee is inside it. Money a processor holds goes to clearing, money at "
        "the bank to the bank. What exceeds the invoices that the payer named is credit; what nothing names "
        "is unapplied.",
        (
            "payment by bank",
            "payment by card, in part, with a fee",
            "payment of more than is open",
            "payment that nobody knows",
            "payment, cash basis, half",
            "payment in USD of an invoice in EUR",
        ),
    ),
    Section("Payout", "What the processor paid out, and fees that it kept besides.", ("payout",)),
    Section(
        "Placed later, or taken back",
        "An allocation by hand, and its undoing. Both are dated rows; neither deletes the other.",
        ("allocation by hand", "unallocation", "unapplied receipts become credit", "credit applied"),
    ),
    Section(
        "Credit note",
        "Deferred revenue goes first, as far as it is not recognised; then revenue. Tax goes back with it, so "
        "that any split of an invoice into credit notes has exactly the invoice's tax. The receivable falls "
        "as far as it is open; the rest is the customer's credit. Recognised revenue is never taken back by "
        "the days: recognition pauses until they catch up.",
        (
            "credit note on an open invoice",
            "credit note on a paid invoice",
            "credit note on a service half recognised",
            "credit note, cash basis, half paid",
        ),
    ),
    Section(
        "Early-payment discount",
        "It lowers the price, and so the tax: a small credit note to an account of its own. Where the payment that "
        "took it is taken back, it is lost.",
        ("early-payment discount", "the discount is lost"),
    ),
    Section(
        "Tax withheld by the customer",
        "The customer pays part of the invoice to the tax office in our name. It settles the invoice and is a "
        "claim of ours. What was withheld wrongly is taken back.",
        ("tax withheld by the customer", "tax withheld is taken back"),
    ),
    Section(
        "Refund",
        "Out of what is unapplied, then credit, then the newest allocations, whose invoices are open again. A "
        "refund that is decided and not paid yet is promised; what is not paid after all is credit again.",
        (
            "refund of customer credit",
            "a refund is promised",
            "the promised refund is paid",
            "a promised refund stays as credit",
        ),
    ),
    Section(
        "Returned direct debit", "The invoice is open again, and the bank keeps a fee.", ("returned direct debit",)
    ),
    Section(
        "Dispute",
        "When it is opened the money is gone. Won, it comes back to where it was: as credit, as unapplied receipts, "
        "and on its invoices as far as they are still open, the rest unapplied. Lost, nothing more is posted.",
        ("dispute opened", "dispute won"),
    ),
    Section(
        "Write-off, relief, recovery",
        "A write-off is gross. The relief of its tax is claimed by a command of its own, once the law allows "
        "it. On cash basis the tax was never due: it is no loss, and there is no relief. Money for what was "
        "written off is a recovery; the relief of it is owed again.",
        ("write-off", "relief", "recovery", "relief repaid", "write-off, cash basis", "write-off reversed"),
    ),
)

TAIL = """## Void

A void reverses the issue entry whole, line by line. Of an invoice whose issue is not posted yet the request is
withdrawn, and nothing is posted at all. Revenue that was recognised of it meanwhile is taken back first, to deferred
revenue.

## Fees for reminders

A dunning fee is a document of its own, and issued like any other.

See also: [the states of an invoice](invoice-states.md).
"""


def _account(line: RuleLine) -> str:
    code = line.account or resolve(line.role, line.currency.code, ACCRUAL.mapping, "USD")
    assert isinstance(code, str)
    party = f", {line.party}" if line.party else ""
    tax = f", {line.tax.rate} %" if line.tax else ""
    return f"{code} ({line.role}{party}{tax})"


def _entry(name: str) -> str:
    draft, _ = CASES[name]
    assert isinstance(draft, EntryDraft)
    rows = [f"*{name[0].upper()}{name[1:]}*", "", "| account | debit | credit |", "|---|---:|---:|"]
    for line in draft.lines:
        amount = to_text(line.amount, line.currency.exponent) + ("" if line.currency.code == "USD" else " EUR")
        cells = (amount, "") if line.side == "debit" else ("", amount)
        rows.append(f"| {_account(line)} | {cells[0]} | {cells[1]} |")
    if draft.rates:
        stated = ", ".join(f"1 {rate.base} = {rate.rate} {rate.counter}" for rate in draft.rates)
        rows += ["", f"At {stated}; the ledger adds the lines of the position pair."]
    return "\n".join(rows)


def page() -> str:
    """The whole page."""
    parts = []
    for section in SECTIONS:
        entries = "\n\n".join(_entry(name) for name in section.rows)
        parts.append(f"## {section.heading}\n\n{section.text}\n\n{entries}\n")
    return HEAD + "\n".join(parts) + "\n" + TAIL
