"""All SQL that writes, and what a decision reads. Every function takes the caller's connection; nobody here commits.

`write_batch` runs the one statement that statement.py puts together.

Many keys are looked up one by one, `cross join lateral (... limit 1)`: as a plain join the planner may hold every key
against every row of the ledger where statistics are missing (450 ms instead of 6 for 1,000 keys among 8,000 rows).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg
import orjson

from libs.common.db import Connection
from libs.common.errors import Fault, Rejection
from libs.common.journal import Heading, Side
from services.ledger.projection import Batch
from services.ledger.state import (
    Account,
    AccountSheet,
    Closed,
    Described,
    EntryToReverse,
    Hold,
    HoldLine,
    KnownEntry,
    KnownRequest,
    Ledger,
    Parent,
    Posted,
    ReversedLine,
)
from services.ledger.statement import statement_of


async def write_batch(
    connection: Connection,
    ledger: Ledger,
    batch: Batch,
    arguments: tuple[tuple[str, ...], tuple[Any, ...]],
    hash_: bytes,
    recorded_at: datetime,
    timeout_s: float,
) -> bool:
    """Writes the whole batch, whose steps and `arguments` were made ahead.

    Nothing is written, and the answer is False, where the sequence is not the one it was decided on.
    """
    steps, values = arguments
    won = await connection.fetchval(
        statement_of(steps),
        ledger.id,
        ledger.organization_id,
        batch.expected,
        len(batch.log),
        hash_,
        recorded_at,
        *values,
        timeout=timeout_s,
    )
    return bool(won)


async def is_at(connection: Connection, ledger_no: int, sequence: int) -> bool:
    """Whether the ledger is where something was decided, when nothing is to be written on it."""
    return bool(await connection.fetchval("select sequence = $2 from ledgers where no = $1", ledger_no, sequence))


@dataclass(frozen=True, slots=True)
class Head:
    """Where a ledger's log ends, in one snapshot."""

    epoch: int
    sequence: int
    hash: bytes
    recorded_at: datetime
    next_account_no: int
    closed: Closed


async def load_accounts(connection: Connection, ledger_no: int, codes: Sequence[str]) -> tuple[Head, list[Account]]:
    """The ledger's head and the accounts of these codes with their balances, all in one snapshot."""
    rows = await connection.fetch(
        """
        select l.epoch, l.sequence, l.hash, l.recorded_at, l.days_closed_through, l.soft_closed_through,
            l.closed_through,
            (select coalesce(max(x.no), 0) + 1 from accounts x where x.ledger_no = $1) as next_account_no, a.*
        from ledgers l
        left join (
            select a.no, a.id, a.code, a.type, a.normal_side, a.currency, a.decimals, a.summary, a.control_owner,
                a.overdraft_policy, a.overdraft_limit, a.frozen, a.closed, b.debits, b.credits, b.version,
                b.pending_debits, b.pending_credits
            from unnest($2::text[]) k (code)
            cross join lateral (select * from accounts where ledger_no = $1 and code = k.code limit 1) a
            cross join lateral (select * from balances where ledger_no = $1 and account_no = a.no limit 1) b
        ) a on true
        where l.no = $1
        """,
        ledger_no,
        codes,
    )
    first = rows[0]
    closed = Closed(first["days_closed_through"], first["soft_closed_through"], first["closed_through"])
    head = Head(
        first["epoch"], first["sequence"], bytes(first["hash"]), first["recorded_at"], first["next_account_no"], closed
    )
    return head, [_account(row) for row in rows if row["no"] is not None]


def _account(row: asyncpg.Record) -> Account:
    return Account(
        no=row["no"],
        id=row["id"],
        code=row["code"],
        type=row["type"],
        normal_side=row["normal_side"],
        currency=row["currency"],
        exponent=row["decimals"],
        summary=row["summary"],
        control_owner=row["control_owner"],
        overdraft_policy=row["overdraft_policy"],
        overdraft_limit=int(row["overdraft_limit"]),
        debits=int(row["debits"]),
        credits=int(row["credits"]),
        version=row["version"],
        pending_debits=int(row["pending_debits"]),
        pending_credits=int(row["pending_credits"]),
        frozen=row["frozen"],
        closed=row["closed"],
    )


async def lock_ledger(connection: Connection, ledger_no: int) -> int:
    """Takes the ledger's row lock until the transaction ends, and says its sequence; waits for whoever holds it."""
    return int(await connection.fetchval("select sequence from ledgers where no = $1 for no key update", ledger_no))


async def load_requests(
    connection: Connection, ledger_no: int, keys: Iterable[tuple[str, str]]
) -> dict[tuple[str, str], KnownRequest]:
    """Which of these (scope, key) were answered before, and how."""
    pairs = list(keys)
    rows = await connection.fetch(
        """
        select r.scope, r.key, r.fingerprint, r.sequence, r.rejection
        from unnest($2::text[], $3::text[]) k (scope, key)
        cross join lateral (select * from requests where ledger_no = $1 and scope = k.scope and key = k.key limit 1) r
        """,
        ledger_no,
        [scope for scope, _ in pairs],
        [key for _, key in pairs],
    )
    return {
        (row["scope"], row["key"]): KnownRequest(
            bytes(row["fingerprint"]),
            Posted(row["sequence"]) if row["sequence"] is not None else rejection_from(row["rejection"]),
        )
        for row in rows
    }


def rejection_from(text: str) -> Rejection:
    """The rejection that was remembered as this text."""
    stored = orjson.loads(text)
    errors = [Fault(*fault) for fault in stored["errors"]]
    return Rejection(stored["code"], stored["detail"], stored["facts"], errors or ())


async def load_entries(
    connection: Connection, ledger_no: int, ids: Sequence[UUID], external_ids: Sequence[str]
) -> tuple[dict[UUID, KnownEntry], dict[str, UUID]]:
    """The entries that have one of these ids, and those that have one of these external ids."""
    rows = await connection.fetch(
        """
        select e.id, e.sequence, e.external_id,
            (select r.id from entries r where r.ledger_no = $1 and r.reverses = e.id) as reversed_by
        from (
            select found.id, found.sequence, found.external_id
            from unnest($2::uuid[]) k (id)
            cross join lateral (select * from entries where ledger_no = $1 and id = k.id limit 1) found
            union all
            select found.id, found.sequence, found.external_id
            from unnest($3::text[]) k (external_id)
            cross join lateral (
                select * from entries where ledger_no = $1 and external_id = k.external_id limit 1
            ) found
        ) e
        """,
        ledger_no,
        ids,
        external_ids,
    )
    known = {row["id"]: KnownEntry(row["id"], row["sequence"], row["reversed_by"]) for row in rows}
    return known, {row["external_id"]: row["id"] for row in rows if row["external_id"] is not None}


async def load_entry_to_reverse(connection: Connection, ledger_no: int, entry_id: UUID) -> EntryToReverse | None:
    """A posted entry with its lines as its record has them."""
    row = await connection.fetchrow(
        """
        select e.id, e.sequence, e.description, e.kind, g.payload, r.id as reversed_by
        from entries e
        join log g on g.ledger_no = e.ledger_no and g.sequence = e.sequence
        left join entries r on r.ledger_no = e.ledger_no and r.reverses = e.id
        where e.ledger_no = $1 and e.id = $2
        """,
        ledger_no,
        entry_id,
    )
    if row is None:
        return None
    lines = [
        ReversedLine(line["account"], line["side"], line["amount"], line.get("party"))
        for line in orjson.loads(row["payload"])["entry"]["lines"]
    ]
    known = KnownEntry(row["id"], row["sequence"], row["reversed_by"])
    return EntryToReverse(known, row["description"], lines, row["kind"])


async def load_holds(connection: Connection, ledger_no: int, ids: Sequence[UUID]) -> tuple[int, dict[UUID, Hold]]:
    """These holds as far as they exist, with the ledger's sequence in the same snapshot."""
    rows = await connection.fetch(
        """
        select l.sequence, h.id, h.status, h.expires_at, h.placed_sequence, h.version, n.line, n.account_no, a.code,
            n.debit, n.amount, n.captured, n.party
        from ledgers l
        left join (
            unnest($2::uuid[]) k (id)
            cross join lateral (select * from holds where ledger_no = $1 and id = k.id limit 1) h
            join hold_lines n on n.ledger_no = $1 and n.hold_id = h.id
            join accounts a on a.ledger_no = $1 and a.no = n.account_no
        ) on true
        where l.no = $1
        order by h.id, n.line
        """,
        ledger_no,
        ids,
    )
    holds: dict[UUID, Hold] = {}
    for row in rows:
        if row["id"] is None:
            continue
        hold = holds.setdefault(
            row["id"],
            Hold(row["id"], row["status"], row["expires_at"], [], row["placed_sequence"], row["version"]),
        )
        side: Side = "debit" if row["debit"] else "credit"
        hold.hold_lines.append(
            HoldLine(row["code"], row["account_no"], side, int(row["amount"]), int(row["captured"]), row["party"])
        )
    return rows[0]["sequence"], holds


async def load_described(connection: Connection, ledger_no: int, code: str, parent: str | None) -> Described | None:
    """What is said of an account, what is open below it, and what is above the parent that is wanted for it."""
    row = await connection.fetchrow(
        """
        with recursive above as (
            select a.code, a.parent_no, 1 as steps from accounts a where a.ledger_no = $1 and a.code = $3
            union all
            select a.code, a.parent_no, above.steps + 1 from above
            join accounts a on a.ledger_no = $1 and a.no = above.parent_no
            where above.steps < 1000
        )
        select a.name, a.heading, a.parent_no, p.code as parent, a.reconcilable, a.cash, a.cash_flow_class, a.monetary,
            a.translation, a.external_id, a.metadata, a.version,
            (select g.payload::jsonb ->> 'recorded_at' from log g
                where g.ledger_no = a.ledger_no and g.sequence = a.opened_sequence) as opened_at,
            array(select c.code from accounts c where c.ledger_no = a.ledger_no and c.parent_no = a.no and not c.closed
                order by c.code limit 100) as open_children,
            array(select code from above) as above
        from accounts a left join accounts p on p.ledger_no = a.ledger_no and p.no = a.parent_no
        where a.ledger_no = $1 and a.code = $2
        """,
        ledger_no,
        code,
        parent,
    )
    if row is None:
        return None
    heading = orjson.loads(row["heading"]) if row["heading"] is not None else None
    sheet = AccountSheet(
        name=row["name"],
        heading=Heading(number=heading["number"], name=heading["name"]) if heading is not None else None,
        parent=Parent(row["parent_no"], row["parent"]) if row["parent"] is not None else None,
        reconcilable=row["reconcilable"],
        cash=row["cash"],
        cash_flow_class=row["cash_flow_class"],
        monetary=row["monetary"],
        translation=row["translation"],
        external_id=row["external_id"],
        metadata=orjson.loads(row["metadata"]),
        opened_at=row["opened_at"],
    )
    return Described(sheet, row["version"], row["open_children"], row["above"])


async def committed(connection: Connection, ledger_no: int, batch: Batch, hash_: bytes) -> bool:
    """Whether a batch of unknown outcome is in the books. The caller holds the ledger's row lock, so no ghost is left.

    Without a log record it is there where its rejections are; that the keys are is not enough, for another writer may
    have answered the same request otherwise.
    """
    if len(batch.log):
        found = await connection.fetchval(
            "select hash from log where ledger_no = $1 and sequence = $2", ledger_no, batch.expected + len(batch.log)
        )
        return found is not None and bytes(found) == hash_
    scopes, keys, fingerprints, _, rejections = batch.requests.columns()
    stored = await connection.fetchval(
        """
        select count(*)
        from unnest($2::text[], $3::text[], $4::bytea[], $5::text[]) k (scope, key, fingerprint, rejection)
        cross join lateral (select * from requests where ledger_no = $1 and scope = k.scope and key = k.key limit 1) r
        where r.fingerprint = k.fingerprint and r.rejection = k.rejection
        """,
        ledger_no,
        scopes,
        keys,
        fingerprints,
        rejections,
    )
    return int(stored) == len(keys)


async def load_records_of(
    connection: Connection, ledger_no: int, last: int, records_max: int
) -> list[tuple[int, bytes, bytes]]:
    """Sequence, payload and hash of up to so many records that end with this one, in order."""
    rows = await connection.fetch(
        """
        select sequence, payload, hash from log where ledger_no = $1 and sequence > $2 and sequence <= $3
        order by sequence
        """,
        ledger_no,
        last - records_max,
        last,
    )
    return [(row["sequence"], row["payload"].encode(), bytes(row["hash"])) for row in rows]


async def load_payloads(
    connection: Connection, ledger_no: int, sequences: Sequence[int]
) -> dict[int, tuple[bytes, bytes, UUID | None]]:
    """Log records by sequence: payload, hash, and the entry that reversed it where it is an entry that was reversed."""
    rows = await connection.fetch(
        """
        select g.sequence, g.payload, g.hash,
            (
                select r.id from entries r
                where r.ledger_no = $1 and r.reverses = (
                    select e.id from entries e where e.ledger_no = $1 and e.sequence = g.sequence
                )
            ) as reversed_by
        from unnest($2::bigint[]) k (sequence)
        cross join lateral (select * from log where ledger_no = $1 and sequence = k.sequence limit 1) g
        """,
        ledger_no,
        sequences,
    )
    return {row["sequence"]: (row["payload"].encode(), bytes(row["hash"]), row["reversed_by"]) for row in rows}
