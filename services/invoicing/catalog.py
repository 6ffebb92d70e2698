"""What invoices are made with: a ledger's account mapping and settings, products, tax rates with their validity.

A mapping is replaced whole. The standard one names one account for each role and asks the ledger to open them, so that
a new ledger can invoice at once; accounts that are there already stay as they are. Stretches of one tax code never
overlap: a new one ends the open one before it the day before it begins.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

import orjson
from pydantic import TypeAdapter

from libs.common.clock import new_id
from libs.common.db import Connection
from libs.common.errors import Fault, Rejection
from libs.common.events import ACCOUNT_WANTED, REQUESTS
from libs.common.events_invoicing import INVOICING_SOURCE
from libs.common.journal import AccountRequest, ledger_id
from libs.common.messages import Message, cloud_event_headers
from libs.common.money import ISO_4217, Currency, to_minor
from libs.common.outbox import put
from services.invoicing import catalog_store
from services.invoicing.account_roles import ROLES, standard_accounts, standard_mapping
from services.invoicing.asking import CREATED, OK, Done
from services.invoicing.catalog_store import LedgerTerms, Mapped, TaxRate, ledger_terms
from services.invoicing.drafts import Draft, LineDraft, TaxTerms, check
from services.invoicing.rejections import reject
from services.invoicing.words import product_words, tax_rate_words

_ACCOUNT: Final[TypeAdapter[AccountRequest]] = TypeAdapter(AccountRequest)


@dataclass(frozen=True, slots=True, kw_only=True)
class MappingWish:
    """A ledger's mapping and settings as they are wanted. `standard` maps (and opens) an account for each role, in
    `currencies` too; `rows` come on top. What is None stays as it is."""

    rows: Sequence[Mapped] = ()
    standard: bool = False
    currencies: Sequence[str] = ()
    functional_currency: str | None = None
    tax_basis: str | None = None
    recognition: str | None = None
    number_prefix: str | None = None
    cash_rounding: Mapping[str, str] | None = None
    seller: Mapping[str, Any] | None = None


def mapping_words(ledger: str, terms: LedgerTerms) -> dict[str, Any]:
    """A ledger's mapping and settings as callers are told."""
    return {
        "ledger": ledger,
        "functional_currency": terms.functional_currency or None,
        "tax_basis": terms.tax_basis,
        "recognition": terms.recognition,
        "number_prefix": terms.number_prefix,
        "cash_rounding": dict(terms.cash_rounding),
        "seller": dict(terms.seller),
        "version": terms.version,
        "mapping": [
            {"role": role, "currency": currency or None, "account": account}
            for (role, currency), account in sorted(terms.mapping.items())
        ],
    }


async def put_mapping(
    connection: Connection, organization: str, ledger: str, wish: MappingWish, now: datetime
) -> Done | Rejection:
    """Makes this the ledger's mapping."""
    if refused := _mapping_faults(wish):
        return refused
    key = organization, ledger
    known = (await ledger_terms(connection, [key]))[key]
    functional = wish.functional_currency or known.functional_currency
    if not functional:
        fault = Fault("/functional_currency", "is missing; it is the ledger's functional currency")
        return reject("functional-currency-missing", errors=[fault])
    mapping: dict[Any, str] = dict(standard_mapping(functional, wish.currencies)) if wish.standard else {}
    mapping.update({(row.role, row.currency): row.account for row in wish.rows})
    changed = {
        name: getattr(wish, name)
        for name in ("tax_basis", "recognition", "number_prefix", "cash_rounding", "seller")
        if getattr(wish, name) is not None
    }
    terms = replace(known, functional_currency=functional, mapping=mapping, version=known.version + 1, **changed)
    await catalog_store.store_settings(connection, key, terms, now)
    await catalog_store.replace_mapping(
        connection, key, [Mapped(role, currency, account) for (role, currency), account in mapping.items()]
    )
    if wish.standard:
        named = set(mapping.values())
        accounts = [each for each in standard_accounts(functional, wish.currencies) if each.code in named]
        await put(connection, [_account_wanted(organization, ledger, account, now) for account in accounts])
    return Done(mapping_words(ledger, terms), OK)


def _account_wanted(organization: str, ledger: str, account: AccountRequest, now: datetime) -> Message:
    body = {
        "organization": organization,
        "ledger": ledger,
        "idempotency_key": f"standard-account/{account.code}",
        "document": f"account-mapping/{ledger}",
        **_ACCOUNT.dump_python(account, mode="json"),
    }
    headers = cloud_event_headers(ACCOUNT_WANTED.name, INVOICING_SOURCE, str(new_id()), now)
    return Message(REQUESTS, str(ledger_id(organization, ledger)).encode(), orjson.dumps(body), headers)


def _mapping_faults(wish: MappingWish) -> Rejection | None:
    unknown = [
        (pointer, currency)
        for pointer, currency in (
            *((f"/mapping/{place}/currency", row.currency) for place, row in enumerate(wish.rows)),
            *((f"/currencies/{place}", currency) for place, currency in enumerate(wish.currencies)),
            ("/functional_currency", wish.functional_currency or ""),
            *((f"/cash_rounding/{currency}", currency) for currency in wish.cash_rounding or ()),
        )
        if currency and currency not in ISO_4217
    ]
    if unknown:
        return reject("unknown-currency", errors=[Fault(pointer, f"is {currency}") for pointer, currency in unknown])
    for currency, text in (wish.cash_rounding or {}).items():
        step = to_minor(text, ISO_4217[currency].exponent)
        if isinstance(step, str):
            return reject(step, errors=[Fault(f"/cash_rounding/{currency}", f"is {text[:60]}")], currency=currency)
    roles = [
        Fault(f"/mapping/{place}/role", f"is {row.role}; known are {', '.join(ROLES)}")
        for place, row in enumerate(wish.rows)
        if row.role not in ROLES
    ]
    if roles:
        return reject("unknown-role", errors=roles)
    seen: set[tuple[str, str]] = set()
    for place, row in enumerate(wish.rows):
        if (row.role, row.currency) in seen:
            fault = Fault(f"/mapping/{place}", "is there twice")
            return reject("role-mapped-twice", errors=[fault], role=row.role, currency=row.currency)
        seen.add((row.role, row.currency))
    return None


# --- products ---------------------------------------------------------------------------------------------------------


async def create_product(
    connection: Connection, organization: str, wish: Mapping[str, Any], now: datetime
) -> Done | Rejection:
    """Stores a new product; its code is its own in the organization."""
    if wish["currency"] not in ISO_4217:
        return reject("unknown-currency", errors=[Fault("/currency", f"is {wish['currency']}")])
    product = {**wish, "id": new_id(), "created_at": now, "active": True, "version": 1}
    if not await catalog_store.insert_product(connection, organization, product):
        return reject("product-code-taken", errors=[Fault("/code", "is taken")], product_code=wish["code"])
    return Done(product_words(product), CREATED)


async def patch_product(
    connection: Connection, organization: str, product: Any, patch: Mapping[str, Any]
) -> Done | Rejection:
    """Changes what is given; lines that were made with the product stay what they are."""
    row = await catalog_store.update_product(connection, organization, product, patch)
    if row is not None:
        return Done(product_words(row), OK)
    return reject(
        "unknown-product" if patch.get("expected_version") is None else "version-conflict", product=str(product)
    )  # fmt: skip


# --- tax rates --------------------------------------------------------------------------------------------------------


async def create_tax_rate(connection: Connection, organization: str, wish: TaxRate, now: datetime) -> Done | Rejection:
    """Stores what a tax code means from a day on; the stretch before it ends the day before."""
    if refused := _terms_fault(wish):
        return refused
    if wish.valid_to is not None and wish.valid_to < wish.valid_from:
        return reject("validity-out-of-order", errors=[Fault("/valid_to", f"is before {wish.valid_from}")])
    known = await catalog_store.lock_tax_rates(connection, organization, wish.code)
    clash = next((each for each in known if _overlap(each, wish)), None)
    if clash is not None:
        if clash.valid_to is not None or clash.valid_from >= wish.valid_from:
            said = f"{clash.valid_from} to {clash.valid_to or 'now'} is taken"
            return reject("tax-rate-overlaps", f"{said}.", [Fault("/valid_from", said)], tax_code=wish.code)
        last_day = wish.valid_from - timedelta(days=1)
        await catalog_store.end_tax_rate(connection, organization, wish.code, clash.valid_from, last_day)
    rate_id = new_id()
    await catalog_store.insert_tax_rate(connection, organization, rate_id, wish, now)
    return Done(tax_rate_words({"id": rate_id, **wish._asdict()}), CREATED)


def _terms_fault(wish: TaxRate) -> Rejection | None:
    """What is wrong with a rate, as a line that had it would be told."""
    terms = TaxTerms(wish.category, wish.rate, wish.exemption_code, wish.exemption_reason)  # type: ignore[arg-type]
    line = LineDraft(description="", quantity=Decimal(1), unit_price=Decimal(0), tax=terms)
    refused = check(Draft(currency=Currency("EUR", 2), lines=(line,)))
    if refused is None:
        return None
    faults = [Fault(fault.pointer.removeprefix("/lines/0/tax"), fault.detail) for fault in refused.errors]
    return replace(refused, errors=faults)


def _overlap(one: TaxRate, other: TaxRate) -> bool:
    return one.valid_from <= (other.valid_to or date.max) and other.valid_from <= (one.valid_to or date.max)
