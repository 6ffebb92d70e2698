"""What the short paths read beyond the long ones: names for ids, keys of entries, lines of an account.

As in reads.py, every function takes a connection of the reader role on which `as_reader` has said for whom it reads.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

from libs.common.db import Connection
from services.ledger.reads import as_uuid
from services.ledger.state import Ledger


class AccountName(NamedTuple):
    """How an account is called."""

    no: int
    id: str
    code: str
    name: str
    decimals: int


async def read_names(connection: Connection, ledger: Ledger, names: Iterable[str]) -> dict[str, AccountName]:
    """The accounts that texts name, each by the text it was named by. A code wins over an equal id."""
    asked = list(names)
    ids = {text: uuid for text in asked if (uuid := as_uuid(text)) is not None}
    rows = await connection.fetch(
        """
        select no, id, code, name, decimals
        from accounts where ledger_no = $1 and (code = any($2::text[]) or id = any($3::uuid[]))
        """,
        ledger.no,
        asked,
        list(ids.values()),
    )
    found = [AccountName(row["no"], str(row["id"]), row["code"], row["name"], row["decimals"]) for row in rows]
    by_id = {account.id: account for account in found}
    by_code = {account.code: account for account in found}
    named = {text: by_id[str(uuid)] for text, uuid in ids.items() if str(uuid) in by_id}
    return {**named, **{text: by_code[text] for text in asked if text in by_code}}


async def read_keys(connection: Connection, ledger: Ledger, sequences: Iterable[int]) -> dict[int, str]:
    """The idempotency keys under which records came about, by sequence."""
    rows = await connection.fetch(
        """
        select sequence, payload::jsonb -> 'request' ->> 'key' as key
        from log where ledger_no = $1 and sequence = any($2::bigint[])
        """,
        ledger.no,
        list(sequences),
    )
    return {row["sequence"]: row["key"] for row in rows}


async def list_lines(
    connection: Connection, ledger: Ledger, account_no: int, after: tuple[int, int], limit: int
) -> list[dict[str, Any]]:
    """An account's lines in the order they were posted, after a sequence and a place in its entry."""
    rows = await connection.fetch(
        """
        select n.sequence, n.line, n.debit, n.amount, n.effective_on, e.id as entry_id
        from lines n join entries e on e.ledger_no = n.ledger_no and e.sequence = n.sequence
        where n.ledger_no = $1 and n.account_no = $2 and (n.sequence, n.line) > ($3, $4)
        order by n.sequence, n.line limit $5
        """,
        ledger.no,
        account_no,
        *after,
        limit,
    )
    return [dict(row) for row in rows]
