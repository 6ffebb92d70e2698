"""Everything that is read and not decided: straight SQL under row-level security, one short transaction each.

Every function takes a connection of the reader role on which `as_reader` has said for whom it reads: organizations and
ledgers are visible by organization, all else by ledger. Lists go by a key, so that what is inserted shifts nothing.
"""

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any
from uuid import UUID

import asyncpg
import orjson

from libs.common.db import Connection, Pool, transaction
from libs.common.journal import organization_id
from libs.common.money import to_text
from services.ledger.answers import (
    AccountAnswer,
    EntryAnswer,
    LedgerAnswer,
    RecordAnswer,
)
from services.ledger.records import entry_answer, instant
from services.ledger.state import Ledger


def as_reader(pool: Pool, organization: str, ledger: Ledger | None = None) -> AbstractAsyncContextManager[Connection]:
    """A read-only transaction that sees one organization, and of its books one ledger."""
    settings = {"ledgerbus.organization": str(organization_id(organization))}
    if ledger is not None:
        settings["ledgerbus.ledger"] = str(ledger.no)
    return transaction(pool, readonly=True, settings=settings)


async def list_ledgers(connection: Connection, after: str, limit: int) -> list[LedgerAnswer]:
    """Ledgers of the organization by code."""
    rows = await connection.fetch(
        """
        select id, code, name, functional_currency, time_zone, day_cut_off, fiscal_year_start, retained_earnings,
            sequence, epoch
        from ledgers where code > $1 order by code limit $2
        """,
        after,
        limit,
    )
    return [_ledger(row) for row in rows]


async def read_ledger(connection: Connection, code: str) -> LedgerAnswer | None:
    """One ledger of the organization."""
    row = await connection.fetchrow(
        """
        select id, code, name, functional_currency, time_zone, day_cut_off, fiscal_year_start, retained_earnings,
            sequence, epoch
        from ledgers where code = $1
        """,
        code,
    )
    return _ledger(row) if row is not None else None


def _ledger(row: asyncpg.Record) -> LedgerAnswer:
    return {
        "id": str(row["id"]),
        "code": row["code"],
        "name": row["name"],
        "functional_currency": row["functional_currency"],
        "time_zone": row["time_zone"],
        "day_cut_off": row["day_cut_off"].strftime("%H:%M"),
        "fiscal_year_start": row["fiscal_year_start"],
        "retained_earnings": row["retained_earnings"],
        "sequence": row["sequence"],
        "epoch": row["epoch"],
    }


async def list_currencies(connection: Connection) -> list[dict[str, Any]]:
    """The organization's own currencies by code."""
    rows = await connection.fetch("select code, decimals, name from currencies order by code")
    return [dict(row) for row in rows]


async def list_organizations(connection: Connection, after: str, limit: int) -> list[dict[str, Any]]:
    """Every organization by slug; for the operator, with a role that sees them all."""
    rows = await connection.fetch(
        "select slug, name, opened_at from organizations where slug > $1 order by slug limit $2", after, limit
    )
    return [{"slug": row["slug"], "name": row["name"], "opened_at": instant(row["opened_at"])} for row in rows]


async def list_accounts(
    connection: Connection, ledger: Ledger, filters: Mapping[str, str | None], after: str, limit: int
) -> list[AccountAnswer]:
    """Accounts by code; `filters`: type, parent (a code), q (part of code or name)."""
    rows = await connection.fetch(
        """
        select a.*, p.code as parent, g.payload::jsonb ->> 'recorded_at' as opened_at
        from accounts a
        left join accounts p on p.ledger_no = a.ledger_no and p.no = a.parent_no
        join log g on g.ledger_no = a.ledger_no and g.sequence = a.opened_sequence
        where a.ledger_no = $1 and a.code > $2
            and ($3::text is null or a.type = $3) and ($4::text is null or p.code = $4)
            and ($5::text is null or strpos(lower(a.code || ' ' || a.name), lower($5)) > 0)
        order by a.code limit $6
        """,
        ledger.no,
        after,
        filters.get("type"),
        filters.get("parent"),
        filters.get("q"),
        limit,
    )
    return [_account(ledger, row) for row in rows]


async def read_account(connection: Connection, ledger: Ledger, code: str) -> AccountAnswer | None:
    """An account by its code or its id."""
    row = await connection.fetchrow(
        """
        select a.*, p.code as parent, g.payload::jsonb ->> 'recorded_at' as opened_at
        from accounts a
        left join accounts p on p.ledger_no = a.ledger_no and p.no = a.parent_no
        join log g on g.ledger_no = a.ledger_no and g.sequence = a.opened_sequence
        where a.ledger_no = $1 and (a.code = $2 or a.id = $3)
        """,
        ledger.no,
        code,
        as_uuid(code),
    )
    return _account(ledger, row) if row is not None else None


def as_uuid(text: str) -> UUID | None:
    """The UUID that a text is, or None."""
    try:
        return UUID(text) if len(text) == 36 else None
    except ValueError:
        return None


def _account(ledger: Ledger, row: asyncpg.Record) -> AccountAnswer:
    limit = to_text(int(row["overdraft_limit"]), row["decimals"]) if row["overdraft_policy"] == "limit" else None
    return {
        "id": str(row["id"]),
        "ledger": ledger.code,
        "code": row["code"],
        "name": row["name"],
        "type": row["type"],
        "normal_side": row["normal_side"],
        "currency": row["currency"],
        "decimals": row["decimals"],
        "heading": orjson.loads(row["heading"]) if row["heading"] is not None else None,
        "parent": row["parent"],
        "summary": row["summary"],
        "control_owner": row["control_owner"],
        "reconcilable": row["reconcilable"],
        "cash": row["cash"],
        "cash_flow_class": row["cash_flow_class"],
        "monetary": row["monetary"],
        "translation": row["translation"],
        "overdraft": {"policy": row["overdraft_policy"], "limit": limit},
        "external_id": row["external_id"],
        "metadata": orjson.loads(row["metadata"]),
        "frozen": row["frozen"],
        "closed": row["closed"],
        "version": row["version"],
        "opened_at": row["opened_at"],
    }


async def list_account_events(
    connection: Connection, ledger: Ledger, account: str, after: int, limit: int
) -> list[dict[str, Any]]:
    """The log records that touch an account, oldest first, after a sequence."""
    rows = await connection.fetch(
        """
        select g.sequence, g.payload, g.hash
        from (
            select n.sequence from accounts a
            join lines n on n.ledger_no = a.ledger_no and n.account_no = a.no and n.sequence > $4
            where a.ledger_no = $1 and (a.code = $2 or a.id = $3)
            union
            select c.sequence from accounts a
            join account_changes c on c.ledger_no = a.ledger_no and c.account_no = a.no and c.sequence > $4
            where a.ledger_no = $1 and (a.code = $2 or a.id = $3)
            union
            select p.sequence from accounts a
            join pendings p on p.ledger_no = a.ledger_no and p.account_no = a.no and p.sequence > $4
            where a.ledger_no = $1 and (a.code = $2 or a.id = $3)
            order by sequence limit $5
        ) touched
        join log g on g.ledger_no = $1 and g.sequence = touched.sequence
        order by g.sequence
        """,
        ledger.no,
        account,
        as_uuid(account),
        after,
        limit,
    )
    return [_event(row) for row in rows]


def _event(row: asyncpg.Record) -> dict[str, Any]:
    record = orjson.loads(row["payload"])
    return {
        "sequence": row["sequence"],
        "type": record["type"],
        "recorded_at": record["recorded_at"],
        "hash": bytes(row["hash"]).hex(),
        **{name: record[name] for name in ("entry", "account", "hold") if name in record},
    }


async def list_account_versions(
    connection: Connection, ledger: Ledger, account: str, sequence: int | None
) -> list[dict[str, Any]]:
    """The records that said what an account is, oldest first, up to a sequence."""
    rows = await connection.fetch(
        """
        select g.payload
        from accounts a
        join account_changes c on c.ledger_no = a.ledger_no and c.account_no = a.no
            and ($4::bigint is null or c.sequence <= $4)
        join log g on g.ledger_no = c.ledger_no and g.sequence = c.sequence
        where a.ledger_no = $1 and (a.code = $2 or a.id = $3)
        order by g.sequence
        """,
        ledger.no,
        account,
        as_uuid(account),
        sequence,
    )
    return [orjson.loads(row["payload"]) for row in rows]


async def list_entries(
    connection: Connection, ledger: Ledger, filters: Mapping[str, Any], before: int, limit: int
) -> list[EntryAnswer]:
    """Entries, newest first. `filters`: from, to (effective dates), account, origin, external_id, q (description)."""
    rows = await connection.fetch(
        """
        select g.payload, g.hash, r.id as reversed_by
        from entries e
        join log g on g.ledger_no = e.ledger_no and g.sequence = e.sequence
        left join entries r on r.ledger_no = e.ledger_no and r.reverses = e.id
        where e.ledger_no = $1 and e.sequence < $2
            and ($3::date is null or e.effective_on >= $3) and ($4::date is null or e.effective_on <= $4)
            and ($5::text is null or exists (
                select from accounts a join lines n on n.ledger_no = a.ledger_no and n.account_no = a.no
                    and n.sequence = e.sequence
                where a.ledger_no = e.ledger_no and (a.code = $5 or a.id::text = $5)))
            and ($6::text is null or e.origin_document = $6) and ($7::text is null or e.external_id = $7)
            and ($8::text is null or strpos(lower(e.description), lower($8)) > 0)
        order by e.sequence desc limit $9
        """,
        ledger.no,
        before,
        filters.get("from"),
        filters.get("to"),
        filters.get("account"),
        filters.get("origin"),
        filters.get("external_id"),
        filters.get("q"),
        limit,
    )
    return [_entry(row) for row in rows]


async def read_entry(connection: Connection, ledger: Ledger, entry_id: UUID) -> EntryAnswer | None:
    """One entry with its lines."""
    row = await connection.fetchrow(
        """
        select g.payload, g.hash, r.id as reversed_by
        from entries e
        join log g on g.ledger_no = e.ledger_no and g.sequence = e.sequence
        left join entries r on r.ledger_no = e.ledger_no and r.reverses = e.id
        where e.ledger_no = $1 and e.id = $2
        """,
        ledger.no,
        entry_id,
    )
    return _entry(row) if row is not None else None


def _entry(row: asyncpg.Record) -> EntryAnswer:
    answer: Any = entry_answer(orjson.loads(row["payload"]), bytes(row["hash"]), row["reversed_by"])
    entry: EntryAnswer = answer
    return entry


async def list_records(connection: Connection, ledger: Ledger, after: int, limit: int) -> list[RecordAnswer]:
    """The log after a sequence, in order: the event store."""
    rows = await connection.fetch(
        """
        select sequence, payload, hash from log where ledger_no = $1 and sequence > $2 order by sequence limit $3
        """,
        ledger.no,
        after,
        limit,
    )
    records: list[RecordAnswer] = []
    for row in rows:
        payload = orjson.loads(row["payload"])
        records.append(
            {
                "sequence": row["sequence"],
                "type": payload["type"],
                "recorded_at": payload["recorded_at"],
                "hash": bytes(row["hash"]).hex(),
                "payload": row["payload"],
            }
        )
    return records
