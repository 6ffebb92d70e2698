"""Invoices: made and issued. Any number of them in one transaction, each with an answer of its own.

    make     wishes -> customers, terms, products, tax rates (set by set) -> planned, or rejected one by one
             -> numbers for those to be issued -> documents, lines, taxes -> postings -> facts -> answers
    issue    drafts, held -> the same from their numbers on

Whatever can be refused is refused before a number is drawn; after that nothing is waited for but the database's own
writes. So numbers are 1..n in the order of commits.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

import orjson

from libs.common.clock import new_id
from libs.common.db import Connection
from libs.common.errors import Rejection
from libs.common.money import ISO_4217
from libs.common.outbox import put
from libs.common.sealing import Sealer
from services.invoicing import (
    announcing,
    creditor_reference,
    deferral_store,
    domain,
    entries,
    invoice_store,
    issued_parties,
    settlement_store,
)
from services.invoicing.arithmetic import Totals
from services.invoicing.asking import CREATED, OK, Done
from services.invoicing.bookkeeping import Bookkeeping, BooksKey, bookkeeping_for
from services.invoicing.catalog_store import LedgerKey, LedgerTerms, ledger_terms
from services.invoicing.deferral_store import DeferralRow
from services.invoicing.domain import Amounts, Standing, status_of
from services.invoicing.early_payment import kept, kept_terms
from services.invoicing.invoice_planning import plans
from services.invoicing.invoice_plans import InvoiceWish, Planned
from services.invoicing.invoice_store import InvoiceRow, LineRow, SeriesKey, TaxRow
from services.invoicing.issued_parties import Customer, Issued
from services.invoicing.kept_totals import invoice_of, kept_invoice
from services.invoicing.posting_requests import PostingWish, document_name, posting_id, prepare, want
from services.invoicing.rejections import reject
from services.invoicing.rows import Row
from services.invoicing.settlement_store import TermsRow
from services.invoicing.words import invoice_words

INVOICE_SERIES: Final = "invoices"
CREDIT_SERIES: Final = "credit-notes"
NUMBERING: Final = {INVOICE_SERIES: "{prefix}{year}-{serial:06d}", CREDIT_SERIES: "{prefix}CN-{year}-{serial:06d}"}
OWN_SERIES: Final = "{prefix}{series}-{year}-{serial:06d}"

_PROVISIONAL: Final = "?"
"""Stands for the number while it is found out whether there can be one."""


@dataclass(slots=True)
class Making:
    """One invoice on its way from wish to row."""

    place: int
    planned: Planned
    id: UUID
    prefix: str
    is_issued: bool
    created_at: datetime
    version: int = 1


def number_of(series: str, year: int, serial: int, prefix: str = "") -> str:
    """How a document is called."""
    return NUMBERING.get(series, OWN_SERIES).format(prefix=prefix, series=series, year=year, serial=serial)


def issue_document(invoice: UUID) -> str:
    """How the ledger knows an invoice."""
    return document_name("invoice", invoice)


def issue_posting(organization: str, invoice: UUID, created_at: datetime) -> UUID:
    """The entry of an invoice's issue, on which its payments, credits and void depend."""
    return posting_id(organization, issue_document(invoice), "issue", created_at)


# --- making -----------------------------------------------------------------------------------------------------------


async def make_invoices(
    connection: Connection, sealer: Sealer, wishes: Sequence[InvoiceWish], now: datetime
) -> list[Done | Rejection]:
    """Makes invoices, and issues those that are wanted so; an answer for each wish at its place."""
    terms = await ledger_terms(connection, [(wish.organization, wish.ledger) for wish in wishes])
    answers: dict[int, Done | Rejection] = {}
    planned: list[Making] = []
    for place, each in enumerate(await plans(connection, sealer, wishes, terms, now)):
        wish = wishes[place]
        if isinstance(each, Rejection):
            answers[place] = each
            continue
        prefix = terms[wish.organization, wish.ledger].number_prefix
        planned.append(Making(place, each, wish.id or new_id(), prefix, wish.issue, now))
    books = await _books(connection, planned)
    buyers = await _buyers(connection, sealer, planned)
    making, refused = _that_can_be(planned, books, buyers)
    answers.update(refused)
    rows = await _numbered(connection, making, now)
    await invoice_store.insert_invoices(connection, rows)
    await invoice_store.insert_lines(connection, [line for each in making for line in lines_of(each)])
    await settlement_store.insert_terms(connection, [row for each in making for row in terms_rows(each)])
    await _freeze(connection, sealer, rows, terms, buyers)
    answers.update(await _issued(connection, making, rows, books, now))
    return [answers[place] for place in range(len(wishes))]


def terms_rows(making: Making) -> list[TermsRow]:
    """What paying an invoice early is worth, where it is worth something."""
    early = making.planned.early_payment
    if early is None:
        return []
    return [TermsRow(making.planned.wish.organization, making.id, early.percent, early.within_days)]


async def _books(connection: Connection, making: Sequence[Making]) -> Bookkeeping:
    """What the posting rules have to know for those that are issued."""
    return await bookkeeping_for(connection, [_books_key(each) for each in making if each.is_issued])


def _books_key(making: Making) -> BooksKey:
    planned = making.planned
    wish = planned.wish
    return BooksKey(wish.organization, wish.ledger, planned.totals.currency.code, planned.issued_on)


async def _buyers(connection: Connection, sealer: Sealer, making: Sequence[Making]) -> dict[Customer, bytes]:
    """What is known of the customers of what is issued, who are held until the commit."""
    return await issued_parties.hold(connection, sealer, [_customer(each) for each in making if each.is_issued])


def _customer(making: Making) -> Customer:
    return making.planned.wish.organization, making.planned.customer


async def _freeze(
    connection: Connection,
    sealer: Sealer,
    rows: Sequence[InvoiceRow],
    terms: Mapping[LedgerKey, LedgerTerms],
    buyers: Mapping[Customer, bytes],
) -> None:
    """Keeps seller and buyer of what is issued as they are known now."""
    issued = [Issued(row.organization, row.id, row.ledger, row.customer) for row in rows if row.number is not None]
    await issued_parties.freeze(connection, sealer, issued, terms, buyers)


def _that_can_be(
    making: Sequence[Making], books: Bookkeeping, buyers: Mapping[Customer, bytes]
) -> tuple[list[Making], dict[int, Rejection]]:
    """Those that can be booked and printed, before any number is drawn; a missing rate is waited for."""
    can: list[Making] = []
    refused: dict[int, Rejection] = {}
    for each in making:
        if each.is_issued and _customer(each) not in buyers:
            refused[each.place] = reject("customer-erased", customer=str(each.planned.customer))
            continue
        wish = _posting_wish(each, _PROVISIONAL, books) if each.is_issued else None
        why = prepare(wish, books).rejection if wish is not None else None
        if why is None or why.code == "rate-missing":
            can.append(each)
        else:
            refused[each.place] = why
    return can, refused


# --- issuing ----------------------------------------------------------------------------------------------------------


async def issue_drafts(
    connection: Connection, sealer: Sealer, organization: str, invoices: Sequence[UUID], now: datetime
) -> list[Done | Rejection]:
    """Drafts get their numbers and are owed from now on; an answer for each at its place."""
    held = await invoice_store.lock_invoices(connection, [(organization, invoice) for invoice in invoices])
    terms = await ledger_terms(connection, [(organization, row["ledger"]) for row in held.values()])
    answers: dict[int, Done | Rejection] = {}
    planned: list[Making] = []
    for place, invoice in enumerate(invoices):
        row = held.get((organization, invoice))
        if row is None:
            answers[place] = reject("unknown-invoice", invoice=str(invoice))
            continue
        refused = domain.issue(standing_of(row))
        if isinstance(refused, Rejection):
            answers[place] = refused
            continue
        prefix = terms[organization, row["ledger"]].number_prefix
        made_at, version = row["created_at"], row["version"] + 1
        planned.append(
            Making(
                place,
                planned_of(row, await invoice_store.read_content(connection, (organization, invoice)), now.date()),
                invoice,
                prefix,
                True,
                made_at,
                version,
            )
        )
    books = await _books(connection, planned)
    buyers = await _buyers(connection, sealer, planned)
    making, cannot = _that_can_be(planned, books, buyers)
    answers.update(cannot)
    rows = await _numbered(connection, making, now)
    await invoice_store.issue_drafts(connection, rows)
    await _freeze(connection, sealer, rows, terms, buyers)
    answers.update(
        {place: Done(done.body, OK) for place, done in (await _issued(connection, making, rows, books, now)).items()}
    )
    return [answers[place] for place in range(len(invoices))]


def standing_of(row: Row) -> Standing:
    """A stored invoice as the rules see it."""
    amounts = Amounts(*(int(row[name]) for name in ("total", "paid", "credited", "written_off")))
    return Standing(row["status"], amounts, ISO_4217[row["currency"]])


def planned_of(row: Row, text: str, today: date) -> Planned:
    """A stored draft, planned as it was; dates that it does not state are of the day it is issued on."""
    content = orjson.loads(text)
    wish = InvoiceWish(
        organization=row["organization"],
        ledger=row["ledger"],
        customer=str(row["customer"]),
        issue=True,
        series=content["series"],
    )
    issued_on = row["issued_on"] or today
    due_on = row["due_on"] or date.fromordinal(issued_on.toordinal() + content["payment_terms_days"])
    return Planned(
        wish,
        row["customer"],
        issued_on,
        row["tax_point_on"] or issued_on,
        due_on,
        invoice_of(content["totals"]),
        kept_terms(content.get("early_payment")),
    )


async def _numbered(connection: Connection, making: Sequence[Making], now: datetime) -> list[InvoiceRow]:
    """The invoices' rows, with numbers for those that are issued: drawn last, in the order of the wishes."""
    wanted: dict[SeriesKey, int] = {}
    for each in making:
        if each.is_issued:
            key = _series(each)
            wanted[key] = wanted.get(key, 0) + 1
    last = await invoice_store.draw_numbers(connection, wanted)
    following = {key: last[key] - count for key, count in wanted.items()}
    rows = []
    for each in making:
        serial = None
        if each.is_issued:
            key = _series(each)
            following[key] += 1
            serial = following[key]
        rows.append(row_of(each, serial, now))
    return rows


def _series(making: Making) -> SeriesKey:
    wish = making.planned.wish
    return wish.organization, wish.ledger, wish.series or INVOICE_SERIES, making.planned.issued_on.year


def row_of(making: Making, serial: int | None, now: datetime) -> InvoiceRow:
    """An invoice as it is stored: a draft where it has no number."""
    planned, wish, found = making.planned, making.planned.wish, making.planned.totals
    _, _, series, year = _series(making)
    number = number_of(series, year, serial, making.prefix) if serial is not None else None
    status = status_of(Amounts(found.total), is_draft=serial is None, is_void=False)
    content = {
        "series": wish.series,
        "payment_terms_days": (planned.due_on - planned.issued_on).days,
        "early_payment": kept(planned.early_payment),
        "totals": kept_invoice(found),
    }
    issued = serial is not None
    return InvoiceRow(
        organization=wish.organization,
        id=making.id,
        ledger=wish.ledger,
        customer=planned.customer,
        series=series if issued else None,
        year=year if issued else None,
        serial=serial,
        number=number,
        status=status,
        posting="requested" if issued and found.total else "none",
        currency=found.currency.code,
        issued_on=planned.issued_on if issued else wish.issued_on,
        tax_point_on=planned.tax_point_on if issued else wish.tax_point_on,
        due_on=planned.due_on if issued else wish.due_on,
        net=found.net,
        tax=found.tax,
        rounding=found.rounding,
        total=found.total,
        content=orjson.dumps(content).decode(),
        creditor_reference=creditor_reference.make(number) if number is not None else None,
        client_ref=wish.client_ref,
        created_at=making.created_at,
        issued_at=now if issued else None,
    )


async def _issued(
    connection: Connection, making: Sequence[Making], rows: Sequence[InvoiceRow], books: Bookkeeping, now: datetime
) -> dict[int, Done]:
    """Tax rows, postings and facts of what is issued now, and everybody's answer."""
    taxes = {
        each.place: tax_rows(row.organization, row.id, each.planned.totals)
        for each, row in zip(making, rows, strict=True)
    }
    issued = [(each, row) for each, row in zip(making, rows, strict=True) if each.is_issued]
    await invoice_store.insert_taxes(connection, [tax for each, _ in issued for tax in taxes[each.place]])
    await deferral_store.insert_deferrals(connection, [row for each, _ in issued for row in _deferral(each)])
    wanted = [_posting_wish(each, row.number or _PROVISIONAL, books) for each, row in issued]
    await want(connection, [prepare(wish, books) for wish in wanted if wish is not None], now)
    answers: dict[int, Done] = {}
    facts = []
    for each, row in zip(making, rows, strict=True):
        told = {**row._asdict(), "paid": 0, "credited": 0, "written_off": 0, "version": each.version}
        of_row = [tax._asdict() for tax in taxes[each.place]]
        lines = [line._asdict() for line in lines_of(each)]
        answers[each.place] = Done(invoice_words(told, of_row, lines), CREATED)
        if each.is_issued:
            facts.append(announcing.invoice_issued(told, of_row, now))
    await put(connection, facts)
    return answers


def _deferral(making: Making) -> list[DeferralRow]:
    """That it defers revenue, where some of its service is still to come; nothing before its day is recognised."""
    planned = making.planned
    ends_on = max(
        (ends_on for line in planned.totals.lines if (ends_on := line.draft.service_to) is not None),
        default=planned.issued_on,
    )
    if ends_on <= planned.issued_on:
        return []
    wish, before = planned.wish, planned.issued_on - timedelta(days=1)
    return [DeferralRow(wish.organization, making.id, wish.ledger, ends_on, before)]


def _posting_wish(making: Making, number: str, books: Bookkeeping) -> PostingWish | None:
    """The entry that the issue asks for; none where nothing is owed."""
    planned = making.planned
    if not planned.totals.total:
        return None
    return PostingWish(
        organization=planned.wish.organization,
        ledger=planned.wish.ledger,
        document=issue_document(making.id),
        purpose="issue",
        created_at=making.created_at,
        draft=entries.issue_entry(
            planned.totals, planned.customer, number, planned.issued_on, books.books(_books_key(making))
        ),
    )


def lines_of(making: Making) -> list[LineRow]:
    """Its lines as they are stored."""
    return [
        LineRow(
            making.planned.wish.organization,
            making.id,
            place,
            line.draft.description,
            line.draft.quantity,
            line.draft.unit_price,
            line.draft.product,
            line.draft.revenue_account,
            line.discount,
            line.net,
            line.tax,
            line.draft.service_from,
            line.draft.service_to,
        )
        for place, line in enumerate(making.planned.totals.lines, 1)
    ]


def tax_rows(organization: str, document: UUID, found: Totals | Any) -> list[TaxRow]:
    """The tax rows of an invoice or credit note."""
    return [
        TaxRow(
            organization,
            document,
            place,
            row.terms.category,
            Decimal(row.terms.rate),
            row.terms.exemption_code,
            row.terms.exemption_reason,
            row.base,
            row.amount,
        )
        for place, row in enumerate(found.taxes, 1)
    ]
