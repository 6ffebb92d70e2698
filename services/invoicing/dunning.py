"""Dunning: reminders of what is overdue, sent in letters, level after level; holds that stop them.

    who is overdue -> planned -> the listed invoices held -> planned again as they are now
    -> fees issued as invoices of their own -> letters and steps -> levels of the invoices -> dunning-sent facts

All of it is one transaction: a run is whole or was not. A letter's id and its fee's are derived from what it raises,
and an invoice has a level once in a round, so neither a second run nor a repeated one sends anything twice. A letter
whose fee cannot be made is not sent; the others are.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

import orjson

from libs.common.clock import derived_id, new_id
from libs.common.db import Connection
from libs.common.errors import Fault, Rejection
from libs.common.money import ISO_4217, to_text
from libs.common.outbox import put
from libs.common.sealing import Sealer
from services.invoicing import ageing, announcing, customers, dunning_store, invoice_store, reminding
from services.invoicing.asking import CREATED, OK, Done
from services.invoicing.drafts import TaxTerms
from services.invoicing.dunning_store import LetterRow, StepRow
from services.invoicing.invoice_plans import InvoiceWish, LineWish
from services.invoicing.invoices import make_invoices
from services.invoicing.rejections import reject
from services.invoicing.reminding import Letter, Level, OpenInvoice, Stop
from services.invoicing.rows import Row
from services.invoicing.words import amount_text, instant

CUSTOMERS: Final = 500
LETTERS_MAX: Final = 500
"""Of one run: what is left is found by the next."""

FEE_TAX: Final = TaxTerms("O", Decimal(0), None, "Compensation for late payment")


@dataclass(frozen=True, slots=True)
class Run:
    """A ledger's dunning on a day."""

    organization: str
    ledger: str
    on: date


@dataclass(frozen=True, slots=True)
class _Planned:
    """A letter with its ids, and its fee in minor units; `number` is that of the fee's invoice."""

    letter: Letter
    id: UUID
    fee: int
    number: str | None = None


# --- levels and holds -------------------------------------------------------------------------------------------------


async def put_levels(
    connection: Connection,
    organization: str,
    ledger: str,
    levels: Sequence[Level],
    fee_account: str | None,
    now: datetime,
) -> Done | Rejection:
    """Makes these the ledger's levels; what was sent stays as it was."""
    if (refused := reminding.check(levels)) is not None:
        return refused
    kept = orjson.dumps([asdict(level) for level in levels]).decode()
    return Done(
        level_words(await dunning_store.store_levels(connection, organization, ledger, kept, fee_account, now)), OK
    )


async def set_hold(
    connection: Connection, sealer: Sealer, organization: str, wish: Mapping[str, Any], now: datetime
) -> Done | Rejection:
    """No reminders of an invoice or to a customer, until a day or until it is released."""
    if wish["kind"] == "promise" and wish["until"] is None:
        return reject("promise-without-day", errors=[Fault("/until", "is missing")])
    invoice, customer = wish["invoice_id"], None
    if invoice is not None:
        if (organization, invoice) not in await invoice_store.lock_invoices(connection, [(organization, invoice)]):
            return reject("unknown-invoice", errors=[Fault("/invoice_id", f"is {invoice}")])
    else:
        named = organization, wish["customer"]
        found = (await customers.find_customers(connection, sealer, [named])).get(named)
        if found is None:
            return reject("unknown-customer", errors=[Fault("/customer", f"is {wish['customer'][:60]}")])
        customer = found["id"]
    row = {
        **wish,
        "organization": organization,
        "id": new_id(),
        "invoice": invoice,
        "customer": customer,
        "created_at": now,
    }
    return Done(hold_words(await dunning_store.insert_hold(connection, row)), CREATED)


async def release_hold(connection: Connection, organization: str, hold: UUID, now: datetime) -> Done | Rejection:
    """Reminders go on."""
    row = await dunning_store.lock_hold(connection, organization, hold)
    if row is None:
        return reject("unknown-dunning-hold", hold=str(hold))
    if row["released_at"] is not None:
        return reject("hold-released", hold=str(hold))
    await dunning_store.release_hold(connection, organization, hold, now)
    return Done(hold_words({**dict(row), "released_at": now}), OK)


# --- a run ------------------------------------------------------------------------------------------------------------


async def preview(connection: Connection, run: Run) -> dict[str, Any] | Rejection:
    """What a run would send on a day, and what it would not. Nothing is written."""
    row = await dunning_store.read_levels(connection, run.organization, run.ledger)
    if row is None:
        return reject("dunning-levels-missing", errors=[Fault("/ledger", f"is {run.ledger}")])
    levels = levels_of(row)
    letters, stopped, more = await _letters(connection, run, levels)
    planned = [_planned(run, levels, letter) for letter in letters]
    return _run_words(run, levels, planned, stopped, [], more, is_sent=False)


async def run_dunning(connection: Connection, sealer: Sealer, run: Run, now: datetime) -> Done | Rejection:
    """Raises what is due to its level and sends the letters. Once more on the same day it finds nothing."""
    if run.on > now.date() + timedelta(days=1):
        return reject("dunning-ahead", errors=[Fault("/on", f"is {run.on}")], today=str(now.date()))
    row = await dunning_store.read_levels(connection, run.organization, run.ledger)
    if row is None:
        return reject("dunning-levels-missing", errors=[Fault("/ledger", f"is {run.ledger}")])
    levels = levels_of(row)
    found, stopped, more = await _letters(connection, run, levels)
    keys = [(run.organization, invoice.id) for letter in found for invoice in letter.listed]
    await invoice_store.lock_invoices(connection, keys)
    held = await _open(connection, run, [letter.customer for letter in found])
    parties = {(letter.customer, letter.currency) for letter in found}
    again, _ = reminding.letters(levels, held, run.on)
    planned = [_planned(run, levels, each) for each in again if (each.customer, each.currency) in parties]
    sent, refused = await _with_fees(connection, sealer, run, levels, planned, row["fee_account"], now)
    await _send(connection, run, levels, sent, now)
    return Done(_run_words(run, levels, sent, stopped, refused, more, is_sent=True), OK)


async def _letters(
    connection: Connection, run: Run, levels: Sequence[Level]
) -> tuple[list[Letter], list[OpenInvoice], bool]:
    """The letters of a day, what is stopped, and whether there are more than a run sends."""
    found: list[Letter] = []
    stopped: list[OpenInvoice] = []
    days = [level.days_after_due for level in levels]
    after: UUID | None = None
    while True:
        parties = await dunning_store.overdue_customers(
            connection, run.organization, run.ledger, run.on, days, after, CUSTOMERS
        )
        letters, held = reminding.letters(levels, await _open(connection, run, parties), run.on)
        found += letters
        stopped += held
        if len(found) > LETTERS_MAX:
            return found[:LETTERS_MAX], stopped, True
        if len(parties) < CUSTOMERS:
            return found, stopped, False
        after = parties[-1]


async def _open(connection: Connection, run: Run, parties: Sequence[UUID]) -> list[OpenInvoice]:
    if not parties:
        return []
    rows = await dunning_store.open_of(connection, run.organization, run.ledger, run.on, sorted(set(parties)))
    return [_open_invoice(row) for row in rows]


def _open_invoice(row: Row) -> OpenInvoice:
    return OpenInvoice(
        id=row["id"],
        customer=row["customer"],
        currency=row["currency"],
        number=row["number"],
        issued_on=row["issued_on"],
        due_on=row["due_on"],
        total=int(row["total"]),
        open=int(row["open"]),
        level=row["dunning_level"],
        round=row["dunning_round"],
        last_on=row["last_on"],
        is_fee=row["is_fee"],
        stop=_stop(row),
    )


def _stop(row: Row) -> Stop | None:
    if row["is_erased"]:
        return "customer-erased"
    if row["is_disputed"]:
        return "dispute"
    held: Stop | None = row["held"]
    return held


def _planned(run: Run, levels: Sequence[Level], letter: Letter) -> _Planned:
    first = letter.raised[0]
    name = f"dunning/{first.invoice.id}/{first.invoice.round}"
    return _Planned(
        letter,
        derived_id(_begun(run), run.organization, "invoicing", name, str(first.level)),
        levels[letter.level - 1].fee(letter.currency),
    )


def _begun(run: Run) -> datetime:
    """When ids of a run begin: with its day, or with 1970, before which no id begins."""
    return max(datetime.combine(run.on, time(), UTC), datetime(1970, 1, 1, tzinfo=UTC))


def _fee_id(run: Run, planned: _Planned) -> UUID:
    return derived_id(_begun(run), run.organization, "invoicing", f"dunning-letter/{planned.id}", "fee")


async def _with_fees(
    connection: Connection,
    sealer: Sealer,
    run: Run,
    levels: Sequence[Level],
    planned: Sequence[_Planned],
    fee_account: str | None,
    now: datetime,
) -> tuple[list[_Planned], list[dict[str, Any]]]:
    """The letters whose fee is an issued invoice now, or that cost nothing; and why the others cannot be sent."""
    wishes = [_fee_wish(run, levels, each, fee_account) for each in planned if each.fee]
    answers = iter(await make_invoices(connection, sealer, wishes, now)) if wishes else iter(())
    sent: list[_Planned] = []
    refused: list[dict[str, Any]] = []
    for each in planned:
        made = next(answers) if each.fee else None
        if isinstance(made, Rejection):
            refused.append({"customer": each.letter.customer, "currency": each.letter.currency, "code": made.code,
                            "detail": made.detail})  # fmt: skip
        else:
            sent.append(_Planned(each.letter, each.id, each.fee, made.body["number"] if made else None))
    return sent, refused


def _fee_wish(run: Run, levels: Sequence[Level], planned: _Planned, fee_account: str | None) -> InvoiceWish:
    letter = planned.letter
    price = Decimal(to_text(planned.fee, ISO_4217[letter.currency].exponent))
    title = levels[letter.level - 1].title
    line = LineWish(description=f"Fee: {title}", unit_price=price, tax=FEE_TAX, revenue_account=fee_account)
    return InvoiceWish(
        id=_fee_id(run, planned),
        organization=run.organization,
        ledger=run.ledger,
        customer=str(letter.customer),
        currency=letter.currency,
        issued_on=run.on,
        lines=(line,),
        issue=True,
    )


async def _send(
    connection: Connection, run: Run, levels: Sequence[Level], sent: Sequence[_Planned], now: datetime
) -> None:
    if not sent:
        return
    rows = [
        LetterRow(
            organization=run.organization,
            id=each.id,
            ledger=run.ledger,
            customer=each.letter.customer,
            currency=each.letter.currency,
            level=each.letter.level,
            sent_on=run.on,
            fee_invoice=_fee_id(run, each) if each.fee else None,
            content=orjson.dumps(_content(run, levels, each), default=str).decode(),
            created_at=now,
        )
        for each in sent
    ]
    steps = [
        StepRow(run.organization, raised.invoice.id, raised.invoice.round, raised.level, each.id, run.on)
        for each in sent
        for raised in each.letter.raised
    ]
    await dunning_store.insert_letters(connection, rows, steps)
    raised = await dunning_store.raise_levels(connection, steps)
    await put(
        connection, [announcing.dunning_sent(row, run.on, now) for row in sorted(raised, key=lambda row: row["id"])]
    )


# --- as it is kept and told -------------------------------------------------------------------------------------------


def _content(run: Run, levels: Sequence[Level], planned: _Planned) -> dict[str, Any]:
    """What a letter says, in minor units: its level's words, the open invoices and how old they are."""
    letter = planned.letter
    level = levels[letter.level - 1]
    raised = {each.invoice.id: each.level for each in letter.raised}
    owed = [
        ageing.OpenRow("", letter.currency, each.open, each.due_on, each.issued_on) for each in letter.listed
    ]  # fmt: skip
    (aged,) = ageing.buckets(run.on, "due", owed)
    return {
        "title": level.title,
        "text": level.text,
        "rows": [
            {
                "invoice": each.id,
                "number": each.number,
                "issued_on": each.issued_on,
                "due_on": each.due_on,
                "days_overdue": max((run.on - each.due_on).days, 0),
                "total": each.total,
                "open": each.open,
                "level": raised.get(each.id, each.level),
                "is_raised": each.id in raised,
            }
            for each in letter.listed
        ],
        "by_age": dict(zip(ageing.labels(), aged.columns, strict=True)),
        "open": letter.open,
        "fee": planned.fee,
        "fee_number": planned.number,
    }


def levels_of(row: Row) -> list[Level]:
    """A ledger's stored levels."""
    return [Level(**level) for level in orjson.loads(row["levels"])]


def level_words(row: Row) -> dict[str, Any]:
    """A ledger's levels as callers are told."""
    levels = [{"level": place, **asdict(level)} for place, level in enumerate(levels_of(row), 1)]
    return {"ledger": row["ledger"], "levels": levels, "fee_account": row["fee_account"], "version": row["version"]}


def hold_words(row: Row) -> dict[str, Any]:
    """A hold as callers are told."""
    return {
        "id": row["id"],
        "invoice": row["invoice"],
        "customer": row["customer"],
        "kind": row["kind"],
        "until": row["until"],
        "reason": row["reason"],
        "created_at": instant(row["created_at"]),
        "released_at": instant(row["released_at"]),
    }


def letter_words(row: Row) -> dict[str, Any]:
    """A letter as callers are told, its amounts as text."""
    currency = row["currency"]
    content = orjson.loads(row["content"])
    told = [
        {**each, "total": amount_text(each["total"], currency), "open": amount_text(each["open"], currency)}
        for each in content["rows"]
    ]
    return {
        "id": row["id"],
        "ledger": row["ledger"],
        "customer": row["customer"],
        "currency": currency,
        "level": row["level"],
        "title": content["title"],
        "text": content["text"],
        "sent_on": row["sent_on"],
        "invoices": told,
        "by_age": {name: amount_text(amount, currency) for name, amount in content["by_age"].items()},
        "open": amount_text(content["open"], currency),
        "fee": amount_text(content["fee"], currency),
        "fee_invoice": row["fee_invoice"],
        "fee_number": content["fee_number"],
        "due": amount_text(content["open"] + content["fee"], currency),
        "created_at": instant(row["created_at"]),
    }


def _run_words(
    run: Run,
    levels: Sequence[Level],
    planned: Sequence[_Planned],
    stopped: Sequence[OpenInvoice],
    refused: Sequence[Mapping[str, Any]],
    more: bool,
    *,
    is_sent: bool,
) -> dict[str, Any]:
    return {
        "ledger": run.ledger,
        "on": run.on,
        "letters": [_planned_words(run, levels, each, is_sent=is_sent) for each in planned],
        "stopped": [
            {"invoice": each.id, "number": each.number, "customer": each.customer, "level": each.level,
             "reason": each.stop}
            for each in stopped
        ],
        "refused": list(refused),
        "more": more,
    }  # fmt: skip


def _planned_words(run: Run, levels: Sequence[Level], planned: _Planned, *, is_sent: bool) -> dict[str, Any]:
    letter, currency = planned.letter, planned.letter.currency
    return {
        "id": planned.id if is_sent else None,
        "customer": letter.customer,
        "currency": currency,
        "level": letter.level,
        "title": levels[letter.level - 1].title,
        "open": amount_text(letter.open, currency),
        "fee": amount_text(planned.fee, currency),
        "fee_invoice": _fee_id(run, planned) if is_sent and planned.fee else None,
        "fee_number": planned.number,
        "raised": [
            {"invoice": each.invoice.id, "number": each.invoice.number, "level": each.level,
             "days_overdue": (run.on - each.invoice.due_on).days,
             "open": amount_text(each.invoice.open, currency)}
            for each in letter.raised
        ],
    }  # fmt: skip
