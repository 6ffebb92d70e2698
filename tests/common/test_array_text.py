"""Array texts are read by PostgreSQL as what they were written of."""

from collections.abc import Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from libs.common import db
from libs.common.array_text import array_columns, array_text
from tests.support.postgres import PostgresServer

pytestmark = pytest.mark.database

ID = UUID("0190a0b0-0000-8000-8000-000000000001")
COLUMNS: list[tuple[str, list[Any]]] = [
    (
        "text",
        ["a", "", None, "null", "NULL", "a,b", "{}", " ", "ü", 'say "no"', "back\\slash", "line\nline\t", "\u2028"],
    ),
    ("text", ['say "no"', "back\\slash", "\\n", '\\"', None]),
    ("text", ["\\\n", '"\t']),
    ("text", [None, None]),
    ("text", []),
    ("uuid", [ID, None]),
    ("bigint", [0, -5, 2**63 - 1, None]),
    ("numeric", [Decimal(7), None]),
    ("numeric", [10**37, -(10**37), 1, None]),
    ("date", [date(2026, 3, 2), None]),
    ("timestamptz", [datetime(2026, 3, 2, 12, 30, 1, 999_999, UTC), None]),
    ("boolean", [True, False, None]),
]


@pytest.mark.parametrize(("type_", "column"), COLUMNS, ids=[f"{type_}-{no}" for no, (type_, _) in enumerate(COLUMNS)])
async def test_a_column_comes_back(postgres: PostgresServer, type_: str, column: list[Any]) -> None:
    connection = await db.connect(postgres.admin_dsn, name="array-text")
    try:
        assert await connection.fetchval(f"select $1::text::{type_}[]", array_text(column)) == column
    finally:
        await connection.close()


def test_columns_of_rows() -> None:
    rows: Sequence[tuple[Any, ...]] = [("a", b"1", 1), ("b", None, 2)]
    assert array_columns(rows, bytes_at=(1,)) == ['{"a","b"}', [b"1", None], "{1,2}"]
    assert array_columns([], 2) == ["{}", "{}"]
