"""Payouts: what a processor held for us is at the bank. Stored once by the provider's id, and asked for at the ledger.

A payout's items say what it is made of; fees among them are those that no payment told of, and are booked here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Protocol
from uuid import UUID

import orjson

from libs.common.clock import derived_id
from libs.common.db import Connection
from libs.common.errors import Rejection
from libs.common.money import Currency
from services.invoicing import payout_store, posting_rules
from services.invoicing.asked_amounts import minor_of
from services.invoicing.bookkeeping import Bookkeeping, BooksKey, bookkeeping_for
from services.invoicing.business_events import Occasion, Place
from services.invoicing.payout_store import PayoutRow
from services.invoicing.posting_requests import PostingWish, Prepared, document_name, prepare, want
from services.invoicing.rejections import reject


@dataclass(frozen=True, slots=True, kw_only=True)
class Payout:
    """A payout; `fee` is what the provider kept beside it. Amounts in minor units."""

    organization: str
    ledger: str
    provider: str
    payout_id: str
    currency: Currency
    amount: int
    fee: int
    paid_on: date
    account: str | None
    items: Sequence[dict[str, Any]]
    created_at: datetime

    @property
    def name(self) -> tuple[str, str, str]:
        return self.organization, self.provider, self.payout_id

    @property
    def held(self) -> tuple[str, str, str]:
        """What it is held by while it is recorded, whoever tells of it (`parking.held_name`)."""
        return self.organization, self.provider, f"payout/{self.payout_id}"

    @property
    def id(self) -> UUID:
        return derived_id(self.created_at, self.organization, "invoicing", f"{self.provider}/payout/{self.payout_id}")


class Item(Protocol):
    """What a payout is made of, one by one; `fee` names a fee, whose amount was taken off."""

    amount: str
    fee: str | None


def fees_of(items: Sequence[Item], currency: Currency) -> int | Rejection:
    """What the provider kept beside the payout, in minor units; every item has an amount of the currency."""
    fees = 0
    for place, item in enumerate(items):
        minor = minor_of(item.amount, currency, f"/items/{place}/amount")
        if isinstance(minor, Rejection):
            return minor
        fees += minor if item.fee is not None else 0
    return fees


async def record_payouts(connection: Connection, payouts: Sequence[Payout], now: datetime) -> list[Rejection | None]:
    """Records payouts of different names; one that is known already changes nothing. Their names are held."""
    known = await payout_store.known_payouts(connection, [each.name for each in payouts])
    fresh = [each for each in payouts if each.name not in known]
    keys = [BooksKey(each.organization, each.ledger, each.currency.code, each.paid_on) for each in fresh]
    books = await bookkeeping_for(connection, keys)
    prepared = [_prepared(each, key, books) for each, key in zip(fresh, keys, strict=True)]
    if fresh:
        rows = [_row(each, wished) for each, wished in zip(fresh, prepared, strict=True)]
        await payout_store.insert_payouts(connection, rows)
        await want(connection, prepared, now)
    return [_again(each, known[each.name]) if each.name in known else None for each in payouts]


def _again(payout: Payout, row: Any) -> Rejection | None:
    if (row["ledger"], row["currency"], int(row["amount"])) == (payout.ledger, payout.currency.code, payout.amount):
        return None
    return reject("duplicate-payout", payout=str(row["id"]), payout_id=payout.payout_id)


def _prepared(payout: Payout, key: BooksKey, books: Bookkeeping) -> Prepared:
    found = books.books(key)
    occasion = Occasion(f"Payout {payout.payout_id}", payout.paid_on, payout.currency)
    bank, clearing = Place("bank", payout.account), Place("processor-clearing")
    wish = PostingWish(
        organization=payout.organization,
        ledger=payout.ledger,
        document=document_name("payout", payout.id),
        purpose="payout",
        created_at=payout.created_at,
        draft=found
        if isinstance(found, Rejection)
        else posting_rules.payout(occasion, payout.amount, payout.fee, bank, clearing, found),
    )
    return prepare(wish, books)


def _row(payout: Payout, prepared: Prepared) -> PayoutRow:
    return PayoutRow(
        payout.organization, payout.id, payout.ledger, payout.provider, payout.payout_id, payout.currency.code,
        payout.amount, payout.paid_on, orjson.dumps(list(payout.items)).decode(), prepared.posting, payout.created_at,
    )  # fmt: skip
