"""The SQL of what holds ledgers: organizations, their currencies, and the ledgers themselves as they are opened."""

from datetime import datetime, time
from uuid import UUID

from libs.common.db import Connection
from libs.common.journal import CurrencyRequest, LedgerRequest
from libs.common.money import Currency
from services.ledger.state import Ledger


async def load_currencies(connection: Connection, organization: UUID) -> dict[str, Currency]:
    """The organization's own currencies."""
    rows = await connection.fetch("select code, decimals from currencies where organization_id = $1", organization)
    return {row["code"]: Currency(row["code"], row["decimals"]) for row in rows}


async def load_ledger(connection: Connection, organization: str, code: str) -> Ledger | None:
    """A ledger by its codes."""
    row = await connection.fetchrow(
        """
        select l.id, l.no, l.organization_id, o.slug, l.code, l.functional_currency, l.functional_decimals,
            l.time_zone, l.day_cut_off, l.fiscal_year_start, l.retained_earnings
        from organizations o join ledgers l on l.organization_id = o.id
        where o.slug = $1 and l.code = $2
        """,
        organization,
        code,
    )
    if row is None:
        return None
    return Ledger(
        id=UUID(bytes=row["id"].bytes),
        no=row["no"],
        organization_id=row["organization_id"],
        organization=row["slug"],
        code=row["code"],
        functional_currency=Currency(row["functional_currency"], row["functional_decimals"]),
        time_zone=row["time_zone"],
        day_cut_off=row["day_cut_off"],
        fiscal_year_start=row["fiscal_year_start"],
        retained_earnings=row["retained_earnings"],
    )


async def insert_organization(connection: Connection, id_: UUID, slug: str, name: str, at: datetime) -> bool:
    """A new organization; False where the slug is taken."""
    status = await connection.execute(
        "insert into organizations (id, slug, name, opened_at) values ($1, $2, $3, $4) on conflict do nothing",
        id_,
        slug,
        name,
        at,
    )
    return status == "INSERT 0 1"


async def insert_currency(connection: Connection, organization: UUID, request: CurrencyRequest) -> bool:
    """A new custom currency; False where the code is taken."""
    status = await connection.execute(
        "insert into currencies (organization_id, code, decimals, name) values ($1, $2, $3, $4) on conflict do nothing",
        organization,
        request.code,
        request.decimals,
        request.name,
    )
    return status == "INSERT 0 1"


async def insert_ledger(
    connection: Connection,
    id_: UUID,
    organization: UUID,
    request: LedgerRequest,
    currency: Currency,
    payload: bytes,
    hash_: bytes,
    recorded_at: datetime,
) -> bool:
    """A new ledger with its first log record; False where the organization has one of this code."""
    hour, minute = request.day_cut_off.split(":")
    status = await connection.fetchval(
        """
        with l as (
            insert into ledgers (id, organization_id, code, name, functional_currency, functional_decimals, time_zone,
                day_cut_off, fiscal_year_start, retained_earnings, sequence, hash, recorded_at)
            values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, 1, $12, $13)
            on conflict do nothing
            returning no
        )
        insert into log (ledger_no, sequence, payload, hash) select no, 1, $11, $12 from l returning 1
        """,
        id_,
        organization,
        request.code,
        request.name,
        currency.code,
        currency.exponent,
        request.time_zone,
        time(int(hour), int(minute)),
        request.fiscal_year_start,
        request.retained_earnings,
        payload.decode(),
        hash_,
        recorded_at,
    )
    return status is not None


async def organization_exists(connection: Connection, slug: str) -> bool:
    """Whether there is an organization of this slug."""
    return bool(await connection.fetchval("select exists (select from organizations where slug = $1)", slug))
