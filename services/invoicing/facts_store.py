"""What is kept of the ledgers' logs: how far each was heard, and the lines on accounts that are followed."""

from collections.abc import Iterable, Sequence
from datetime import date, datetime
from typing import NamedTuple
from uuid import UUID

from libs.common.array_text import array_columns
from libs.common.db import Connection

Ledger = tuple[str, str]
"""Organization and ledger, by their codes."""


class Head(NamedTuple):
    """How far a ledger's log was heard."""

    epoch: int
    sequence: int
    hash: str


class Followed(NamedTuple):
    """An account that a role is or was mapped to; `wanted_through` is where the hearing again has to come to."""

    organization: str
    ledger: str
    account: str
    wanted_through: int | None
    complete: bool


class BookLine(NamedTuple):
    """A line on a followed account; debits are positive."""

    organization: str
    ledger: str
    sequence: int
    line: int
    account: str
    currency: str
    party: str | None
    amount: int
    entry_id: UUID
    service: str
    effective_on: date


async def load_heads(connection: Connection, ledgers: Sequence[Ledger]) -> dict[Ledger, Head]:
    """How far these ledgers were heard; those never heard of are left out."""
    rows = await connection.fetch(
        """
        select h.organization, h.ledger, h.epoch, h.sequence, h.hash
        from unnest($1::text::text[], $2::text::text[]) as wanted (organization, ledger)
        join heads h on h.organization = wanted.organization and h.ledger = wanted.ledger
        """,
        *array_columns(ledgers, 2),
    )
    return {(row["organization"], row["ledger"]): Head(row["epoch"], row["sequence"], row["hash"]) for row in rows}


async def store_heads(
    connection: Connection, heads: Sequence[tuple[str, str, UUID, int, int, str]], at: datetime
) -> None:
    """(organization, ledger, ledger id, epoch, sequence, hash) of each ledger that was heard further."""
    await connection.execute(
        """
        insert into heads (organization, ledger, ledger_id, epoch, sequence, hash, heard_at)
        select organization, ledger, ledger_id, epoch, sequence, hash, $7
        from unnest($1::text::text[], $2::text::text[], $3::text::uuid[], $4::text::bigint[], $5::text::bigint[],
            $6::text::text[])
            as heard (organization, ledger, ledger_id, epoch, sequence, hash)
        on conflict (organization, ledger) do update
            set epoch = excluded.epoch, sequence = excluded.sequence, hash = excluded.hash, heard_at = excluded.heard_at
        """,
        *array_columns(heads, 6),
        at,
    )


async def load_followed(connection: Connection, ledgers: Sequence[Ledger]) -> list[Followed]:
    """The followed accounts of these ledgers, each once: it is complete when it is for every role."""
    rows = await connection.fetch(
        """
        select f.organization, f.ledger, f.account, max(f.wanted_through) as wanted_through,
            bool_and(f.complete) as complete
        from unnest($1::text::text[], $2::text::text[]) as wanted (organization, ledger)
        join followed_accounts f on f.organization = wanted.organization and f.ledger = wanted.ledger
        group by f.organization, f.ledger, f.account
        """,
        *array_columns(ledgers, 2),
    )
    return [Followed(*row.values()) for row in rows]


async def used_before(connection: Connection, accounts: Sequence[Followed]) -> set[tuple[str, str, str]]:
    """Those of the accounts that have lines which are not kept."""
    rows = await connection.fetch(
        """
        select u.organization, u.ledger, u.account
        from unnest($1::text::text[], $2::text::text[], $3::text::text[]) as wanted (organization, ledger, account)
        join used_accounts u
            on u.organization = wanted.organization and u.ledger = wanted.ledger and u.account = wanted.account
        """,
        *array_columns([each[:3] for each in accounts], 3),
    )
    return {(row["organization"], row["ledger"], row["account"]) for row in rows}


async def want_again(connection: Connection, accounts: Sequence[tuple[str, str, str, int]]) -> None:
    """These accounts are complete when their log was heard again through a sequence."""
    await connection.execute(
        """
        update followed_accounts f set wanted_through = wanted.through
        from unnest($1::text::text[], $2::text::text[], $3::text::text[],
            $4::text::bigint[]) as wanted (organization, ledger, account, through)
        where f.organization = wanted.organization and f.ledger = wanted.ledger and f.account = wanted.account
          and not f.complete
        """,
        *array_columns(accounts, 4),
    )


async def complete(connection: Connection, accounts: Sequence[tuple[str, str, str]]) -> None:
    """All lines of these accounts are here."""
    await connection.execute(
        """
        update followed_accounts f set complete = true
        from unnest($1::text::text[], $2::text::text[], $3::text::text[]) as heard (organization, ledger, account)
        where f.organization = heard.organization and f.ledger = heard.ledger and f.account = heard.account
          and not f.complete
        """,
        *array_columns(accounts, 3),
    )


async def hear_again(connection: Connection, topic: str, partition: int) -> None:
    """Forget where the consumer is: it goes back to the first record of the partition."""
    await connection.execute("delete from consumer_offsets where topic = $1 and partition = $2", topic, partition)


async def store_lines(connection: Connection, lines: Sequence[BookLine]) -> None:
    """Lines of facts behind the head, which nobody can have kept before."""
    await connection.execute(
        """
        insert into book_lines (organization, ledger, sequence, line, account, currency, party, amount, entry_id,
            service, effective_on)
        select * from unnest($1::text::text[], $2::text::text[], $3::text::bigint[], $4::text::smallint[],
            $5::text::text[], $6::text::text[], $7::text::text[],
            $8::text::numeric[], $9::text::uuid[], $10::text::text[], $11::text::date[])
        """,
        *array_columns(lines, 11),
    )


async def store_lines_again(connection: Connection, lines: Sequence[BookLine]) -> None:
    """Lines of facts that are heard again, as far as they are not kept. To look for each costs a third more."""
    await connection.execute(
        """
        insert into book_lines (organization, ledger, sequence, line, account, currency, party, amount, entry_id,
            service, effective_on)
        select * from unnest($1::text::text[], $2::text::text[], $3::text::bigint[], $4::text::smallint[],
            $5::text::text[], $6::text::text[], $7::text::text[],
            $8::text::numeric[], $9::text::uuid[], $10::text::text[], $11::text::date[])
        on conflict do nothing
        """,
        *array_columns(lines, 11),
    )


async def store_used(connection: Connection, accounts: Iterable[tuple[str, str, str]]) -> None:
    """Accounts that have lines which are not kept."""
    await connection.execute(
        """
        insert into used_accounts (organization, ledger, account)
        select * from unnest($1::text::text[], $2::text::text[], $3::text::text[])
        on conflict do nothing
        """,
        *array_columns(sorted(accounts), 3),
    )
