"""Who sold and who bought, frozen at issue: a document printed later is the one that was issued.

    hold     the customers of what is to be issued, before any number is drawn -> what is sealed of each, or why not
    freeze   seller and buyer, each sealed for its invoice and part -> stored with the invoice, in its transaction
    known    the stored row -> seller and buyer as they were; a buyer who was erased is nobody

The customers are held until the commit, so that one who is erased meanwhile is erased from these invoices too. A
rotation of keys seals the parties again; an erasure takes the buyer away, and leaves seller and document hash.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple
from uuid import UUID

import orjson

from libs.common.db import Connection, Pool, transaction
from libs.common.sealing import Sealer
from services.invoicing import party_store
from services.invoicing.catalog_store import LedgerKey, LedgerTerms
from services.invoicing.customers import belongs_to as customers_own
from services.invoicing.party_store import PartyRow, ResealedRow
from services.invoicing.rows import Row

BATCH: Final = 200

Customer = tuple[str, UUID]
"""Organization and the customer's id."""


class Parties(NamedTuple):
    """Seller and buyer by what is known of them; `buyer` is empty where it was erased."""

    seller: Mapping[str, Any]
    buyer: Mapping[str, Any]


class Issued(NamedTuple):
    """An invoice that is issued now, as far as its parties go."""

    organization: str
    invoice: UUID
    ledger: str
    customer: UUID


def belongs_to(organization: str, invoice: UUID, part: str) -> bytes:
    """The associated data of a part's seal: it opens as that part of its own invoice alone."""
    return f"issued/{organization}/{invoice}/{part}".encode()


async def hold(connection: Connection, sealer: Sealer, customers: Sequence[Customer]) -> dict[Customer, bytes]:
    """What is known of customers, as JSON; the erased are left out."""
    held = await party_store.hold_customers(connection, customers)
    return {
        (row["organization"], row["id"]): sealer.open(
            row["key_id"], row["sealed"], customers_own(row["organization"], row["id"])
        )
        for row in held
        if row["sealed"] is not None
    }


async def freeze(
    connection: Connection,
    sealer: Sealer,
    issued: Sequence[Issued],
    terms: Mapping[LedgerKey, LedgerTerms],
    buyers: Mapping[Customer, bytes],
) -> None:
    """Stores the parties of invoices whose customers are held."""
    sellers = {key: orjson.dumps(terms[key].seller) for key in {(each.organization, each.ledger) for each in issued}}
    rows = []
    for organization, invoice, ledger, customer in issued:
        seller = sealer.seal(sellers[organization, ledger], belongs_to(organization, invoice, "seller"))
        buyer = sealer.seal(buyers[organization, customer], belongs_to(organization, invoice, "buyer"))
        rows.append(PartyRow(organization, invoice, customer, seller.value, buyer.value, buyer.key_id))
    await party_store.insert_parties(connection, rows)


def known(sealer: Sealer, organization: str, invoice: UUID, row: Row) -> Parties:
    """The parties of a stored row."""
    seller = sealer.open(row["key_id"], row["seller"], belongs_to(organization, invoice, "seller"))
    if row["buyer"] is None:
        return Parties(orjson.loads(seller), {})
    buyer = sealer.open(row["key_id"], row["buyer"], belongs_to(organization, invoice, "buyer"))
    return Parties(orjson.loads(seller), orjson.loads(buyer))


async def reseal_parties(pool: Pool, sealer: Sealer, batch: int = BATCH) -> int:
    """Seals again with the newest key what older ones sealed, batch by batch; gives how many invoices."""
    count, after = 0, party_store.FIRST
    while True:
        async with transaction(pool) as connection:
            found = await party_store.sealed_with_others(connection, sealer.key_id, after, batch)
            await party_store.reseal(connection, [_again(sealer, row) for row in found])
        if not found:
            return count
        count, after = count + len(found), (found[-1]["organization"], found[-1]["invoice"])


def _again(sealer: Sealer, row: Row) -> ResealedRow:
    again = {}
    for part in ("seller", "buyer"):
        owner = belongs_to(row["organization"], row["invoice"], part)
        if row[part] is not None:
            again[part] = sealer.seal(sealer.open(row["key_id"], row[part], owner), owner).value
    return ResealedRow(row["organization"], row["invoice"], again["seller"], again.get("buyer"), sealer.key_id)
