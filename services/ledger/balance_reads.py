"""Balances of one account: now, as of an effective day, as of a sequence, as of both, and of one party.

Now is one row of `balances`. As of a sequence alone it is what stands beside the account's last line up to there; as of
a day alone the sum of the day's rows; as of both the whole blocks before the sequence's own and the account's lines of
that block. A party's is its row now, else its lines. What else stands on an account is read first, by itself: it does
not move with the sums.

Holds have no effective day: pending amounts are those at the sequence the balance is true at, from `balances` now and
from `pendings` before. They are kept by account, so a party's balance leaves them out.
"""

from dataclasses import dataclass
from datetime import date
from typing import Any

import asyncpg

from libs.common.db import Connection
from libs.common.journal import Side
from libs.common.money import to_text
from services.ledger.answers import BalanceAnswer
from services.ledger.reads import as_uuid
from services.ledger.reports.tree import NOTHING_HELD, Held, on_side
from services.ledger.state import Ledger
from services.ledger.sums import at_most_head


@dataclass(frozen=True, slots=True)
class AccountRead:
    """What a balance needs to know of its account; a summary account has no currency."""

    no: int
    code: str
    name: str
    normal_side: Side
    currency: str | None
    exponent: int
    summary: bool
    has_children: bool


async def read_account_kept(connection: Connection, ledger: Ledger, code: str) -> AccountRead | None:
    """An account by its code or id."""
    row = await connection.fetchrow(
        """
        select a.no, a.code, a.name, a.normal_side, a.currency, a.decimals, a.summary,
            exists (select from accounts c where c.ledger_no = a.ledger_no and c.parent_no = a.no) as has_children
        from accounts a
        where a.ledger_no = $1 and (a.code = $2 or a.id = $3)
        """,
        ledger.no,
        code,
        as_uuid(code),
    )
    if row is None:
        return None
    return AccountRead(
        row["no"], row["code"], row["name"], row["normal_side"], row["currency"], row["decimals"], row["summary"],
        row["has_children"],
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class AsOf:
    """Which balance: effective by a day, known at a sequence, of a party; None is no limit."""

    effective_on: date | None = None
    sequence: int | None = None
    party: str | None = None


NOW = AsOf()


async def read_balance(connection: Connection, ledger: Ledger, account: AccountRead, asked: AsOf) -> BalanceAnswer:
    """The balance of an account that has a currency. Raises Problem 422 `sequence-not-reached`."""
    row = await _read(connection, ledger, account, asked)
    at = at_most_head(row["head"], asked.sequence)
    if row["balance_after"] is not None:
        posted = int(row["balance_after"])
    else:
        posted = on_side(account.normal_side, int(row["debits"]), int(row["credits"]))
    if asked == NOW:
        held = Held(int(row["pending_debits"]), int(row["pending_credits"]))
    elif asked.party is not None:
        held = NOTHING_HELD
    else:
        held = await _held_at(connection, ledger.no, account.no, at)
    return _answer(account, asked, at, posted, held)


async def read_turnover(
    connection: Connection, ledger: Ledger, account: AccountRead, through: date | None, sequence: int
) -> tuple[int, int]:
    """Debits and credits of an account as of a day and a sequence."""
    row = await _as_of_both(connection, ledger.no, account.no, through or date.max, sequence)
    return int(row["debits"]), int(row["credits"])


def _answer(account: AccountRead, asked: AsOf, at: int, posted: int, held: Held) -> BalanceAnswer:
    assert account.currency is not None
    against = held.credits if account.normal_side == "debit" else held.debits
    return {
        "account": account.code,
        "currency": account.currency,
        "normal_side": account.normal_side,
        "posted": to_text(posted, account.exponent),
        "pending_debits": to_text(held.debits, account.exponent),
        "pending_credits": to_text(held.credits, account.exponent),
        "available": to_text(posted - against, account.exponent),
        "sequence": at,
        "effective_on": asked.effective_on.isoformat() if asked.effective_on else None,
        "party": asked.party,
    }


async def read_held(connection: Connection, ledger: Ledger, sequence: int) -> dict[int, Held]:
    """What open holds ask for at a sequence, by the number of every account that ever had one."""
    rows = await connection.fetch(
        """
        select a.no, p.pending_debits, p.pending_credits
        from accounts a
        cross join lateral (
            select pending_debits, pending_credits from pendings
            where ledger_no = $1 and account_no = a.no and sequence <= $2 order by sequence desc limit 1
        ) p
        where a.ledger_no = $1
        """,
        ledger.no,
        sequence,
    )
    return {row["no"]: Held(int(row["pending_debits"]), int(row["pending_credits"])) for row in rows}


async def _held_at(connection: Connection, ledger_no: int, account_no: int, sequence: int) -> Held:
    row = await connection.fetchrow(
        """
        select pending_debits, pending_credits from pendings
        where ledger_no = $1 and account_no = $2 and sequence <= $3
        order by sequence desc limit 1
        """,
        ledger_no,
        account_no,
        sequence,
    )
    return Held(int(row["pending_debits"]), int(row["pending_credits"])) if row is not None else NOTHING_HELD


async def _read(connection: Connection, ledger: Ledger, account: AccountRead, asked: AsOf) -> asyncpg.Record:
    """head, and either balance_after or debits and credits; one snapshot."""
    row: asyncpg.Record | None
    match asked:
        case AsOf(None, None, None):
            row = await _now(connection, ledger.no, account.no)
        case AsOf(None, int(sequence), None):
            row = await _as_of_sequence(connection, ledger.no, account.no, sequence)
        case AsOf(date() as on, None, None):
            row = await _as_of_day(connection, ledger.no, account.no, on)
        case AsOf(date() as on, int(sequence), None):
            row = await _as_of_both(connection, ledger.no, account.no, on, sequence)
        case AsOf(None, None, str(party)):
            row = await _of_party(connection, ledger.no, account.no, party)
        case _:
            row = await _of_party_as_of(connection, ledger.no, account.no, asked)
    assert row is not None, "the account's ledger is there"
    return row


async def _now(connection: Connection, ledger_no: int, account_no: int) -> Any:
    return await connection.fetchrow(
        """
        select l.sequence as head, null as balance_after, b.debits, b.credits, b.pending_debits, b.pending_credits
        from ledgers l join balances b on b.ledger_no = l.no
        where l.no = $1 and b.ledger_no = $1 and b.account_no = $2
        """,
        ledger_no,
        account_no,
    )


async def _as_of_sequence(connection: Connection, ledger_no: int, account_no: int, sequence: int) -> Any:
    return await connection.fetchrow(
        """
        select l.sequence as head, coalesce(
            (
                select balance_after from lines
                where ledger_no = $1 and account_no = $2 and sequence <= $3
                order by sequence desc, line desc limit 1
            ), 0) as balance_after
        from ledgers l where l.no = $1
        """,
        ledger_no,
        account_no,
        sequence,
    )


async def _as_of_day(connection: Connection, ledger_no: int, account_no: int, on: date) -> Any:
    return await connection.fetchrow(
        """
        select (select sequence from ledgers where no = $1) as head, null as balance_after,
            coalesce(sum(debits), 0) as debits, coalesce(sum(credits), 0) as credits
        from daily_totals
        where ledger_no = $1 and account_no = $2 and effective_on <= $3
        """,
        ledger_no,
        account_no,
        on,
    )


async def _as_of_both(connection: Connection, ledger_no: int, account_no: int, on: date, sequence: int) -> Any:
    return await connection.fetchrow(
        """
        select (select sequence from ledgers where no = $1) as head, null as balance_after,
            coalesce(sum(debits), 0) as debits, coalesce(sum(credits), 0) as credits
        from (
            select debits, credits from daily_totals
            where ledger_no = $1 and account_no = $2 and effective_on <= $3 and block < $4::bigint >> 16
            union all
            select case when debit then amount else 0 end, case when debit then 0 else amount end
            from lines
            where ledger_no = $1 and account_no = $2 and sequence >= ($4::bigint >> 16) << 16 and sequence <= $4
                and effective_on <= $3
        ) parts
        """,
        ledger_no,
        account_no,
        on,
        sequence,
    )


async def _of_party(connection: Connection, ledger_no: int, account_no: int, party: str) -> Any:
    return await connection.fetchrow(
        """
        select l.sequence as head, null as balance_after, coalesce(p.debits, 0) as debits,
            coalesce(p.credits, 0) as credits
        from ledgers l
        left join party_balances p on p.ledger_no = $1 and p.account_no = $2 and p.party = $3
        where l.no = $1
        """,
        ledger_no,
        account_no,
        party,
    )


async def _of_party_as_of(connection: Connection, ledger_no: int, account_no: int, asked: AsOf) -> Any:
    return await connection.fetchrow(
        """
        select (select sequence from ledgers where no = $1) as head, null as balance_after,
            coalesce(sum(amount) filter (where debit), 0) as debits,
            coalesce(sum(amount) filter (where not debit), 0) as credits
        from lines
        where ledger_no = $1 and account_no = $2 and party = $3 and sequence <= $4 and effective_on <= $5
        """,
        ledger_no,
        account_no,
        asked.party,
        asked.sequence if asked.sequence is not None else 2**62,
        asked.effective_on or date.max,
    )
