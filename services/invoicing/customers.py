"""Customers: what is known of them is sealed, what is looked for is hashed with a key, what is owed hangs on their id.

A name finds its customer by the keyed hash of the name folded (case, spaces); nothing in the database tells it to one
without the key. Erasing takes the sealed data and the hash away; documents and books keep the id.
"""

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

import asyncpg
import orjson

from libs.common.clock import new_id
from libs.common.db import Connection, Pool, transaction
from libs.common.errors import Fault, Rejection
from libs.common.money import ISO_4217
from libs.common.sealing import Sealer
from services.invoicing import customer_store, party_store
from services.invoicing.asking import CREATED, OK, Done
from services.invoicing.customer_store import CustomerRow
from services.invoicing.early_payment import Terms, as_terms
from services.invoicing.rejections import reject
from services.invoicing.rows import Row
from services.invoicing.words import early_payment_words, instant

PERSONAL: Final = ("name", "email", "address", "tax_ids", "contact")
"""What is sealed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CustomerWish:
    """A customer as it is wanted. `tax_ids` are by their scheme ("VAT": "DE123456789")."""

    name: str
    email: str | None = None
    address: Mapping[str, str] | None = None
    tax_ids: Mapping[str, str] | None = None
    contact: str | None = None
    currency: str | None = None
    payment_terms_days: int = 30
    external_id: str | None = None
    early_payment: Mapping[str, Any] | None = None

    def personal(self) -> dict[str, Any]:
        """What is to be sealed of it."""
        return {name: getattr(self, name) for name in PERSONAL if getattr(self, name) is not None}


def belongs_to(organization: str, customer: UUID) -> bytes:
    """The associated data of a customer's seal: it opens in its own row alone."""
    return f"customer/{organization}/{customer}".encode()


def name_hash(sealer: Sealer, organization: str, name: str) -> bytes:
    """What a name is found by, whatever its case and spaces."""
    folded = " ".join(unicodedata.normalize("NFKC", name).casefold().split())
    return sealer.keyed_hash(f"{organization}\x1f{folded}".encode())


def opened(sealer: Sealer, row: Row) -> dict[str, Any]:
    """A customer as its own organization is told, personal data and all; none of it where it was erased."""
    personal: dict[str, Any] = {}
    if row["sealed"] is not None:
        plain = sealer.open(row["key_id"], row["sealed"], belongs_to(row["organization"], row["id"]))
        personal = orjson.loads(plain)
    return {
        "id": row["id"],
        **{name: personal.get(name) for name in PERSONAL},
        "currency": row["currency"],
        "payment_terms_days": row["payment_terms_days"],
        "early_payment": early_payment_words(row["discount_percent"], row["discount_days"]),
        "external_id": row["external_id"],
        "version": row["version"],
        "created_at": instant(row["created_at"]),
        "erased_at": instant(row["erased_at"]),
    }


def row_of(
    sealer: Sealer, organization: str, wish: CustomerWish, now: datetime, terms: Terms | None = None
) -> CustomerRow:
    """A new customer's row; `terms` are those for early payment."""
    customer = new_id()
    sealed = sealer.seal(orjson.dumps(wish.personal()), belongs_to(organization, customer))
    return CustomerRow(
        organization,
        customer,
        name_hash(sealer, organization, wish.name),
        sealed.value,
        sealed.key_id,
        wish.currency,
        wish.payment_terms_days,
        wish.external_id,
        now,
        None if terms is None else terms.percent,
        None if terms is None else terms.within_days,
    )


def _terms(wanted: Mapping[str, Any] | None) -> Terms | Rejection | None:
    return None if wanted is None else as_terms(Decimal(wanted["percent"]), wanted["within_days"])


async def create_customer(
    connection: Connection, sealer: Sealer, organization: str, wish: CustomerWish, now: datetime
) -> Done | Rejection:
    """Stores a new customer. Two of one name are two; an external id is one's alone."""
    if (refused := _currency_fault(wish.currency)) is not None:
        return refused
    terms = _terms(wish.early_payment)
    if isinstance(terms, Rejection):
        return terms
    row = row_of(sealer, organization, wish, now, terms)
    if not await customer_store.insert_customers(connection, [row]):
        return reject("duplicate-customer", external_id=wish.external_id)
    stored = await customer_store.lock_customer(connection, organization, row.id)
    assert stored is not None
    return Done(opened(sealer, stored), CREATED)


async def patch_customer(
    connection: Connection, sealer: Sealer, organization: str, customer: UUID, patch: Mapping[str, Any]
) -> Done | Rejection:
    """Changes what `patch` names and leaves the rest; `expected_version` must be the customer's where it is given."""
    row = await customer_store.lock_customer(connection, organization, customer)
    if row is None:
        return reject("unknown-customer", customer=str(customer))
    if row["erased_at"] is not None:
        return reject("customer-erased", customer=str(customer))
    expected = patch.get("expected_version")
    if expected is not None and expected != row["version"]:
        return reject("version-conflict", version=row["version"], expected_version=expected)
    if (refused := _currency_fault(patch.get("currency"))) is not None:
        return refused
    known = opened(sealer, row)
    terms = _terms(patch.get("early_payment") or known["early_payment"])
    if isinstance(terms, Rejection):
        return terms
    merged = {**known, **{name: value for name, value in patch.items() if name != "expected_version"}}
    personal = {name: merged[name] for name in PERSONAL if merged[name] is not None}
    sealed = sealer.seal(orjson.dumps(personal), belongs_to(organization, customer))
    changed = {
        "name_hash": name_hash(sealer, organization, merged["name"]),
        "sealed": sealed.value,
        "key_id": sealed.key_id,
        "currency": merged["currency"],
        "payment_terms_days": merged["payment_terms_days"],
        "external_id": merged["external_id"],
        "erased_at": None,
        "discount_percent": None if terms is None else terms.percent,
        "discount_days": None if terms is None else terms.within_days,
    }
    merged["early_payment"] = early_payment_words(changed["discount_percent"], changed["discount_days"])
    await customer_store.update_customer(connection, organization, customer, changed)
    return Done({**merged, "version": row["version"] + 1}, OK)


async def erase_customer(
    connection: Connection, sealer: Sealer, organization: str, customer: UUID, now: datetime
) -> Done | Rejection:
    """Takes a customer's personal data away for good, from what was issued too; documents, money and books keep the id.

    Twice is once.
    """
    row = await customer_store.lock_customer(connection, organization, customer)
    if row is None:
        return reject("unknown-customer", customer=str(customer))
    if row["erased_at"] is None:
        gone = {**dict(row), "name_hash": None, "sealed": None, "key_id": None, "external_id": None, "erased_at": now}
        await customer_store.update_customer(connection, organization, customer, gone)
        await party_store.erase_buyer(connection, organization, customer, now)
        row = await customer_store.lock_customer(connection, organization, customer)
        assert row is not None
    return Done(opened(sealer, row), OK)


async def reseal_customers(pool: Pool, sealer: Sealer, batch: int = 200) -> int:
    """Seals again with the newest key what older ones sealed, batch by batch; gives how many."""
    count = 0
    while True:
        async with transaction(pool) as connection:
            rows = await customer_store.sealed_with_others(connection, sealer.key_id, batch)
            for row in rows:
                owner = belongs_to(row["organization"], row["id"])
                sealed = sealer.seal(sealer.open(row["key_id"], row["sealed"], owner), owner)
                await customer_store.reseal(connection, row["organization"], row["id"], sealed.value, sealed.key_id)
        count += len(rows)
        if not rows:
            return count


# --- finding ----------------------------------------------------------------------------------------------------------


async def find_customers(
    connection: Connection, sealer: Sealer, wanted: Sequence[tuple[str, str]]
) -> dict[tuple[str, str], asyncpg.Record]:
    """Customers by (organization, id or name); those that nobody is are left out, the erased too."""
    ids: dict[tuple[str, UUID], tuple[str, str]] = {}
    names: dict[tuple[str, bytes], list[tuple[str, str]]] = {}
    for key in dict.fromkeys(wanted):
        organization, text = key
        if (customer := as_uuid(text)) is not None:
            ids[organization, customer] = key
        else:
            names.setdefault((organization, name_hash(sealer, organization, text)), []).append(key)
    found: dict[tuple[str, str], asyncpg.Record] = {}
    for row in await customer_store.customers_by_id(connection, list(ids)) if ids else ():
        found[ids[row["organization"], row["id"]]] = row
    for row in await customer_store.customers_by_name(connection, list(names)) if names else ():
        found.update(dict.fromkeys(names[row["organization"], row["name_hash"]], row))
    return {key: row for key, row in found.items() if row["erased_at"] is None}


async def found_or_made(
    connection: Connection, sealer: Sealer, wanted: Sequence[tuple[str, str]], now: datetime
) -> dict[tuple[str, str], asyncpg.Record]:
    """As `find_customers`, and a name that nobody has yet is a new customer's; the short form's way."""
    found = await find_customers(connection, sealer, wanted)
    missing = sorted({key for key in wanted if key not in found and as_uuid(key[1]) is None})
    if not missing:
        return found
    hashes = sorted({(organization, name_hash(sealer, organization, name)) for organization, name in missing})
    for organization, hashed in hashes:
        await customer_store.hold_name(connection, organization, hashed)
    found = await find_customers(connection, sealer, wanted)
    made = {}
    for organization, name in missing:
        if (organization, name) not in found:
            row = row_of(sealer, organization, CustomerWish(name=name), now)
            made[organization, row.name_hash] = row
    await customer_store.insert_customers(connection, list(made.values()))
    return await find_customers(connection, sealer, wanted) if made else found


def as_uuid(text: str) -> UUID | None:
    """The id that a text is, if it is one."""
    try:
        return UUID(text)
    except ValueError:
        return None


def _currency_fault(currency: str | None) -> Rejection | None:
    if currency is not None and currency not in ISO_4217:
        return reject("unknown-currency", errors=[Fault("/currency", f"is {currency}")], currency=currency)
    return None
