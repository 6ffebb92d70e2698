"""The lines of a tax report or return, gathered from documents: read, decided by the rules of tax_lines.py, converted.

windows of the number -> on accrual: documents, discounts, voids, reliefs
                         on cash: invoices that something happened to, replayed
                      -> lines in their own currencies -> rates of their days -> lines in the return's currency
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

import orjson

from libs.common.db import Connection
from libs.common.money import ISO_4217
from services.invoicing import tax_reads
from services.invoicing.bookkeeping import per_unit
from services.invoicing.catalog_store import ledger_terms
from services.invoicing.drafts import TaxTerms
from services.invoicing.entry_drafts import EntryDraft
from services.invoicing.kept_totals import tax_rows_of
from services.invoicing.posting_requests import DRAFT
from services.invoicing.rates_store import rates_on
from services.invoicing.rows import Row
from services.invoicing.tax_books import Booked
from services.invoicing.tax_entries import due_in_books, with_entries
from services.invoicing.tax_lines import (
    Based,
    CashEvent,
    InBooks,
    Kind,
    TaxLine,
    base_with,
    based_in,
    converted,
    due_by_event,
)
from services.invoicing.tax_reads import Span
from services.invoicing.tax_registrations import Registered, number_of_seller, windows


@dataclass(frozen=True, slots=True)
class Wanted:
    """Whose lines: a tax number's, in its currency, on a basis."""

    organization: str
    tax_number: str
    currency: str
    basis: str
    registered: Sequence[Registered]


async def registrations_of(connection: Connection, organization: str) -> list[Registered]:
    """Every ledger's tax numbers; of those that registered none, the one that stands on its invoices."""
    found = await tax_reads.registrations(connection, organization)
    known = {row.ledger for row in found}
    others = [
        code for code in await tax_reads.ledgers_with_settings(connection, organization) if code not in known
    ]  # fmt: skip
    terms = await ledger_terms(connection, [(organization, code) for code in others])
    for code in others:
        of_ledger = terms[organization, code]
        if (number := number_of_seller(of_ledger.seller)) is not None:
            found.append(Registered(code, number, of_ledger.functional_currency, date.min))
    return found


async def gather(
    connection: Connection,
    wanted: Wanted,
    since: date,
    until: date,
    *,
    known_after: datetime | None = None,
    unfiled: bool = False,
    tied: bool = False,
) -> list[TaxLine]:
    """All lines with a tax point in these days, by tax point and number; `tied` with those of which the books alone
    have a cent."""
    lines: list[TaxLine] = []
    for window in windows(wanted.registered, wanted.tax_number, since, until):
        span = Span(wanted.organization, window.ledger, window.since, window.until, known_after, unfiled)
        if wanted.basis == "cash":
            lines += await _on_cash(connection, span, wanted.currency)
        else:
            lines += await _on_accrual(connection, span)
    rates = await _rates(connection, wanted, lines)
    done = [line if line.reported is not None else _converted(line, wanted.currency, rates) for line in lines]
    found = [line for line in done if tied or line.is_told]
    return sorted(found, key=lambda line: (line.tax_point_on, line.number, line.source, line.part))


async def _rates(
    connection: Connection, wanted: Wanted, lines: Iterable[TaxLine]
) -> dict[tuple[str, date], Decimal]:  # fmt: skip
    """Rates into the return's currency by currency and day."""
    days: dict[date, set[str]] = {}
    for line in lines:
        if line.currency != wanted.currency:
            days.setdefault(line.rate_on, set()).add(line.currency)
    found: dict[tuple[str, date], Decimal] = {}
    for on, currencies in days.items():
        pairs = [(currency, wanted.currency) for currency in sorted(currencies)]
        for (base, _), rate in (await rates_on(connection, wanted.organization, pairs, on)).items():
            found[base, on] = per_unit(base, rate)
    return found


def _converted(line: TaxLine, currency: str, rates: Mapping[tuple[str, date], Decimal]) -> TaxLine:
    rate = rates.get((line.currency, line.rate_on))
    return converted(line, ISO_4217[line.currency], ISO_4217[currency], rate)


# --- accrual ----------------------------------------------------------------------------------------------------------


async def _on_accrual(connection: Connection, span: Span) -> list[TaxLine]:
    lines = [
        TaxLine(
            ledger=span.ledger,
            source=row["source"],
            part=row["part"],
            kind=row["kind"],
            document=row["document"],
            number=row["number"],
            tax_point_on=row["day"],
            category=row["category"],
            rate=row["rate"],
            exemption_code=row["exemption_code"],
            exemption_reason=row["exemption_reason"],
            currency=row["currency"],
            own=Based(int(row["base"]), int(row["amount"])),
            rate_on=row["rate_on"],
            posting=(row["posted_as"], row["purpose"]),
        )
        for row in await tax_reads.document_rows(connection, span)
    ]
    reliefs = await tax_reads.relief_rows(connection, span)
    invoices = await tax_reads.invoices_on_cash(connection, span.organization, [row["invoice"] for row in reliefs])
    taxes = {row["id"]: _rows_of(row) for row in invoices}
    for row in reliefs:
        lines += _relief_lines(span, row, taxes[row["invoice"]])
    return lines


_RELIEFS: Final[Mapping[str, Kind]] = {
    "relief": "relief",
    "relief_repaid": "relief-repaid",
    "relief_reversed": "relief-taken-back",
    "relief_repaid_reversed": "relief-repaid-taken-back",
}


def _relief_lines(span: Span, row: Row, taxes: Mapping[TaxTerms, Based]) -> list[TaxLine]:
    """What a relief, or its repayment, says of tax; the base is the part that goes with it."""
    found = []
    for part, line in enumerate(DRAFT.validate_json(row["draft"]).lines, 1):
        if line.tax is None:
            continue
        sign = 1 if (line.side == "credit") != row["purpose"].endswith("_reversed") else -1
        tax = sign * line.amount
        found.append(
            TaxLine(
                ledger=span.ledger,
                source=f"write-off/{row['id']}",
                part=part,
                kind=_RELIEFS[row["purpose"]],
                document=row["invoice"],
                number=row["number"],
                tax_point_on=row["on_date"],
                category=line.tax.category,
                rate=line.tax.rate,
                exemption_code=line.tax.exemption_code,
                exemption_reason=line.tax.exemption_reason,
                currency=line.currency.code,
                own=Based(base_with(tax, taxes[line.tax]), tax),
                rate_on=row["on_date"],
                posting=(f"write-off/{row['id']}", row["purpose"]),
            )
        )
    return found


async def with_books(
    connection: Connection, organization: str, lines: Sequence[TaxLine], booked: Sequence[Booked]
) -> list[TaxLine]:
    """The lines with what their entries have to have of them."""
    entries = {(each.document, each.purpose): each.currency for each in booked}
    crossing = {
        line.posting[0] for line in lines if line.own.tax and entries.get(line.posting, line.currency) != line.currency
    }  # fmt: skip
    return with_entries(lines, booked, await _decisions(connection, organization, crossing))


async def _decisions(
    connection: Connection, organization: str, documents: Iterable[str]
) -> dict[str, EntryDraft]:  # fmt: skip
    found = await tax_reads.decisions_of(connection, organization, sorted(documents))
    return {document: DRAFT.validate_json(draft) for document, draft in found.items()}


# --- cash -------------------------------------------------------------------------------------------------------------


async def _on_cash(connection: Connection, span: Span, currency: str) -> list[TaxLine]:
    touched = await tax_reads.touched_invoices(connection, span)
    events: dict[UUID, list[Row]] = {}
    for row in await tax_reads.events_on_cash(connection, span.organization, touched):
        events.setdefault(row["invoice"], []).append(row)
    lines: list[TaxLine] = []
    ledger = span.organization, span.ledger
    functional = (await ledger_terms(connection, [ledger]))[ledger].functional_currency
    for invoice in await tax_reads.invoices_on_cash(connection, span.organization, touched):
        happened = [_event(row, invoice) for row in events[invoice["id"]]]
        known = {row["source"]: row["created_at"] for row in events[invoice["id"]]}
        for line in await _replayed(connection, span, invoice, happened, currency, functional):
            inside = span.since <= line.tax_point_on <= span.until
            if inside and (span.known_after is None or known[line.source] > span.known_after):
                lines.append(line)
    if span.unfiled:
        filed = await tax_reads.filed_sources(connection, span.organization, sorted({line.source for line in lines}))
        lines = [line for line in lines if line.source not in filed]
    return lines


async def _replayed(
    connection: Connection, span: Span, invoice: Row, happened: Sequence[CashEvent], currency: str, functional: str
) -> list[TaxLine]:
    """What each event made due, in the invoice's currency and, by converted rows, in the return's and the books'."""
    own, wanted = ISO_4217[invoice["currency"]], ISO_4217[currency]
    rows, total = _rows_of(invoice), int(invoice["total"])
    due = due_by_event(rows, total, happened, own)
    reported: Sequence[Sequence[Based | None]] = due
    if own != wanted:
        pair, on = (own.code, wanted.code), invoice["tax_point_on"]
        rate = (await rates_on(connection, span.organization, [pair], on)).get(pair)
        if rate is None:
            reported = [[None] * len(rows) for _ in happened]
        else:
            unit = per_unit(own.code, rate)
            there = {terms: based_in(row, own, wanted, unit) for terms, row in rows.items()}
            moved = [
                replace(event, rows={terms: based_in(row, own, wanted, unit) for terms, row in event.rows.items()})
                for event in happened
            ]
            reported = due_by_event(there, total, moved, wanted)
    booked: Sequence[Sequence[InBooks | None]] | None = [
        [InBooks(own.code, each.tax) for each in amounts] for amounts in due
    ]
    if own.code != functional:
        document = f"invoice/{invoice['id']}"
        documents = [document, *(event.source for event in happened if event.rows)]
        decisions = await _decisions(connection, span.organization, documents)
        booked = due_in_books(document, rows, total, happened, own, decisions)
    if booked is None:
        booked = [[None] * len(rows) for _ in happened]
    lines = []
    for event, *of_event in zip(happened, due, reported, booked, strict=True):
        for part, (terms, amount, other, in_books) in enumerate(zip(rows, *of_event, strict=True), 1):
            lines.append(_cash_line(span, invoice, event, part, terms, amount, other, in_books))
    return [line for line in lines if line.is_told or (line.in_books is not None and line.in_books.tax)]


def _cash_line(
    span: Span,
    invoice: Row,
    event: CashEvent,
    part: int,
    terms: TaxTerms,
    amount: Based,
    reported: Based | None,
    in_books: InBooks | None,
) -> TaxLine:
    return TaxLine(
        ledger=span.ledger,
        source=event.source,
        part=part,
        kind=event.kind,
        document=event.document,
        number=event.number,
        tax_point_on=event.on,
        category=terms.category,
        rate=terms.rate,
        exemption_code=terms.exemption_code,
        exemption_reason=terms.exemption_reason,
        currency=invoice["currency"],
        own=amount,
        rate_on=invoice["tax_point_on"],
        posting=("", ""),
        reported=reported,
        in_books=in_books,
    )


def _event(row: Row, invoice: Row) -> CashEvent:
    amount, number = int(row["amount"]), row["number"] or invoice["number"]
    about: dict[str, Any] = {"source": row["source"], "number": number, "on": row["day"]}
    if row["kind"] == "payment":
        return CashEvent(kind="payment", document=invoice["id"], paid=amount, **about)
    if row["kind"] == "credit-note":
        currency = ISO_4217[invoice["currency"]]
        taxes = tax_rows_of(orjson.loads(row["taxes"]), currency)
        rows = {each.terms: Based(-each.base, -each.amount) for each in taxes}
        paid = -int(row["to_credit"])
        return CashEvent(kind="credit-note", document=row["id"], paid=paid, total=-amount, rows=rows, **about)
    if row["kind"] in ("discount", "discount-taken-back"):
        sign = -1 if row["kind"] == "discount" else 1
        taxes = tax_rows_of(orjson.loads(row["taxes"]), ISO_4217[invoice["currency"]])
        rows = {each.terms: Based(sign * each.base, sign * each.amount) for each in taxes}
        return CashEvent(kind=row["kind"], document=row["id"], total=sign * amount, rows=rows, **about)
    if row["kind"] == "write-off":
        return CashEvent(kind="write-off", document=invoice["id"], given_up=amount, **about)
    return CashEvent(kind="write-off", document=invoice["id"], undoes=row["undoes"], **about)


def _rows_of(invoice: Row) -> dict[TaxTerms, Based]:
    taxes = tax_rows_of(orjson.loads(invoice["taxes"]), ISO_4217[invoice["currency"]])
    return {row.terms: Based(row.base, row.amount) for row in taxes}
