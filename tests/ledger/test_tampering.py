"""Whatever is changed behind the ledger's back is found, and named: every column of every table, from the catalog.

A column that is new has to be proven, or has to stand in one of the lists here with the reason why it is not.
"""

import random
from collections.abc import AsyncIterator, Sequence
from typing import Any

import asyncpg
import pytest

from libs.common.db import Pool, create_pool
from services.ledger import books_store, proof_store
from services.ledger.replay import Difference
from services.ledger.verify import verify
from tests.ledger.full_history import write_full_history
from tests.support.postgres import PostgresServer

pytestmark = pytest.mark.database

KEYS = {
    "log": ("sequence",),
    "entries": ("sequence",),
    "lines": ("sequence", "line"),
    "accounts": ("no",),
    "account_changes": ("account_no", "sequence"),
    "holds": ("id",),
    "hold_lines": ("hold_id",),
    "pendings": ("account_no", "sequence"),
    "closings": ("sequence",),
    "backdatings": ("sequence",),
    "requests": ("scope", "key"),
    "balances": ("account_no",),
    "daily_totals": ("account_no", "effective_on", "block"),
    "party_balances": ("account_no", "party"),
    "ledgers": ("code",),
    "organizations": ("slug",),
    "currencies": ("code",),
}
"""What a difference names a row of each table by."""

NOT_PROVEN = {
    "schema_migrations": "checked against the files' checksums at every start",
    "relay_cursors": "a position only: the relay compares it with what Kafka has",
    "consumer_offsets": "a position only: asked twice, the request key gives the same answer",
    "rates": "what fx published: a report says which of them it used, a posting has its own in its record",
    "proofs": "what proofs found, of which they are the source themselves",
}
"""Tables that say nothing about the books."""

NO_RECORD = {
    ("organizations", "name"): "a title; an organization is known by its slug, and has no log of its own",
    ("organizations", "opened_at"): "when the row was made; nothing is derived from it",
    ("currencies", "name"): "a title; a currency is known by its code and decimals",
}
"""Columns without a record."""

MUTATIONS = {
    "int2": "{0} + 1",
    "int4": "{0} + 1",
    "int8": "{0} + 1",
    "numeric": "{0} + 1",
    "text": "left({0}, -1) || case right({0}, 1) when 'x' then 'y' else 'x' end",
    "bytea": "set_byte({0}, 0, get_byte({0}, 0) # 1)",
    "bool": "not {0}",
    "date": "{0} + 1",
    "time": "{0} + interval '1 minute'",
    "timestamptz": "{0} + interval '1 microsecond'",
    "uuid": "(translate(left({0}::text, 1), '0123456789abcdef', '123456789abcdef0') || substr({0}::text, 2))::uuid",
    "jsonb": "jsonb_build_object('x', {0})",
}
INSTEAD_OF_NULL = {
    "int2": "1",
    "int4": "1",
    "int8": "1",
    "numeric": "1",
    "text": "'x'",
    "bytea": "'x'",
    "bool": "true",
    "date": "date '2020-02-02'",
    "timestamptz": "timestamptz '2020-02-02Z'",
    "uuid": "gen_random_uuid()",
    "jsonb": "'{}'",
}
NO_RECORD_ROWS = {
    "currencies": "one that no account is kept in has no record",
}
"""Tables of which a row too many is not found."""

ONE_WAY = {("ledgers", "epoch"): "{0} - 1"}
"""A restore raises the epoch without a record, so only a lower one is wrong."""

CHECKED_WHERE = {
    "requests": "sequence is not null",
}
"""Rows that have a record: rejections that are remembered have none."""

ADDED: dict[str, Sequence[tuple[str, ...]]] = {
    "ledgers": [("id", "no", "code")],
    "organizations": [("id", "slug")],
    "hold_lines": [("hold_id",), ("line",)],
}
"""What has to be changed of a copied row where its key alone is not enough: a primary key cannot be there twice."""

ROWS_TRIED = 3


class Playground:
    """A full history whose constraints are gone, for an intruder with all rights; each attempt is put back."""

    def __init__(self, connection: Any, auditor: Pool) -> None:
        self.connection = connection
        self.auditor = auditor
        self.columns: dict[str, dict[str, str]] = {}

    async def open(self) -> None:
        """Reads the catalog, keeps a copy of every table, and takes all constraints and triggers away."""
        rows = await self.connection.fetch(
            """
            select c.relname, a.attname, t.typname from pg_class c
            join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
            join pg_type t on t.oid = a.atttypid
            where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p') order by 1, a.attnum
            """
        )
        for table, column, type_ in rows:
            self.columns.setdefault(table, {})[column] = type_
        await self.connection.execute(
            """
            create schema kept;
            do $$
            declare found record;
            begin
                for found in select relname from pg_class where relnamespace = 'public'::regnamespace and relkind = 'r'
                loop
                    execute format('create table kept.%I as table public.%I', found.relname, found.relname);
                end loop;
                for found in select conrelid::regclass as place, conname from pg_constraint
                    where connamespace = 'public'::regnamespace and conrelid <> 0 and contype in ('c', 'f', 'u', 'p')
                    order by contype <> 'f'
                loop
                    execute format('alter table %s drop constraint %I cascade', found.place, found.conname);
                end loop;
                for found in select indexrelid::regclass as place from pg_index i join pg_class c on c.oid = i.indrelid
                    where c.relnamespace = 'public'::regnamespace and i.indisunique
                loop
                    execute format('drop index %s', found.place);
                end loop;
                for found in select attrelid::regclass as place, attname from pg_attribute
                    where attidentity <> '' and not attisdropped
                loop
                    execute format('alter table %s alter column %I drop identity', found.place, found.attname);
                end loop;
                for found in select attrelid::regclass as place, attname from pg_attribute a
                    join pg_class c on c.oid = a.attrelid
                    where c.relnamespace = 'public'::regnamespace and c.relkind = 'r' and a.attnum > 0 and a.attnotnull
                loop
                    execute format('alter table %s alter column %I drop not null', found.place, found.attname);
                end loop;
            end $$;
            set session_replication_role = replica;
            """
        )

    async def rows(self, table: str) -> list[str]:
        """Where some rows of a table are: the first, the last, and one between."""
        where = CHECKED_WHERE.get(table, "true")
        order = ", ".join(KEYS[table])
        found = await self.connection.fetch(f"select ctid::text from {table} where {where} order by {order}")
        assert found, f"the history leaves {table} empty"
        places = [row[0] for row in found]
        return list(dict.fromkeys([places[0], places[len(places) // 2], places[-1]]))[:ROWS_TRIED]

    async def names(self, table: str, place: str, column: str = "", change: str = "") -> set[str]:
        """What a difference may name the row by: its key or its sequence, as they were or as they are changed."""
        names = set()
        for changed in ("", column):
            wanted = ", ".join(f"{change} as {name}" if name == changed else name for name in self.columns[table])
            row = await self.connection.fetchrow(f"select {wanted} from {table} where ctid = $1::text::tid", place)
            names |= {"/".join(str(row[name]) for name in KEYS[table]), str(row.get("sequence", "none"))}
        return names

    async def found(self) -> list[Difference]:
        """Every difference that a proof of all books tells."""
        ledgers = await self.connection.fetch(
            "select o.slug, l.code from ledgers l join organizations o on o.id = l.organization_id"
        )
        differences = list(await proof_store.find_strays(self.auditor))
        for slug, code in ledgers:
            async with self.auditor.acquire() as connection:
                ledger = await books_store.load_ledger(connection, slug, code)
            assert ledger is not None
            report = await verify(self.auditor, ledger, slice_records=7)
            assert report.ok == all(invariant.ok for invariant in report.invariants)
            differences += [found.first_difference for found in report.invariants if found.first_difference]
        return differences

    async def attempt(self, table: str, statement: str, *arguments: Any) -> list[Difference]:
        """What is found after a statement; the table is put back."""
        try:
            await self.connection.execute(statement, *arguments)
            return await self.found()
        finally:
            await self.connection.execute(f"delete from {table}")
            await self.connection.execute(f"insert into {table} select * from kept.{table}")


@pytest.fixture(scope="session")
async def playground(postgres: PostgresServer, ledger_template: str) -> AsyncIterator[Playground]:
    async with postgres.database(ledger_template, owner="ledger_migrator") as dsn:
        dsns = postgres.service_dsns(dsn, "ledger")
        await write_full_history(dsns.writer)
        connection = await asyncpg.connect(dsn)
        auditor = await create_pool(dsns.auditor, name="ledger-auditor", max_size=1)
        try:
            opened = Playground(connection, auditor)
            await opened.open()
            yield opened
        finally:
            await auditor.close()
            await connection.close()


def is_named(differences: Sequence[Difference], table: str, names: set[str]) -> bool:
    """Whether one of the differences is of the table and names the row; the head names the column instead."""
    if table in {"ledgers", "organizations"}:
        return any(found.table in {"ledgers", "log"} for found in differences)
    alike = {table, "holds" if table == "hold_lines" else table}
    return any(
        found.table in alike and {found.key, str(found.sequence), found.expected} & names for found in differences
    )


async def test_the_history_verifies_and_is_complete(playground: Playground) -> None:
    assert await playground.found() == []
    types = await playground.connection.fetch("select distinct payload::jsonb->>'type' as type from log")
    assert {row["type"] for row in types} == {
        "ledger-opened", "account-opened", "account-changed", "entry-posted", "hold-placed", "hold-captured",
        "hold-released", "hold-expired", "day-closed", "period-soft-closed", "period-closed", "period-reopened",
        "year-closed", "year-reopened",
    }  # fmt: skip


async def test_every_table_is_proven_or_says_why_not(playground: Playground) -> None:
    assert set(playground.columns) == set(KEYS) | set(NOT_PROVEN)
    assert {type_ for table in KEYS for type_ in playground.columns[table].values()} <= set(MUTATIONS)
    for table, column in [*NO_RECORD, *ONE_WAY]:
        assert column in playground.columns[table]


@pytest.mark.parametrize("table", list(KEYS))
async def test_every_column_of_every_table_is_proven(playground: Playground, table: str) -> None:
    missed = []
    for column, type_ in playground.columns[table].items():
        changed = ONE_WAY.get((table, column), MUTATIONS[type_]).format(column)
        instead = INSTEAD_OF_NULL.get(type_, "null")
        for number in range(len(await playground.rows(table))):
            place = (await playground.rows(table))[number]
            change = f"coalesce({changed}, {instead})"
            names = await playground.names(table, place, column, change)
            statement = f"update {table} set {column} = {change} where ctid = $1::text::tid"
            differences = await playground.attempt(table, statement, place)
            if (table, column) in NO_RECORD:
                assert not differences, f"{table}.{column} is proven: take it off the list"
            elif not is_named(differences, table, names):
                missed.append((column, sorted(names), differences))
    assert not missed


@pytest.mark.parametrize("table", list(KEYS))
async def test_every_row_that_is_missing_is_missed(playground: Playground, table: str) -> None:
    for number in range(len(await playground.rows(table))):
        place = (await playground.rows(table))[number]
        names = await playground.names(table, place)
        differences = await playground.attempt(table, f"delete from {table} where ctid = $1::text::tid", place)
        assert differences, (table, names)


@pytest.mark.parametrize("table", list(KEYS))
async def test_every_row_that_is_there_without_a_record_is_found(playground: Playground, table: str) -> None:
    columns = playground.columns[table]
    for key in ADDED.get(table, [(name,) for name in KEYS[table]]):
        (place, *_) = await playground.rows(table)
        wanted = ", ".join(MUTATIONS[columns[name]].format(name) if name in key else name for name in columns)
        statement = f"insert into {table} select {wanted} from {table} where ctid = $1::text::tid"
        differences = await playground.attempt(table, statement, place)
        assert bool(differences) == (table not in NO_RECORD_ROWS), (table, key)


@pytest.mark.parametrize("table", [table for table in KEYS if table not in NO_RECORD_ROWS])
async def test_every_row_that_is_there_twice_is_found(playground: Playground, table: str) -> None:
    """A copy that says the same: no sum shows it where each row is read by its key."""
    for number in range(len(await playground.rows(table))):
        place = (await playground.rows(table))[number]
        statement = f"insert into {table} select * from {table} where ctid = $1::text::tid"
        differences = await playground.attempt(table, statement, place)
        told_of = "holds" if table == "hold_lines" else table
        assert any(found.table == told_of for found in differences), (table, place, differences)
        if table in {"entries", "lines", "pendings", "closings", "backdatings"}:
            assert any(found.table == table and found.sequence for found in differences), (table, differences)


@pytest.mark.parametrize("table", [table for table in KEYS if table not in NO_RECORD_ROWS])
async def test_a_row_too_many_is_found_wherever_it_lies(playground: Playground, table: str) -> None:
    """What is added may lie before the row that it imitates, and be read before it: here it is the first of all."""
    columns = playground.columns[table]
    for key in ADDED.get(table, [(name,) for name in KEYS[table]]):
        (place, *_) = await playground.rows(table)
        wanted = ", ".join(
            MUTATIONS[columns[name]].format(name) + f" as {name}" if name in key else name for name in columns
        )
        copied = f"create temporary table added as select {wanted} from {table} where ctid = '{place}'"
        await playground.connection.execute(copied)
        await playground.connection.execute(f"truncate {table}")
        await playground.connection.execute(f"insert into {table} select * from added")
        await playground.connection.execute("drop table added")
        assert await playground.attempt(table, f"insert into {table} select * from kept.{table}"), (table, key)


async def test_every_byte_of_every_record_is_under_the_hash(playground: Playground) -> None:
    """Some bytes of each record; which ones is drawn anew in each run, from a seed that a failure tells."""
    seed = random.randrange(2**32)
    drawn = random.Random(seed)
    lengths = await playground.connection.fetch("select sequence, length(payload) as length from log order by 1")
    for sequence, length in lengths:
        at = drawn.randrange(1, length + 1)
        differences = await playground.attempt(
            "log",
            """
            update log set payload = overlay(payload placing
                case substr(payload, $2, 1) when '7' then '8' else '7' end from $2 for 1)
            where sequence = $1 and ledger_no = 1
            """,
            sequence,
            at,
        )
        hits = [found for found in differences if (found.table, found.key, found.sequence) == ("log", "hash", sequence)]
        assert hits, (seed, sequence, at, differences)
