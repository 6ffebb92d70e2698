"""Sums of lines as of two times: what was effective by a day, and what was known by a sequence.

`daily_totals` holds sums by account, effective day and block of 65,536 sequences. As of a day the rows are added up; as
of a sequence S the rows of whole blocks before S's own are, and from S's block the lines themselves up to S. So the
work is bounded by days and blocks plus the lines of one block, however long the history is. Blocks before S's, and
lines up to S, never change: what is read at a sequence is the same whenever it is read, without holding a snapshot.

Every function takes a connection of the reader role inside `as_reader`. Amounts are minor units of the account's
currency; debits and credits are sums, never netted. Accounts opened after the sequence are not there yet, and those
changed after it are named, grouped and classed as they were.
"""

from dataclasses import replace
from datetime import date
from typing import Any

import asyncpg
import orjson

from libs.common.db import Connection
from libs.common.errors import Fault, Problem
from services.ledger.account_sum import AccountSum
from services.ledger.state import Ledger

__all__ = ["AccountSum", "at_most_head", "read_daily_sums", "read_earlier", "read_head", "read_sums"]


async def read_sums(
    connection: Connection,
    ledger: Ledger,
    *,
    since: date | None,
    through: date | None,
    sequence: int | None,
    without_kinds: tuple[str, ...] = (),
) -> tuple[int, list[AccountSum]]:
    """The sequence it is true at, and every account by code with its lines of since <= effective_on <= through.

    Lines after `sequence` are not counted; None means the head. Entries of `without_kinds` (few: closing ones) are left
    out. Raises Problem 422 `sequence-not-reached`.
    """
    first, last = since or date.min, through or date.max
    if sequence is not None:
        rows = await _sums_at(connection, ledger.no, first, last, sequence)
    elif since is None and through is None:
        rows = await _balances(connection, ledger.no)
    else:
        rows = await _sums_between(connection, ledger.no, first, last)
    at = _sequence_of(rows, sequence)
    left_out: dict[int, tuple[int, int]] = {}
    if without_kinds:
        for no, _, debits, credits_ in await _sums_of_kinds(connection, ledger.no, first, last, at, without_kinds):
            before = left_out.get(no, (0, 0))
            left_out[no] = (before[0] + debits, before[1] + credits_)
    found = [_account_sum(row, left_out.get(row["no"], (0, 0))) for row in rows if row["no"] is not None]
    return at, found if sequence is None else await _as_they_were(connection, ledger, at, found)


async def read_daily_sums(
    connection: Connection,
    ledger: Ledger,
    *,
    since: date | None,
    through: date | None,
    sequence: int | None,
    without_kinds: tuple[str, ...] = (),
) -> tuple[int, list[tuple[date, AccountSum]]]:
    """As `read_sums`, one row for each account and effective day that has lines, by code and day."""
    first, last = since or date.min, through or date.max
    if sequence is None:
        rows = await _daily_sums_between(connection, ledger.no, first, last)
    else:
        rows = await _daily_sums_at(connection, ledger.no, first, last, sequence)
    at = _sequence_of(rows, sequence)
    left_out: dict[tuple[int, date], tuple[int, int]] = {}
    if without_kinds:
        of_kinds = await _sums_of_kinds(connection, ledger.no, first, last, at, without_kinds)
        left_out = {(no, day): (debits, credits_) for no, day, debits, credits_ in of_kinds}
    summed = [
        (row["effective_on"], _account_sum(row, left_out.get((row["no"], row["effective_on"]), (0, 0))))
        for row in rows
        if row["effective_on"] is not None
    ]
    if sequence is not None:
        accounts = await _as_they_were(connection, ledger, at, [account for _, account in summed])
        summed = [(day, account) for (day, _), account in zip(summed, accounts, strict=True)]
    return at, [(day, account) for day, account in summed if account.debits or account.credits]


async def read_head(connection: Connection, ledger: Ledger, sequence: int | None) -> int:
    """The sequence to read at: the one asked for, or the head. Raises Problem 422 `sequence-not-reached`."""
    head: int = await connection.fetchval("select sequence from ledgers where no = $1", ledger.no)
    return at_most_head(head, sequence)


def at_most_head(head: int, sequence: int | None) -> int:
    """The sequence asked for, or the head where none was. Raises Problem 422 `sequence-not-reached`."""
    if sequence is not None and sequence > head:
        detail = f"The ledger is at sequence {head}; {sequence} has not been reached."
        raise Problem(
            422, "sequence-not-reached", detail, facts={"head": head, "sequence": sequence},
            errors=[Fault("/sequence", f"is after the ledger's head, {head}")],
        )  # fmt: skip
    return head if sequence is None else sequence


async def read_earlier(connection: Connection, ledger: Ledger, sequence: int) -> dict[int, dict[str, Any]]:
    """What the accounts that were changed after a sequence were at it, as their record has it, by account number."""
    rows = await connection.fetch(
        """
        select a.no, g.payload
        from accounts a
        cross join lateral (
            select sequence from account_changes
            where ledger_no = $1 and account_no = a.no and sequence <= $2 order by sequence desc limit 1
        ) c
        join log g on g.ledger_no = $1 and g.sequence = c.sequence
        where a.ledger_no = $1 and a.version > $2 and a.opened_sequence <= $2
        """,
        ledger.no,
        sequence,
    )
    return {row["no"]: orjson.loads(row["payload"])["account"] for row in rows}


async def _as_they_were(
    connection: Connection, ledger: Ledger, sequence: int, accounts: list[AccountSum]
) -> list[AccountSum]:
    earlier = await read_earlier(connection, ledger, sequence)
    if not earlier:
        return accounts
    numbers = await _numbers_of(connection, ledger.no, [body["parent"] for body in earlier.values() if body["parent"]])
    return [
        _restated(account, earlier[account.no], numbers) if account.no in earlier else account for account in accounts
    ]


async def _numbers_of(connection: Connection, ledger_no: int, codes: list[str]) -> dict[str, int]:
    rows = await connection.fetch(
        "select code, no from accounts where ledger_no = $1 and code = any($2::text[])", ledger_no, codes
    )
    return {row["code"]: row["no"] for row in rows}


def _restated(account: AccountSum, body: dict[str, Any], numbers: dict[str, int]) -> AccountSum:
    """The account with all that may change of it as an earlier record says."""
    heading = body["heading"]
    return replace(
        account,
        name=body["name"],
        heading=(heading["number"], heading["name"]) if heading is not None else None,
        parent_no=numbers[body["parent"]] if body["parent"] is not None else None,
        cash=body["cash"],
        cash_flow_class=body["cash_flow_class"],
        monetary=body["monetary"],
        translation=body["translation"],
    )


def _sequence_of(rows: list[asyncpg.Record], sequence: int | None) -> int:
    return at_most_head(rows[0]["head"], sequence)


def _account_sum(row: asyncpg.Record, left_out: tuple[int, int]) -> AccountSum:
    heading: dict[str, Any] | None = orjson.loads(row["heading"]) if row["heading"] is not None else None
    return AccountSum(
        no=row["no"],
        code=row["code"],
        name=row["name"],
        type=row["type"],
        normal_side=row["normal_side"],
        currency=row["currency"],
        exponent=row["decimals"],
        heading=(heading["number"], heading["name"]) if heading is not None else None,
        parent_no=row["parent_no"],
        summary=row["summary"],
        cash=row["cash"],
        cash_flow_class=row["cash_flow_class"],
        monetary=row["monetary"],
        translation=row["translation"],
        debits=int(row["debits"]) - left_out[0],
        credits=int(row["credits"]) - left_out[1],
    )


async def _balances(connection: Connection, ledger_no: int) -> list[asyncpg.Record]:
    """All lines of every account, from the balances kept; one snapshot with the head."""
    rows: list[asyncpg.Record] = await connection.fetch(
        """
        select l.sequence as head, a.*, coalesce(b.debits, 0) as debits, coalesce(b.credits, 0) as credits
        from ledgers l
        left join accounts a on a.ledger_no = l.no
        left join balances b on b.ledger_no = a.ledger_no and b.account_no = a.no
        where l.no = $1
        order by a.code
        """,
        ledger_no,
    )
    return rows


async def _sums_between(connection: Connection, ledger_no: int, first: date, last: date) -> list[asyncpg.Record]:
    """The days' rows of every block; one snapshot with the head."""
    rows: list[asyncpg.Record] = await connection.fetch(
        """
        select l.sequence as head, a.*, coalesce(s.debits, 0) as debits, coalesce(s.credits, 0) as credits
        from ledgers l
        left join accounts a on a.ledger_no = l.no
        left join (
            select account_no, sum(debits) as debits, sum(credits) as credits
            from daily_totals where ledger_no = $1 and effective_on between $2 and $3
            group by account_no
        ) s on s.account_no = a.no
        where l.no = $1
        order by a.code
        """,
        ledger_no,
        first,
        last,
    )
    return rows


async def _sums_at(
    connection: Connection, ledger_no: int, first: date, last: date, sequence: int
) -> list[asyncpg.Record]:
    """Whole blocks before the sequence's own, and its block's lines up to it."""
    rows: list[asyncpg.Record] = await connection.fetch(
        """
        select l.sequence as head, a.*, coalesce(s.debits, 0) as debits, coalesce(s.credits, 0) as credits
        from ledgers l
        left join accounts a on a.ledger_no = l.no and a.opened_sequence <= $4
        left join (
            select account_no, sum(debits) as debits, sum(credits) as credits
            from (
                select account_no, debits, credits
                from daily_totals
                where ledger_no = $1 and effective_on between $2 and $3 and block < $4::bigint >> 16
                union all
                select account_no, case when debit then amount else 0 end, case when debit then 0 else amount end
                from lines
                where ledger_no = $1 and sequence >= ($4::bigint >> 16) << 16 and sequence <= $4
                    and effective_on between $2 and $3
            ) parts
            group by account_no
        ) s on s.account_no = a.no
        where l.no = $1
        order by a.code
        """,
        ledger_no,
        first,
        last,
        sequence,
    )
    return rows


async def _daily_sums_between(connection: Connection, ledger_no: int, first: date, last: date) -> list[asyncpg.Record]:
    rows: list[asyncpg.Record] = await connection.fetch(
        """
        select l.sequence as head, a.*, s.effective_on, s.debits, s.credits
        from ledgers l
        left join (
            select account_no, effective_on, sum(debits) as debits, sum(credits) as credits
            from daily_totals where ledger_no = $1 and effective_on between $2 and $3
            group by account_no, effective_on
        ) s on true
        left join accounts a on a.ledger_no = l.no and a.no = s.account_no
        where l.no = $1
        order by a.code, s.effective_on
        """,
        ledger_no,
        first,
        last,
    )
    return rows


async def _daily_sums_at(
    connection: Connection, ledger_no: int, first: date, last: date, sequence: int
) -> list[asyncpg.Record]:
    rows: list[asyncpg.Record] = await connection.fetch(
        """
        select l.sequence as head, a.*, s.effective_on, s.debits, s.credits
        from ledgers l
        left join (
            select account_no, effective_on, sum(debits) as debits, sum(credits) as credits
            from (
                select account_no, effective_on, debits, credits
                from daily_totals
                where ledger_no = $1 and effective_on between $2 and $3 and block < $4::bigint >> 16
                union all
                select account_no, effective_on, case when debit then amount else 0 end,
                    case when debit then 0 else amount end
                from lines
                where ledger_no = $1 and sequence >= ($4::bigint >> 16) << 16 and sequence <= $4
                    and effective_on between $2 and $3
            ) parts
            group by account_no, effective_on
        ) s on true
        left join accounts a on a.ledger_no = l.no and a.no = s.account_no
        where l.no = $1
        order by a.code, s.effective_on
        """,
        ledger_no,
        first,
        last,
        sequence,
    )
    return rows


async def _sums_of_kinds(
    connection: Connection, ledger_no: int, first: date, last: date, sequence: int, kinds: tuple[str, ...]
) -> list[tuple[int, date, int, int]]:
    """Account, effective day, debits and credits of the entries of some kinds up to a sequence.

    Kinds other than `normal` have an index of their own; the lines of each entry are found by the block range index.
    """
    rows = await connection.fetch(
        """
        select n.account_no, n.effective_on, coalesce(sum(n.amount) filter (where n.debit), 0) as debits,
            coalesce(sum(n.amount) filter (where not n.debit), 0) as credits
        from entries e
        cross join lateral (
            select * from lines where ledger_no = $1 and sequence = e.sequence limit e.line_count
        ) n
        where e.ledger_no = $1 and e.kind <> 'normal' and e.kind = any($5::text[]) and e.sequence <= $4
            and e.effective_on between $2 and $3
        group by n.account_no, n.effective_on
        """,
        ledger_no,
        first,
        last,
        sequence,
        list(kinds),
    )
    return [(row["account_no"], row["effective_on"], int(row["debits"]), int(row["credits"])) for row in rows]
