"""docs/guides/invoice-states.md, made from `services.invoicing.domain`."""

from services.invoicing.domain import STATUSES, TRANSITIONS

HEAD = """# The states of an invoice

*This page is made from `services/invoicing/domain.py`; `make docs` writes it.*

Nobody sets an invoice's status. It is read off four amounts, all of which every answer shows:

    total = paid + credited + written_off + open

| amount | what is in it |
|---|---|
| `paid` | payments and customer credit that are allocated to the invoice, and tax that the customer withheld |
| `credited` | credit notes as far as something was open, and early-payment discounts |
| `written_off` | what was given up |
| `open` | the rest: what the customer still owes |

| status | when |
|---|---|
| `draft` | not issued yet: no number, nothing owed, everything may change |
| `issued` | nothing is on it: open is the total |
| `part-paid` | something is on it, and something is open |
| `paid` | nothing is open, and it was paid, at least in part; a total of zero too |
| `credited` | nothing is open, nothing was paid: credit notes took it all |
| `written-off` | nothing is open, and something of it was given up |
| `void` | it was issued and made void; it keeps its number, its amounts stay for the record, and nothing is owed |

*Overdue* is no status: it is an open amount after `due_on`. Beside the status stands `posting`: `none`, `requested`
(its entries are on their way to the ledger), `posted`, or `needs-attention` (the ledger refused one; the reason is
shown).

## From one to another

A step is one command or event. What is empty here is refused, by the rules and by the database.

"""

TAIL = """
## What follows from that

* A payment that is returned, refunded, disputed or unallocated opens the invoice again: `paid` becomes `part-paid` or
  `issued`.
* With the payment an early-payment discount that it took goes too, so that `credited` falls with `paid`.
* A void is for an invoice that nothing has happened to. Once something was paid, credited or written off, credit it
  instead.
* `credited` and `void` are ends. What comes in for them is unapplied, or the customer's credit.
* More than is open is never allocated. An overpayment is the customer's credit, and not on the invoice.
* A credit note on a paid invoice leaves its amounts alone: all of the note is the customer's credit.
* After a part was written off, the invoice stays `part-paid` until the rest is settled; then it is `written-off`.
  Money that comes in for what was written off is a recovery, and leaves the invoice as it is.
"""


def page() -> str:
    """The whole page."""
    rows = [f"| from \\ to | {' | '.join(STATUSES)} |", f"|{'---|' * (len(STATUSES) + 1)}"]
    for before in STATUSES:
        cells = [TRANSITIONS[before, after] or "" for after in STATUSES]
        rows.append(f"| **{before}** | {' | '.join(cells)} |")
    return HEAD + "\n".join(rows) + "\n" + TAIL
