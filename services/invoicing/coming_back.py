"""Money of a payment that went back and comes again: of a dispute that was won, of a refund that bounced.

    where it was, what is open there now -> put_back: on its invoices as far as they are open, in the customer's credit,
    unapplied; what finds its place taken is unapplied, with the reason
    payment, invoices, allocations, credit, discounts that are in time again, postings: in one transaction

The caller holds the document that took the money, and stores its own end.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Literal
from uuid import UUID

from libs.common.clock import derived_id
from libs.common.db import Connection
from libs.common.errors import Rejection
from libs.common.money import ISO_4217, to_text
from libs.common.outbox import put
from services.invoicing import announcing, domain, entries, invoice_store, payment_store
from services.invoicing.allocating import Kept, put_back
from services.invoicing.allocations import money_wish, payment_posting
from services.invoicing.bookkeeping import BooksKey, bookkeeping_for
from services.invoicing.business_events import MoneyBack, Occasion, Owed
from services.invoicing.cash_standing import CashTax, cash_tax
from services.invoicing.discounting import Cause, Discounted, store_discounts, take_where_short
from services.invoicing.domain import Standing
from services.invoicing.entry_drafts import Part
from services.invoicing.exchanging import share
from services.invoicing.invoice_store import InvoiceKey
from services.invoicing.invoices import standing_of
from services.invoicing.payment_store import AllocationRow
from services.invoicing.payments import changed_row, store_standings
from services.invoicing.posting_requests import prepare, want
from services.invoicing.rows import Row


@dataclass(frozen=True, slots=True, kw_only=True)
class ComingBack:
    """Money that comes again. `document` says what took it, from what; `taken` from which invoices.

    `said` is what its entry says before and behind the payment's name, `short` what this is in a word; `purpose` is its
    entry's, `name` gives the ids of its allocations; `fee` is what of a fee is given back.
    """

    organization: str
    event: Literal["dispute_won", "refund_bounced"]
    document: Row
    taken: Sequence[Row]
    said: tuple[str, str]
    short: str
    purpose: str
    name: str
    on: date
    created_at: datetime
    fee: int = 0
    account: str | None = None


@dataclass(frozen=True, slots=True)
class _Back:
    """Where the money goes, and how everything stands afterwards."""

    kept: Kept
    sources: Sequence[Owed]
    due: Sequence[Part]
    allocations: Sequence[AllocationRow]
    invoices: Mapping[InvoiceKey, Row]
    standings: dict[InvoiceKey, Standing]

    @property
    def amount(self) -> int:
        return self.kept.amount


async def come_back(connection: Connection, end: ComingBack, now: datetime) -> Kept | Rejection:
    """Puts the money where it was; gives where it went."""
    row = await payment_store.lock_payment(connection, end.organization, end.document["payment"])
    assert row is not None, "what went back is of a payment"
    currency = ISO_4217[row["currency"]]
    key = BooksKey(end.organization, row["ledger"], row["currency"], end.on)
    books = await bookkeeping_for(connection, [key, key._replace(currency=entries.owed_currency(row).code)])
    keys = [(end.organization, each["invoice"]) for each in end.taken]
    invoices = dict(await invoice_store.lock_invoices(connection, keys))
    tax = await cash_tax(connection, books, invoices.values())
    if (waits := tax.unknown(invoices)) is not None:
        return waits
    back = _back(row, invoices, tax, end, now)
    draft = entries.back_entry(
        end.event,
        Occasion(str(row["payment_id"]).join(end.said), end.on, currency),
        MoneyBack(
            entries.place_of(end.account or row["account"], row["provider"], row["method"]), back.sources, end.fee,
            back.due, entries.stated_of(row),
        ),
        books.books(key),
    )  # fmt: skip
    if isinstance(draft, Rejection):
        return draft
    wish = await money_wish(
        connection, row, end.purpose, end.created_at, draft, [payment_posting(row)]
    )  # fmt: skip
    cause = Cause(end.created_at, end.purpose)
    discounted = await take_where_short(connection, row, invoices, back.standings, tax, cause, end.on, now)
    if isinstance(discounted, Rejection):
        return discounted
    await _store(connection, row, end, back, discounted)
    await want(connection, [prepare(wish, books), *(each.posting for each in discounted)], now)
    await put(connection, _facts(row, back, discounted, now))
    return back.kept


def _back(
    row: Row,
    invoices: Mapping[InvoiceKey, Row],
    tax: CashTax,
    end: ComingBack,
    now: datetime,
) -> _Back:
    """Puts the money back in memory."""
    standings = {key: standing_of(invoice) for key, invoice in invoices.items()}
    taken, document = end.taken, end.document
    settled = {str(each["invoice"]): (int(each["settled"]), int(each["amount"])) for each in taken if each["settled"]}
    open_: dict[str, int] = {}
    for key, standing in standings.items():
        owed = domain.receivable(standing.status, standing.amounts)
        of, money = settled.get(str(key[1]), (1, 1))
        open_[str(key[1])] = owed * money // of
    was = tuple((str(each["invoice"]), int(each["amount"])) for each in taken)
    unknown = int(document["from_allocated"]) - sum(amount for _, amount in was)
    kept = put_back(Kept(int(document["from_unapplied"]) + unknown, int(document["from_credit"]), was), open_)
    due: list[Part] = []
    sources: list[Owed] = []
    allocations: list[AllocationRow] = []
    for place, (invoice, paid) in enumerate(kept.allocations):
        key = end.organization, UUID(invoice)
        before = standings[key]
        amount = paid if invoice not in settled else _share(settled[invoice], paid, before)
        after = domain.allocate(before, amount)
        assert not isinstance(after, Rejection), "no more comes back than is open"
        due += tax.due(key, before.amounts, after)
        standings[key] = Standing(domain.status_of(after, False, False), after, before.currency)
        own = paid if invoice in settled else None
        sources.append(Owed("receivable", str(invoices[key]["customer"]), amount, before.currency, own))
        id_ = derived_id(end.created_at, end.organization, "invoicing", f"{end.name}/{place}")
        allocations.append(
            AllocationRow(end.organization, id_, "payment", row["id"], key[1], amount, end.on, None, now, own)
        )
    if kept.unapplied:
        sources.append(Owed("unapplied-receipts", entries.unapplied_party_of(row), kept.unapplied))
    if kept.credit:
        sources.append(Owed("customer-credit", str(row["customer"]), kept.credit))
    back_on = {(end.organization, UUID(invoice)) for invoice, _ in kept.allocations}
    return _Back(kept, sources, due, allocations, invoices, {key: standings[key] for key in back_on})


def _share(settled: tuple[int, int], paid: int, standing: Standing) -> int:
    """What of the invoice, in its currency, a part of what was `settled` by so much money settles again."""
    whole, money = settled
    return min(max(share(whole, paid, money), 1), domain.receivable(standing.status, standing.amounts))


async def _store(
    connection: Connection, row: Row, end: ComingBack, back: _Back, discounted: Sequence[Discounted]
) -> None:
    kept, currency = back.kept, ISO_4217[row["currency"]]
    moved = kept.unapplied - int(end.document["from_unapplied"])
    said = to_text(moved, currency.exponent)
    placing = {
        **dict(row),
        "allocated": int(row["allocated"]) + sum(amount for _, amount in kept.allocations),
        "unapplied": int(row["unapplied"]) + kept.unapplied,
        "to_credit": int(row["to_credit"]) + kept.credit,
        "refunded": int(row["refunded"]) - back.amount,
        "reason": f"{said} of {end.short} found its invoices settled" if moved else row["reason"],
        "posting": "requested",
    }
    await payment_store.store_placing(connection, row["organization"], row["id"], placing)
    await store_discounts(connection, discounted)
    await store_standings(connection, back.standings)
    await payment_store.insert_allocations(
        connection, [*back.allocations, *(each.allocation for each in discounted)]
    )  # fmt: skip
    if kept.credit:
        credit_key = row["organization"], row["ledger"], row["customer"], row["currency"]
        await payment_store.move_credit(connection, {credit_key: kept.credit})


def _facts(row: Row, back: _Back, discounted: Sequence[Discounted], now: datetime) -> list[Any]:
    amounts: dict[InvoiceKey, int] = {}
    for each in back.allocations:
        key = each.organization, each.invoice
        amounts[key] = amounts.get(key, 0) + each.amount
    after = {key: changed_row(back.invoices[key], standing) for key, standing in back.standings.items()}
    facts = [
        announcing.invoice_changed("paid", after[key], now, amount, payment_id=row["id"])
        for key, amount in amounts.items()
    ]
    for taken in discounted:
        told = after[taken.row.organization, taken.row.invoice]
        facts.append(announcing.invoice_changed("credited", told, now, taken.row.total, credit_note_id=None))
    return facts
