"""What invoices are made with, as it is kept: ledgers' mappings and settings, products, tax rates with validity."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import Any, NamedTuple
from uuid import UUID

import asyncpg
import orjson

from libs.common.db import Connection

LedgerKey = tuple[str, str]
"""Organization and the ledger's code."""


@dataclass(frozen=True, slots=True)
class LedgerTerms:
    """How a ledger's receivables are booked; without settings the functional currency is unknown ("")."""

    functional_currency: str = ""
    tax_basis: str = "accrual"
    recognition: str = "period-end"
    number_prefix: str = ""
    cash_rounding: Mapping[str, str] = field(default_factory=dict)
    seller: Mapping[str, Any] = field(default_factory=dict)
    mapping: dict[Any, str] = field(default_factory=dict)
    version: int = 0


class Mapped(NamedTuple):
    """One row of a mapping: the account that plays a role in a currency ("" is the functional one)."""

    role: str
    currency: str
    account: str


class TaxRate(NamedTuple):
    """What a tax code means on a day."""

    code: str
    category: str
    rate: Decimal
    exemption_code: str | None
    exemption_reason: str | None
    valid_from: date
    valid_to: date | None


async def ledger_terms(connection: Connection, ledgers: Sequence[LedgerKey]) -> dict[LedgerKey, LedgerTerms]:
    """Mapping and settings of ledgers; each is there, empty where nothing is set."""
    wanted = sorted(set(ledgers))
    organizations, codes = [key[0] for key in wanted], [key[1] for key in wanted]
    rows = await connection.fetch(
        """
        select w.organization, w.ledger, s.functional_currency, s.tax_basis, s.recognition, s.number_prefix,
            s.cash_rounding, s.seller, s.version,
            (select array_agg(m.role || ' ' || m.currency || ' ' || m.account) from account_mappings m
              where m.organization = w.organization and m.ledger = w.ledger) as mapped
        from unnest($1::text[], $2::text[]) as w (organization, ledger)
        left join receivables_settings s on s.organization = w.organization and s.ledger = w.ledger
        """,
        organizations,
        codes,
    )
    found: dict[LedgerKey, LedgerTerms] = {}
    for row in rows:
        mapping = {}
        for text in row["mapped"] or ():
            role, currency, account = text.split(" ", 2)
            mapping[role, currency] = account
        found[row["organization"], row["ledger"]] = LedgerTerms(
            functional_currency=row["functional_currency"] or "",
            tax_basis=row["tax_basis"] or "accrual",
            recognition=row["recognition"] or "period-end",
            number_prefix=row["number_prefix"] or "",
            cash_rounding=orjson.loads(row["cash_rounding"] or "{}"),
            seller=orjson.loads(row["seller"] or "{}"),
            mapping=mapping,
            version=row["version"] or 0,
        )
    return found


async def replace_mapping(connection: Connection, key: LedgerKey, rows: Sequence[Mapped]) -> None:
    """Makes these the ledger's mapping, whole."""
    await connection.execute("delete from account_mappings where organization = $1 and ledger = $2", *key)
    await connection.execute(
        """
        insert into account_mappings (organization, ledger, role, currency, account)
        select $1, $2, role, currency, account from unnest($3::text[], $4::text[], $5::text[])
            as mapped (role, currency, account)
        """,
        *key,
        *([row[place] for row in rows] for place in range(3)),
    )


async def store_settings(connection: Connection, key: LedgerKey, terms: LedgerTerms, now: datetime) -> None:
    """Stores a ledger's settings."""
    await connection.execute(
        """
        insert into receivables_settings (organization, ledger, functional_currency, tax_basis, recognition,
            number_prefix, cash_rounding, seller, changed_at)
        values ($1, $2, $3, $4, $5, $6, $7::jsonb, $8::jsonb, $9)
        on conflict (organization, ledger) do update
           set functional_currency = excluded.functional_currency, tax_basis = excluded.tax_basis,
               recognition = excluded.recognition, number_prefix = excluded.number_prefix,
               cash_rounding = excluded.cash_rounding, seller = excluded.seller,
               changed_at = excluded.changed_at, version = receivables_settings.version + 1
        """,
        *key,
        terms.functional_currency,
        terms.tax_basis,
        terms.recognition,
        terms.number_prefix,
        orjson.dumps(dict(terms.cash_rounding)).decode(),
        orjson.dumps(dict(terms.seller)).decode(),
        now,
    )


# --- products ---------------------------------------------------------------------------------------------------------


async def insert_product(connection: Connection, organization: str, product: Mapping[str, Any]) -> bool:
    """Stores a new product; False where its code is taken."""
    stored = await connection.fetchval(
        """
        insert into products (organization, id, code, name, currency, unit_price, base_quantity, tax_rate,
            revenue_account, created_at)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
        on conflict on constraint product_code_taken do nothing returning true
        """,
        organization,
        *(
            product[name]
            for name in (
                "id",
                "code",
                "name",
                "currency",
                "unit_price",
                "base_quantity",
                "tax_rate",
                "revenue_account",
                "created_at",
            )
        ),
    )
    return bool(stored)


async def update_product(
    connection: Connection, organization: str, product: UUID, changed: Mapping[str, Any]
) -> asyncpg.Record | None:
    """Changes what is not None; gives the product after it, None where there is none at the expected version."""
    return await connection.fetchrow(
        """
        update products
           set name = coalesce($3, name), unit_price = coalesce($4, unit_price), tax_rate = coalesce($5, tax_rate),
               revenue_account = coalesce($6, revenue_account), active = coalesce($7, active), version = version + 1
         where organization = $1 and id = $2 and ($8::bigint is null or version = $8)
        returning *
        """,
        organization,
        product,
        *(
            changed.get(name)
            for name in ("name", "unit_price", "tax_rate", "revenue_account", "active", "expected_version")
        ),
    )


async def products_by_code(
    connection: Connection, organization: str, codes: Sequence[str]
) -> dict[str, asyncpg.Record]:
    """Active products by their codes."""
    rows = await connection.fetch(
        "select * from products where organization = $1 and code = any($2) and active", organization, list(codes)
    )
    return {row["code"]: row for row in rows}


# --- tax rates --------------------------------------------------------------------------------------------------------


async def lock_tax_rates(connection: Connection, organization: str, code: str) -> list[TaxRate]:
    """All stretches of a code, held until the commit; who adds one holds the code itself first."""
    await connection.execute("select pg_advisory_xact_lock(hashtextextended($1, 7))", f"{organization}/{code}")
    rows = await connection.fetch(
        """
        select code, category, rate, exemption_code, exemption_reason, valid_from, valid_to
        from tax_rates where organization = $1 and code = $2 order by valid_from
        """,
        organization,
        code,
    )
    return [TaxRate(*row) for row in rows]


async def insert_tax_rate(
    connection: Connection, organization: str, rate_id: UUID, rate: TaxRate, now: datetime
) -> None:
    """Stores one stretch of a tax code."""
    await connection.execute(
        """
        insert into tax_rates (organization, id, code, category, rate, exemption_code, exemption_reason, valid_from,
            valid_to, created_at)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
        """,
        organization,
        rate_id,
        *rate,
        now,
    )


async def end_tax_rate(connection: Connection, organization: str, code: str, valid_from: date, valid_to: date) -> None:
    """Gives an open stretch its last day."""
    await connection.execute(
        """
        update tax_rates set valid_to = $4, version = version + 1
        where organization = $1 and code = $2 and valid_from = $3
        """,
        organization,
        code,
        valid_from,
        valid_to,
    )


async def tax_rates_on(connection: Connection, organization: str, codes: Sequence[str], on: date) -> dict[str, TaxRate]:
    """What tax codes mean on a day."""
    rows = await connection.fetch(
        """
        select code, category, rate, exemption_code, exemption_reason, valid_from, valid_to
        from tax_rates
        where organization = $1 and code = any($2) and valid_from <= $3 and (valid_to is null or valid_to >= $3)
        """,
        organization,
        list(codes),
        on,
    )
    return {row["code"]: TaxRate(*row) for row in rows}
