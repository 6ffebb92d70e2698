"""Money placed by hand: what of a payment or of a customer's credit is on which invoice, and how that is taken back.

    allocate     unapplied of a payment -> invoices            unallocate   one allocation -> unapplied again
    apply_credit a customer's credit -> its invoices

An allocation is never changed: what takes it back is another row that names it, dated; what takes back a part of it
takes back the whole and allocates the rest anew. A payment that came in time takes its early-payment discount then too,
where it leaves no more open than that; taken back, the discount is lost.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from uuid import UUID

from libs.common.clock import new_id
from libs.common.db import Connection
from libs.common.errors import Fault, Rejection
from libs.common.money import ISO_4217, Currency, to_text
from libs.common.outbox import put
from services.invoicing import announcing, domain, entries, invoice_store, payment_store, posting_store
from services.invoicing.asking import CREATED, OK, Done
from services.invoicing.bookkeeping import BooksKey, bookkeeping_for
from services.invoicing.business_events import Owed
from services.invoicing.cash_standing import CashTax, cash_tax
from services.invoicing.discounting import Cause, Discounted, lose, store_discounts, take_where_short
from services.invoicing.domain import Standing
from services.invoicing.entry_drafts import EntryDraft, Part
from services.invoicing.invoice_store import InvoiceKey
from services.invoicing.invoices import issue_posting, standing_of
from services.invoicing.payment_store import AllocationRow
from services.invoicing.payments import changed_row, store_standings
from services.invoicing.posting_requests import PostingWish, document_name, posting_id, prepare, want
from services.invoicing.rejections import reject
from services.invoicing.rows import Row
from services.invoicing.words import allocation_words, payment_words


@dataclass(frozen=True, slots=True)
class AllocationWish:
    """So much on one invoice; None is as much as is open and left."""

    invoice: UUID
    amount: int | None


@dataclass(frozen=True, slots=True)
class Plan:
    """What goes where: amounts by invoice, and how the invoices stand afterwards."""

    parts: Sequence[tuple[UUID, int]]
    standings: Mapping[InvoiceKey, Standing]
    rows: Mapping[InvoiceKey, Row]

    @property
    def amount(self) -> int:
        return sum(amount for _, amount in self.parts)


async def plan_allocations(
    connection: Connection,
    organization: str,
    ledger: str,
    currency: str,
    customer: UUID | None,
    wishes: Sequence[AllocationWish],
    left: int,
) -> Plan | Rejection:
    """Which amounts go on which invoices, of `left` in all; the invoices are held until the commit."""
    rows = await invoice_store.lock_invoices(connection, [(organization, wish.invoice) for wish in wishes])
    standings: dict[InvoiceKey, Standing] = {}
    parts: list[tuple[UUID, int]] = []
    exponent = ISO_4217[currency].exponent
    for place, wish in enumerate(wishes):
        key, at = (organization, wish.invoice), f"/allocations/{place}"
        row = rows.get(key)
        if row is None:
            return reject("unknown-invoice", errors=[Fault(f"{at}/invoice_id", "is no invoice")])
        if row["ledger"] != ledger:
            fault = Fault(f"{at}/invoice_id", f"is of ledger {row['ledger']}, the money is of {ledger}")
            return reject("ledger-differs", errors=[fault], ledger=row["ledger"])
        if row["currency"] != currency:
            return reject("currency-mismatch", errors=[Fault(at, f"is in {row['currency']}, the money in {currency}")])
        if customer is not None and row["customer"] != customer:
            return reject("customer-differs", errors=[Fault(at, "is another customer's invoice")])
        standing = standings.get(key) or standing_of(row)
        amount = wish.amount if wish.amount is not None else min(left, standing.amounts.open)
        if amount > left:
            given, rest = to_text(amount, exponent), to_text(left, exponent)
            fault = Fault(f"{at}/amount", f"is {given}, {rest} is left")
            return reject("allocation-exceeds-payment", errors=[fault], amount=given, left=rest)
        after = domain.allocate(standing, amount, f"{at}/amount")
        if isinstance(after, Rejection):
            return after
        standings[key] = Standing(domain.status_of(after, False, False), after, standing.currency)
        parts.append((wish.invoice, amount))
        left -= amount
    return Plan(parts, standings, dict(rows))


async def allocate(
    connection: Connection,
    organization: str,
    payment: UUID,
    wishes: Sequence[AllocationWish],
    on: date,
    now: datetime,
) -> Done | Rejection:
    """Puts what of a payment is not placed yet on invoices; the payment becomes their customer's."""
    row = await payment_store.lock_payment(connection, organization, payment)
    if row is None:
        return reject("unknown-payment", payment=str(payment))
    plan = await plan_allocations(
        connection, organization, row["ledger"], row["currency"], row["customer"], wishes, int(row["unapplied"])
    )
    if isinstance(plan, Rejection):
        return plan
    customers = {each["customer"] for each in plan.rows.values()}
    if len(customers) > 1:
        return reject("customer-differs", errors=[Fault("/allocations", "are invoices of several customers")])
    rows = [
        AllocationRow(organization, new_id(), "payment", payment, invoice, amount, on, None, now)
        for invoice, amount in plan.parts
    ]
    after = {
        **dict(row),
        "customer": row["customer"] or next(iter(customers), None),
        "allocated": int(row["allocated"]) + plan.amount,
        "unapplied": int(row["unapplied"]) - plan.amount,
        "reason": row["reason"] if int(row["unapplied"]) > plan.amount else None,
        "posting": "requested",
        "version": row["version"] + 1,
    }
    key = BooksKey(organization, row["ledger"], row["currency"], on)
    books = await bookkeeping_for(connection, [key])
    tax = await cash_tax(connection, books, plan.rows.values())
    if (waits := tax.unknown(plan.rows)) is not None:
        return waits
    due = due_by_row(tax, plan, rows)
    wishes_ = []
    for each in rows:
        invoice = plan.rows[organization, each.invoice]
        draft = entries.allocation_entry(
            row, invoice["customer"], each.amount, invoice["number"], on, books.books(key), due[each.id]
        )
        if isinstance(draft, Rejection):
            return draft
        wishes_.append(
            await money_wish(
                connection, row, f"allocation/{each.id}", now, draft,
                [issue_posting(organization, each.invoice, invoice["created_at"]), payment_posting(row)],
            )
        )  # fmt: skip
    standings = dict(plan.standings)
    cause = Cause(now, f"allocations/{new_id()}")
    discounted = await take_where_short(connection, row, plan.rows, standings, tax, cause, on, now)
    if isinstance(discounted, Rejection):
        return discounted
    await payment_store.store_placing(connection, organization, payment, after)
    await store_discounts(connection, discounted)
    await store_standings(connection, standings)
    await payment_store.insert_allocations(connection, [*rows, *(each.allocation for each in discounted)])
    await want(connection, [*(prepare(wish, books) for wish in wishes_), *(each.posting for each in discounted)], now)
    await tell_paid(connection, replace(plan, standings=standings), payment, now, discounted)
    return Done(payment_words(after, [each._asdict() for each in rows]), CREATED)


async def unallocate(
    connection: Connection, organization: str, payment: UUID, allocation: UUID, on: date, now: datetime
) -> Done | Rejection:
    """Takes one allocation back: its invoice is open again, the money unapplied. Twice is `already-undone`."""
    row = await payment_store.lock_payment(connection, organization, payment)
    if row is None:
        return reject("unknown-payment", payment=str(payment))
    standing = {each["id"]: each for each in await payment_store.allocations_of(connection, organization, payment)}
    known = standing.get(allocation)
    if known is None:
        code = "already-undone" if await payment_store.is_undone(connection, organization, payment, allocation) else (
            "unknown-allocation"
        )  # fmt: skip
        return reject(code, allocation=str(allocation))
    amount = int(known["amount"])
    invoices = await invoice_store.lock_invoices(connection, [(organization, known["invoice"])])
    invoice = invoices[organization, known["invoice"]]
    after = domain.unallocate(standing_of(invoice), amount)
    if isinstance(after, Rejection):
        return after
    owed_in, paid = ISO_4217[invoice["currency"]], None if known["paid"] is None else int(known["paid"])
    stands = Standing(domain.status_of(after, False, False), after, owed_in)
    undoing = AllocationRow(
        organization, new_id(), "payment", payment, known["invoice"], amount, on, allocation, now, paid
    )
    owed = Owed("receivable", str(invoice["customer"]), amount, owed_in, paid)
    placed = {
        **dict(row),
        "allocated": int(row["allocated"]) - owed.money,
        "unapplied": int(row["unapplied"]) + owed.money,
        "reason": "it was taken off its invoice by hand",
        "posting": "requested",
        "version": row["version"] + 1,
    }
    key = BooksKey(organization, row["ledger"], row["currency"], on)
    books = await bookkeeping_for(connection, [key, key._replace(currency=owed_in.code)])
    of = organization, known["invoice"]
    tax = await cash_tax(connection, books, [invoice])
    if (waits := tax.unknown([of])) is not None:
        return waits
    due = tax.due(of, standing_of(invoice).amounts, after)
    draft = entries.unallocation_entry(row, owed, invoice["number"], on, books.books(key), due)
    if isinstance(draft, Rejection):
        return draft
    wish = await money_wish(connection, row, f"unallocation/{undoing.id}", now, draft, [payment_posting(row)])
    standings = {of: stands}
    lost = await lose(connection, {of: invoice}, standings, tax, Cause(now, f"unallocation/{undoing.id}"), on, now)
    if isinstance(lost, Rejection):
        return lost
    await payment_store.store_placing(connection, organization, payment, placed)
    await store_discounts(connection, lost)
    await store_standings(connection, standings)
    await payment_store.insert_allocations(connection, [undoing, *(each.allocation for each in lost)])
    await want(connection, [prepare(wish, books), *(each.posting for each in lost)], now)
    return Done(allocation_words(undoing._asdict(), owed_in.code, row["currency"]), OK)


async def apply_credit(
    connection: Connection,
    organization: str,
    ledger: str,
    customer: UUID,
    currency: Currency,
    wishes: Sequence[AllocationWish],
    amount: int | None,
    on: date,
    now: datetime,
) -> Done | Rejection:
    """Uses a customer's credit: on the invoices that are named, else on what is due first."""
    credit_key = organization, ledger, customer, currency.code
    named = [wish.invoice for wish in wishes]
    if not named:
        named = (await payment_store.find_open(connection, [credit_key], 200)).get(credit_key, [])
    held = await invoice_store.lock_invoices(connection, [(organization, invoice) for invoice in named])
    balance = await payment_store.lock_credit(connection, credit_key)
    left = balance if amount is None else amount
    if left > balance or balance == 0:
        given, there = to_text(left, currency.exponent), to_text(balance, currency.exponent)
        fault = Fault("/amount", f"is {given}, the credit is {there}")
        return reject("customer-credit-exceeded", errors=[fault], amount=given, balance=there)
    wishes = wishes or _oldest_first(held, organization, named, left)
    plan = await plan_allocations(connection, organization, ledger, currency.code, customer, wishes, left)
    if isinstance(plan, Rejection):
        return plan
    if not plan.amount:
        return reject("no-open-invoice", customer=str(customer), currency=currency.code)
    application = new_id()
    key = BooksKey(organization, ledger, currency.code, on)
    books = await bookkeeping_for(connection, [key])
    tax = await cash_tax(connection, books, plan.rows.values())
    if (waits := tax.unknown(plan.rows)) is not None:
        return waits
    due = tax.due_between(plan.rows, plan.standings)
    draft = entries.credit_applied_entry(customer, plan.amount, currency, on, books.books(key), due)
    if isinstance(draft, Rejection):
        return draft
    newest = max(plan.rows.values(), key=lambda row: (row["created_at"], row["id"]))
    wish = PostingWish(
        organization=organization,
        ledger=ledger,
        document=document_name("credit-application", application),
        purpose="credit_applied",
        created_at=now,
        draft=draft,
        depends_on=issue_posting(organization, newest["id"], newest["created_at"]),
    )
    rows = [
        AllocationRow(organization, new_id(), "credit", application, invoice, part, on, None, now)
        for invoice, part in plan.parts
        if part
    ]
    await payment_store.insert_credit_application(
        connection, [organization, application, ledger, customer, currency.code, plan.amount, on, "requested", now]
    )
    await payment_store.move_credit(connection, {credit_key: -plan.amount})
    await store_standings(connection, plan.standings)
    await payment_store.insert_allocations(connection, rows)
    await want(connection, [prepare(wish, books)], now)
    await tell_paid(connection, plan, None, now)
    told = {"id": application, "customer": customer, "currency": currency.code}
    amounts = {"amount": plan.amount, "credit_left": balance - plan.amount}
    told |= {name: to_text(minor, currency.exponent) for name, minor in amounts.items()}
    placed = [allocation_words(row._asdict(), currency.code) for row in rows]
    return Done({**told, "allocations": placed}, CREATED)


def _oldest_first(
    held: Mapping[InvoiceKey, Row], organization: str, invoices: Sequence[UUID], left: int
) -> list[AllocationWish]:
    """As much of `left` as is open, on what is due first."""
    wishes: list[AllocationWish] = []
    for invoice in invoices:
        amount = min(left, int(held[organization, invoice]["open"]))
        if amount > 0:
            wishes.append(AllocationWish(invoice, amount))
            left -= amount
    return wishes


def due_by_row(tax: CashTax, plan: Plan, rows: Sequence[AllocationRow]) -> dict[UUID, list[Part]]:
    """The tax that each allocation makes due, one after the other."""
    standings = {key: standing_of(row) for key, row in plan.rows.items()}
    due: dict[UUID, list[Part]] = {}
    for row in rows:
        key = row.organization, row.invoice
        before = standings[key]
        after = domain.allocate(before, row.amount)
        assert not isinstance(after, Rejection), "it was planned so"
        standings[key] = Standing(domain.status_of(after, False, False), after, before.currency)
        due[row.id] = tax.due(key, before.amounts, after)
    return due


# --- shared with refunds ----------------------------------------------------------------------------------------------


def payment_posting(row: Row) -> UUID:
    """The entry of a payment's receipt."""
    document = document_name("payment", row["id"])
    return posting_id(row["organization"], document, "payment", row["created_at"])


async def money_wish(
    connection: Connection,
    payment: Row,
    purpose: str,
    now: datetime,
    draft: EntryDraft,
    before: Sequence[UUID],
) -> PostingWish:
    """An entry about a payment after its receipt; it waits for the first of `before` that is not posted yet."""
    organization = payment["organization"]
    states = await posting_store.states_of(connection, [(organization, each) for each in before])
    waits_for = next((each for each in before if states.get((organization, each)) not in (None, "posted")), None)
    return PostingWish(
        organization=organization,
        ledger=payment["ledger"],
        document=document_name("payment", payment["id"]),
        purpose=purpose,
        created_at=now,
        draft=draft,
        depends_on=waits_for,
    )


async def tell_paid(
    connection: Connection,
    plan: Plan,
    payment: UUID | None,
    now: datetime,
    discounted: Sequence[Discounted] = (),
) -> None:
    """Facts of invoices that something was put on, and of what was taken off them for that."""
    amounts: dict[UUID, int] = {}
    for invoice, amount in plan.parts:
        amounts[invoice] = amounts.get(invoice, 0) + amount
    facts = []
    for key, standing in plan.standings.items():
        row = changed_row(plan.rows[key], standing)
        facts.append(announcing.invoice_changed("paid", row, now, amounts[key[1]], payment_id=payment))
    for taken in discounted:
        key = taken.row.organization, taken.row.invoice
        row = changed_row(plan.rows[key], plan.standings[key])
        facts.append(announcing.invoice_changed("credited", row, now, taken.row.total, credit_note_id=None))
    await put(connection, facts)
