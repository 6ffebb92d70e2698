"""Tax returns: opened period after period, seen while they are open, filed once, and what comes late.

    open    the day after the last return of the number, or later with a reason
    file    all lines of its days that are on no filed return, and of filed days those that came since: corrections
            -> stored, and never changed again

A document that comes after its period was filed (a credit note or a void too) is a line with a tax point in a filed
period: the next return has it, marked as a correction. Days of a gap were never filed and are corrected nowhere.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from libs.common.clock import new_id
from libs.common.db import Connection
from libs.common.errors import Fault, Rejection
from libs.common.money import ISO_4217
from services.invoicing import tax_reads, tax_return_store
from services.invoicing.asking import CREATED, OK, Done
from services.invoicing.catalog_store import ledger_terms
from services.invoicing.rejections import reject
from services.invoicing.rows import Row
from services.invoicing.tax_gathering import Wanted, gather, registrations_of
from services.invoicing.tax_lines import Based, TaxLine
from services.invoicing.tax_registrations import Registered, currency_of
from services.invoicing.words import amount_text, instant

OVERLAP: Final = timedelta(days=1)
"""Longer than any transaction lives: what was begun before a filing and came to be after it is looked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReturnWish:
    """A return as it is wanted."""

    tax_number: str
    from_on: date
    to_on: date
    basis: str | None = None
    gap_reason: str | None = None


def return_words(row: Row) -> dict[str, Any]:
    """A return; its sums once it is filed."""
    filed = row["state"] == "filed"
    return {
        "id": str(row["id"]),
        "tax_number": row["tax_number"],
        "from": row["from_on"],
        "to": row["to_on"],
        "basis": row["basis"],
        "currency": row["currency"],
        "state": row["state"],
        "gap_reason": row["gap_reason"],
        "base": amount_text(row["base"], row["currency"]) if filed else None,
        "tax": amount_text(row["tax"], row["currency"]) if filed else None,
        "created_at": instant(row["created_at"]),
        "filed_at": instant(row["filed_at"]),
        "filed_by": row["filed_by"],
    }


async def register(connection: Connection, organization: str, row: Registered, now: datetime) -> Done | Rejection:
    """From a day on a ledger reports under this number."""
    if row.currency not in ISO_4217:
        return reject("unknown-currency", errors=[Fault("/currency", f"is {row.currency}")])
    known = await tax_reads.registrations(connection, organization)
    same = next((each for each in known if each.tax_number == row.tax_number), None)
    if same is not None and same.currency != row.currency:
        fault = Fault("/currency", f"is {row.currency}; the number's returns are in {same.currency}")
        return reject("tax-currency-differs", errors=[fault], currency=same.currency)
    if any((each.ledger, each.valid_from) == (row.ledger, row.valid_from) for each in known):
        return reject("tax-number-taken", errors=[Fault("/valid_from", "is taken")], ledger=row.ledger)
    await tax_reads.insert_tax_number(connection, organization, row, now)
    return Done(registered_words(row), CREATED)


def registered_words(row: Registered) -> dict[str, Any]:
    """Under which number a ledger reports."""
    return row._asdict()


async def basis_of(
    connection: Connection, organization: str, registered: Iterable[Registered], tax_number: str
) -> set[str]:
    """The bases of the ledgers that report under a number."""
    ledgers = {row.ledger for row in registered if row.tax_number == tax_number}
    terms = await ledger_terms(connection, [(organization, code) for code in sorted(ledgers)])
    return {each.tax_basis for each in terms.values()}


async def open_return(connection: Connection, organization: str, wish: ReturnWish, now: datetime) -> Done | Rejection:
    """Begins the return of the next period."""
    if wish.to_on < wish.from_on:
        return reject("validity-out-of-order", errors=[Fault("/to", f"is before {wish.from_on}")])
    registered = await registrations_of(connection, organization)
    currency = currency_of(registered, wish.tax_number)
    if currency is None:
        return reject("unknown-tax-number", errors=[Fault("/tax_number", f"is {wish.tax_number[:60]}")])
    bases = await basis_of(connection, organization, registered, wish.tax_number)
    basis = wish.basis or min(bases)
    if bases != {basis}:
        fault = Fault("/basis", f"is {basis}; the ledgers are on {' and '.join(sorted(bases))} basis")
        return reject("tax-basis-differs", errors=[fault], basis=basis)
    await tax_return_store.hold_number(connection, organization, wish.tax_number)
    before = await tax_return_store.returns_of(connection, organization, wish.tax_number)
    if before and before[-1]["basis"] != basis:
        fault = Fault("/basis", f"is {basis}; the returns before it are on {before[-1]['basis']} basis")
        return reject("tax-basis-differs", errors=[fault], basis=basis)
    if refused := _place_fault(before, wish):
        return refused
    row = (new_id(), wish.tax_number, wish.from_on, wish.to_on, basis, currency, wish.gap_reason, now)
    await tax_return_store.insert_return(connection, organization, row)
    stored = await tax_return_store.read_return(connection, organization, row[0])
    assert stored is not None, "it was stored a moment ago"
    return Done(return_words(stored), CREATED)


def _place_fault(before: Sequence[Row], wish: ReturnWish) -> Rejection | None:
    """Returns follow one another, without a day between them unless it is said why."""
    if not before:
        return None
    last: date = before[-1]["to_on"]
    due = last + timedelta(days=1)
    if wish.from_on < due:
        fault = Fault("/from", f"is {wish.from_on}; the returns of the number reach to {last}")
        return reject("tax-return-overlaps", errors=[fault], next_from=due.isoformat())
    if wish.from_on > due and not wish.gap_reason:
        fault = Fault("/from", f"is {wish.from_on}; the next day is {due}, or say why in gap_reason")
        return reject("tax-return-gap", errors=[fault], next_from=due.isoformat())
    return None


async def lines_of(connection: Connection, organization: str, row: Row) -> list[TaxLine]:
    """What an open return would say now: of its own days, and corrections of filed ones."""
    wanted = Wanted(
        organization,
        row["tax_number"],
        row["currency"],
        row["basis"],
        await registrations_of(connection, organization),
    )
    lines: list[TaxLine] = []
    for filed in await tax_return_store.returns_of(connection, organization, row["tax_number"]):
        if filed["state"] == "filed" and filed["to_on"] < row["from_on"]:
            since = filed["filed_at"] - OVERLAP
            period = filed["from_on"], filed["to_on"]
            lines += await gather(connection, wanted, *period, known_after=since, unfiled=True)
    return lines + await gather(connection, wanted, row["from_on"], row["to_on"], unfiled=True)


async def file_return(
    connection: Connection, organization: str, tax_return: UUID, by: str, now: datetime
) -> Done | Rejection:
    """Freezes what a return says."""
    row = await _held(connection, organization, tax_return)
    if isinstance(row, Rejection):
        return row
    if row["to_on"] >= now.date():
        return reject("tax-period-not-over", tax_return=str(tax_return), to=row["to_on"].isoformat())
    before = await tax_return_store.returns_of(connection, organization, row["tax_number"])
    if any(each["state"] == "open" and each["from_on"] < row["from_on"] for each in before):
        return reject("earlier-return-open", tax_return=str(tax_return))
    lines = await lines_of(connection, organization, row)
    missing = [line for line in lines if line.reported is None]
    if missing:
        said = f"{missing[0].number}: {missing[0].currency} to {row['currency']} on {missing[0].rate_on}"
        return reject("rate-missing", f"It is of {said}.", document=str(missing[0].document))
    stored = [_stored(organization, row, place, line) for place, line in enumerate(lines, 1)]
    await tax_return_store.insert_lines(connection, stored)
    sums = [line.reported for line in lines if line.reported is not None]
    base, tax = sum(each.base for each in sums), sum(each.tax for each in sums)
    await tax_return_store.file_return(connection, organization, tax_return, base, tax, by, now)
    told = {**dict(row), "state": "filed", "base": base, "tax": tax, "filed_at": now, "filed_by": by}
    return Done({**return_words(told), "lines": len(lines)}, OK)


async def take_return_back(connection: Connection, organization: str, tax_return: UUID) -> Done | Rejection:
    """An open return that was begun by mistake is no more; only the last one of its number."""
    row = await _held(connection, organization, tax_return)
    if isinstance(row, Rejection):
        return row
    last = await tax_return_store.last_day(connection, organization, row["tax_number"])
    if last != row["to_on"]:
        return reject("tax-return-gap", tax_return=str(tax_return))
    await tax_return_store.remove_return(connection, organization, tax_return)
    return Done(return_words(row), OK)


async def _held(connection: Connection, organization: str, tax_return: UUID) -> Row | Rejection:
    """An open return, nobody else at work on its number until the commit."""
    row = await tax_return_store.read_return(connection, organization, tax_return)
    if row is None:
        return reject("unknown-tax-return", tax_return=str(tax_return))
    await tax_return_store.hold_number(connection, organization, row["tax_number"])
    row = await tax_return_store.read_return(connection, organization, tax_return)
    if row is None:
        return reject("unknown-tax-return", tax_return=str(tax_return))
    if row["state"] == "filed":
        return reject("tax-return-filed", tax_return=str(tax_return))
    return row


def _stored(organization: str, row: Row, place: int, line: TaxLine) -> tuple[Any, ...]:
    assert line.reported is not None, "a rate was there"
    return (
        organization,
        row["id"],
        place,
        line.ledger,
        line.source,
        line.part,
        line.kind,
        line.document,
        line.number,
        line.tax_point_on,
        line.tax_point_on < row["from_on"],
        line.category,
        line.rate,
        line.exemption_code,
        line.exemption_reason,
        line.currency,
        line.own.base,
        line.own.tax,
        line.reported.base,
        line.reported.tax,
    )


def kept_line(row: Row) -> TaxLine:
    """A line as it was filed."""
    return TaxLine(
        ledger=row["ledger"],
        source=row["source"],
        part=row["part"],
        kind=row["kind"],
        document=row["document"],
        number=row["number"],
        tax_point_on=row["tax_point_on"],
        category=row["category"],
        rate=Decimal(row["rate"]),
        exemption_code=row["exemption_code"],
        exemption_reason=row["exemption_reason"],
        currency=row["currency"],
        own=Based(int(row["base"]), int(row["tax"])),
        rate_on=row["tax_point_on"],
        posting=("", ""),
        reported=Based(int(row["base_reported"]), int(row["tax_reported"])),
    )
