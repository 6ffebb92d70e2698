"""Proof of the books against their log: every row of every table is what the log says, or the first other is named.

    slices of the log up to a sequence S  ->  fold (replay.py)  ->  compare entries, lines, accounts, requests
    one snapshot at the end               ->  fold the rest     ->  compare sums, changes and the ledger's head

Slices are read in short transactions bounded by the sequence, so that a long proof holds no old snapshot open; what is
below S never changes. Sums move with every posting, so they are compared in one repeatable-read transaction that first
folds what came after S. Postings go on meanwhile. The proof gives way to the event loop every few milliseconds.
Bounds: memory grows with accounts, account days and parties; time with the log.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import asyncpg

from libs.common.db import Connection, Pool, transaction
from libs.common.journal import ledger_id, organization_id
from services.ledger.records import instant
from services.ledger.replay import Findings, Invariant, Replay, SliceRows, asked_by
from services.ledger.state import Ledger
from services.ledger.verify_rows import (
    ROWS_AT_A_TIME,
    compare_currencies,
    compare_pending_holds,
    compare_rows,
    compare_slice,
    find_extra,
    keep,
    key_text,
)

SLICE_RECORDS = 250
RECORDS_AT_A_TIME = 100
CATCH_UP_ROUNDS = 10
PACED_ROUNDS = 3
"""The whole log, and twice what came meanwhile; then it must get to the end, or the last snapshot would be long."""


@dataclass(frozen=True, slots=True)
class Report:
    """What was proven. `checked_through` is the last sequence, `chain_head` its hash in hexadecimal."""

    ok: bool
    checked_through: int
    chain_head: str
    invariants: list[Invariant]


Pace = Callable[[], Awaitable[None]]
"""Awaited between slices, while no transaction is open: whoever proves in the background rests there."""


async def rest_never() -> None:
    """The pace of a proof that somebody waits for."""


async def verify(pool: Pool, ledger: Ledger, *, slice_records: int = SLICE_RECORDS, pace: Pace = rest_never) -> Report:
    """Proves one ledger's books; `pool` is of the auditor's role."""
    findings = Findings()
    replay = Replay(ledger, findings)
    for round_ in range(CATCH_UP_ROUNDS):
        async with pool.acquire() as connection:
            head = await _head(connection, ledger.no)
        if head - replay.sequence <= slice_records:
            break
        while replay.sequence < head:
            async with transaction(pool, readonly=True) as reading:
                await _prove_slice(reading, replay, min(replay.sequence + slice_records, head))
                if round_ < PACED_ROUNDS:
                    await pace()
    async with pool.acquire() as connection, connection.transaction(isolation="repeatable_read", readonly=True):
        await _prove_end(connection, replay, slice_records)
    async with transaction(pool, readonly=True) as reading:
        await _count_requests(reading, replay)
    proven = list(findings.invariants.values())
    return Report(all(invariant.ok for invariant in proven), replay.sequence, replay.hash.hex(), proven)


async def _head(connection: Connection, ledger_no: int) -> int:
    return int(await connection.fetchval("select sequence from ledgers where no = $1", ledger_no))


# --- rows that never change -------------------------------------------------------------------------------------------


async def _prove_slice(connection: Connection, replay: Replay, through: int, *, last: bool = False) -> None:
    """Folds the log after the replay's sequence up to `through`, and compares the rows of those sequences."""
    after, rows = replay.sequence, SliceRows()
    records = await connection.fetch(
        "select sequence, payload, hash from log where ledger_no = $1 and sequence > $2 and sequence <= $3 order by 1",
        replay.ledger.no,
        after,
        through,
    )
    for place, record in enumerate(records):
        if place % RECORDS_AT_A_TIME == 0:
            await asyncio.sleep(0)
        replay.follow(record["sequence"], record["payload"], bytes(record["hash"]), rows)
    if replay.sequence != through:
        replay.findings.differ("log-chain", "log", "sequence", through, f"records up to {through}", replay.sequence)
        replay.sequence = through
    if last:
        replay.close(rows)
    await compare_slice(connection, replay, rows, after, through)


# --- sums, in one snapshot --------------------------------------------------------------------------------------------


async def _prove_end(connection: Connection, replay: Replay, slice_records: int) -> None:
    """What moves with every posting, at the head of this transaction's snapshot."""
    head = await connection.fetchrow(
        """
        select o.slug as organization, l.organization_id, l.id, l.code, l.name, l.functional_currency,
            l.functional_decimals, l.days_closed_through, l.soft_closed_through, l.closed_through, l.time_zone,
            to_char(l.day_cut_off, 'HH24:MI') as day_cut_off, l.fiscal_year_start, l.retained_earnings,
            l.epoch, l.sequence, l.hash, l.recorded_at
        from ledgers l join organizations o on o.id = l.organization_id where l.no = $1
        """,
        replay.ledger.no,
    )
    assert head is not None, "a ledger is never removed"
    while head["sequence"] - replay.sequence > slice_records:
        await _prove_slice(connection, replay, replay.sequence + slice_records)
    await _prove_slice(connection, replay, head["sequence"], last=True)
    _compare_head(replay, head)
    await _find_beyond(connection, replay)
    await compare_pending_holds(connection, replay)
    await _compare_accounts_opened(connection, replay)
    await compare_currencies(connection, replay)
    await _compare_sums(connection, replay)


def _compare_head(replay: Replay, head: asyncpg.Record) -> None:
    opened, findings, ledger = replay.opened, replay.findings, replay.ledger
    expected = {
        "organization": ledger.organization,
        "organization_id": organization_id(ledger.organization),
        "id": ledger_id(ledger.organization, ledger.code),
        "code": opened.get("code"),
        "name": opened.get("name"),
        "functional_currency": opened.get("functional_currency"),
        "functional_decimals": opened.get("functional_decimals"),
        "time_zone": opened.get("time_zone"),
        "day_cut_off": opened.get("day_cut_off"),
        "fiscal_year_start": opened.get("fiscal_year_start"),
        "retained_earnings": opened.get("retained_earnings"),
        "hash": replay.hash,
        "recorded_at": replay.recorded_at,
        **dict(zip(("days_closed_through", "soft_closed_through", "closed_through"), replay.closed, strict=True)),
    }
    found = {**dict(head), "hash": bytes(head["hash"]), "recorded_at": instant(head["recorded_at"])}
    findings.checked("head")
    for name, value in expected.items():
        if found[name] != value:
            findings.differ("head", "ledgers", name, replay.sequence, value, found[name])
    if head["epoch"] < replay.epoch:
        findings.differ("head", "ledgers", "epoch", replay.sequence, f">= {replay.epoch}", head["epoch"])


async def _find_beyond(connection: Connection, replay: Replay) -> None:
    """Rows of sequences that the log has not reached, or that no log begins with."""
    found = await connection.fetch(
        """
        (select 'log' as place, sequence from log where ledger_no = $1 and sequence < 1 limit 1)
        union all (select 'log', sequence from log where ledger_no = $1 and sequence > $2 limit 1)
        union all (select 'entries', sequence from entries where ledger_no = $1 and sequence < 1 limit 1)
        union all (select 'entries', sequence from entries where ledger_no = $1 and sequence > $2 limit 1)
        union all (select 'lines', sequence from lines where ledger_no = $1 and sequence < 1 limit 1)
        union all (select 'lines', sequence from lines where ledger_no = $1 and sequence > $2 limit 1)
        union all (select 'pendings', sequence from pendings where ledger_no = $1 and (sequence < 1 or sequence > $2)
            limit 1)
        union all (select 'closings', sequence from closings where ledger_no = $1 and (sequence < 1 or sequence > $2)
            limit 1)
        union all (select 'backdatings', sequence from backdatings
            where ledger_no = $1 and (sequence < 1 or sequence > $2) limit 1)
        """,
        replay.ledger.no,
        replay.sequence,
    )
    for table, sequence in found:
        invariant = "log-chain" if table == "log" else table
        replay.findings.differ(invariant, table, "sequence", sequence, f"1 to {replay.sequence}", sequence)


async def _compare_accounts_opened(connection: Connection, replay: Replay) -> None:
    opened = {account.no for account in replay.accounts.values()}
    query = "select no, version, code from accounts where ledger_no = $1"
    found = await _read(connection, query, replay, "accounts", lambda row: (row["no"], row))
    find_extra(replay.findings, "accounts", opened, found)
    for account in replay.accounts.values():
        row = found.get(account.no)
        if row is not None and row["version"] != account.described:
            replay.findings.differ(
                "accounts", "accounts", str(account.no), account.described, account.described, row["version"]
            )
    query = "select account_no, sequence from account_changes where ledger_no = $1"
    changed = await _read(connection, query, replay, "account-changes", lambda row: (tuple(row), ()))
    await compare_rows(
        replay.findings, "account-changes", dict.fromkeys(replay.changes, ()), changed, lambda key: key[1]
    )


async def _compare_sums(connection: Connection, replay: Replay) -> None:
    accounts = {account.no: account for account in replay.accounts.values()}
    wanted: dict[Any, tuple[Any, ...]] = {
        no: (
            account.currency,
            str(account.debits),
            str(account.credits),
            account.version,
            str(account.pending_debits),
            str(account.pending_credits),
        )
        for no, account in accounts.items()
    }
    query = """
        select account_no, currency, debits::text as debits, credits::text as credits, version,
            pending_debits::text as pending_debits, pending_credits::text as pending_credits
        from balances where ledger_no = $1
        """
    stored = await _read(connection, query, replay, "balances", lambda row: (row[0], tuple(row)[1:]))
    await compare_rows(replay.findings, "balances", wanted, stored, lambda no: accounts[no].version)
    query = """
        select account_no, effective_on, block, debits::text as debits, credits::text as credits
        from daily_totals where ledger_no = $1
        """
    wanted = {key: (str(debits), str(credits_)) for key, (debits, credits_) in replay.daily.items()}
    stored = await _read(connection, query, replay, "daily-totals", lambda row: (tuple(row)[:3], tuple(row)[3:]))
    await compare_rows(replay.findings, "daily-totals", wanted, stored)
    query = """
        select account_no, party, debits::text as debits, credits::text as credits
        from party_balances where ledger_no = $1
        """
    wanted = {key: (str(debits), str(credits_)) for key, (debits, credits_) in replay.parties.items()}
    stored = await _read(connection, query, replay, "party-balances", lambda row: (tuple(row)[:2], tuple(row)[2:]))
    await compare_rows(replay.findings, "party-balances", wanted, stored)


async def _read(
    connection: Connection,
    query: str,
    replay: Replay,
    invariant: str,
    split: Callable[[asyncpg.Record], tuple[Any, Any]],
) -> dict[Any, Any]:
    """A table's rows of this ledger by their key; `split` says what of a row is the key."""
    stored: dict[Any, Any] = {}
    async for row in _rows(connection, query, replay):
        keep(replay.findings, invariant, stored, *split(row))
    return stored


def _rows(connection: Connection, query: str, replay: Replay) -> Any:
    """A table's rows of this ledger, some thousands at a time."""
    return connection.cursor(query, replay.ledger.no, prefetch=ROWS_AT_A_TIME)


async def _count_requests(connection: Connection, replay: Replay) -> None:
    """Every request of the log has its row by now; were there more rows than requests, one is nobody's."""
    counted = await connection.fetchrow(
        """
        select count(*) filter (where r.sequence <= $2) as stored, max(r.sequence) as highest,
            (select max(l.sequence) from ledgers l where l.no = $1) as head
        from requests r where r.ledger_no = $1
        """,
        replay.ledger.no,
        replay.sequence,
    )
    assert counted is not None, "a count is one row"
    if (counted["highest"] or 0) > counted["head"]:
        replay.findings.differ(
            "requests", "requests", "sequence", counted["highest"], f"1 to {counted['head']}", counted["highest"]
        )
    if counted["stored"] != replay.posted_requests:
        key, sequence = await _request_of_nobody(connection, replay)
        replay.findings.differ("requests", "requests", key, sequence, replay.posted_requests, counted["stored"])


async def _request_of_nobody(connection: Connection, replay: Replay) -> tuple[str, int]:
    """The first request whose record is another's; looked for in Python, for a record may be no JSON any more."""
    query = """
        select r.scope, r.key, r.sequence, g.payload
        from requests r left join log g on g.ledger_no = r.ledger_no and g.sequence = r.sequence
        where r.ledger_no = $1 and r.sequence is not null
        """
    async for row in _rows(connection, query, replay):
        if not asked_by(row["payload"] or "", row["scope"], row["key"]):
            return key_text((row["scope"], row["key"])), row["sequence"]
    return "count", 0
