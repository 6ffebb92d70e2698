"""What entries have to have of their documents' tax: the documents' own rows at the rates the entries were made at.

    an entry's decision states the rate that it crosses to the books' currency by -> each row of tax at it, half-even,
    as `entry_drafts` converts parts; where tax alone crosses, the rows together are worth what their sum is

So the tie of a report to the books is exact in any currency: an entry with one cent more than its document explains is
seen, whatever the rates of other days say. Pure.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal

from libs.common.money import ISO_4217, Currency, Rounding, convert
from services.invoicing.drafts import TaxTerms
from services.invoicing.entry_drafts import EntryDraft
from services.invoicing.tax_books import Booked
from services.invoicing.tax_lines import Based, CashEvent, InBooks, TaxLine, due_by_event


def crossed(taxes: Sequence[int], own: Currency, decision: EntryDraft) -> tuple[Currency, list[int]]:
    """Rows of a document's tax as the entry of this decision has to have them, and in which currency."""
    taxed = next((line.currency for line in decision.lines if line.tax is not None), None)
    rate = next((rate for rate in decision.rates if rate.base == own.code), None)
    if rate is None or taxed == own:
        return own, list(taxes)
    wanted = ISO_4217[rate.counter]
    by_rate = Decimal(rate.rate)
    worths = [convert(tax, own, wanted, by_rate, Rounding.HALF_EVEN) for tax in taxes]
    if worths and not any(line.tax is None and line.currency == wanted for line in decision.lines):
        largest = max(range(len(taxes)), key=lambda place: abs(taxes[place]))
        worths[largest] += convert(sum(taxes), own, wanted, by_rate, Rounding.HALF_EVEN) - sum(worths)
    return wanted, worths


def with_entries(
    lines: Iterable[TaxLine], booked: Iterable[Booked], decisions: Mapping[str, EntryDraft]
) -> list[TaxLine]:
    """On accrual: the lines with what their entries have to have; `decisions`, by document, of those that cross."""
    entries = {(each.document, each.purpose) for each in booked}
    by_posting: dict[tuple[str, str], list[TaxLine]] = {}
    for line in lines:
        by_posting.setdefault(line.posting, []).append(line)
    found: list[TaxLine] = []
    for posting, of_entry in by_posting.items():
        if posting not in entries:
            found += of_entry
            continue
        currency, taxes = ISO_4217[of_entry[0].currency], [line.own.tax for line in of_entry]
        if (decision := decisions.get(posting[0])) is not None:
            currency, taxes = crossed(taxes, currency, decision)
        found += [
            replace(line, in_books=InBooks(currency.code, tax)) for line, tax in zip(of_entry, taxes, strict=True)
        ]
    return found


def due_in_books(
    document: str,
    rows: Mapping[TaxTerms, Based],
    total: int,
    events: Sequence[CashEvent],
    own: Currency,
    decisions: Mapping[str, EntryDraft],
) -> list[list[InBooks]] | None:
    """On cash basis: for each event what it has to make due in the books of each row of an invoice's tax, as the
    decisions of its issue, credit notes and discounts booked them; None while the issue has none."""
    if document not in decisions:
        return None
    currency, there = _rows(rows, own, decisions[document])
    moved = [
        replace(event, rows=_rows(event.rows, own, decisions[event.source])[1]) if event.rows else event
        for event in events
    ]
    due = due_by_event(there, total, moved, currency)
    return [[InBooks(currency.code, each.tax) for each in of_event] for of_event in due]


def _rows(
    rows: Mapping[TaxTerms, Based], own: Currency, decision: EntryDraft
) -> tuple[Currency, dict[TaxTerms, Based]]:
    currency, taxes = crossed([row.tax for row in rows.values()], own, decision)
    return currency, {terms: Based(0, tax) for terms, tax in zip(rows, taxes, strict=True)}
