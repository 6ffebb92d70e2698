"""Records: their bytes, their hashes, and that none is longer than the relay can publish."""

from datetime import UTC, datetime, timedelta, timezone
from hashlib import sha256
from typing import Any
from uuid import UUID

import orjson
import pytest

from libs.common.journal import LINES_MAX, RECORD_BYTES_MAX, EntryRequest, LineRequest, Rate, ReversalRequest
from libs.common.money import ISO_4217
from services.ledger.domain import LINE_OVERHEAD_BYTES, RECORD_OVERHEAD_BYTES, Accepted, Request, Stamp, decide
from services.ledger.records import append, instant
from tests.ledger.attempts import NOON, table
from tests.ledger.plain_books import PlainBooks

LONG_CODE = "Ü" * 120


def bare_size(request: Request) -> int:
    """Bytes of the request as its shortest JSON: what is absent or empty is left out."""

    def bare(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: bare(member) for name, member in value.items() if member not in (None, "", [], {})}
        return [bare(member) for member in value] if isinstance(value, list) else value

    return len(orjson.dumps(bare(orjson.loads(orjson.dumps(request)))))


def stamp(request: Request) -> Stamp:
    """As large as a request's surroundings may be."""
    return Stamp(
        recorded_at=NOON,
        today=NOON.date(),
        service="s" * 63,
        subject="u" * 255,
        scope="s" * 320,
        key="k" * 255,
        fingerprint=bytes(32),
        size=bare_size(request),
        entry_id=UUID(int=77),
        traceparent="t" * 55,
    )


def appended(books: PlainBooks, request: Request) -> list[bytes]:
    """The payloads a request becomes."""
    asked = stamp(request)
    decision = decide(books.state, request, asked)
    assert isinstance(decision, Accepted), decision
    return [append(books.state, record, asked).payload for record in decision.records]


def wide_books() -> PlainBooks:
    """Accounts with long names in every currency there is, and in one of 18 decimals."""
    books = PlainBooks()
    for row in table(f"open | {LONG_CODE}-W asset WEI | opened"):
        books.check(row)
    for currency in ISO_4217:
        for row in table(f"open | {LONG_CODE}-{currency} asset {currency} | opened"):
            books.check(row)
    return books


def test_a_record_is_never_longer_than_was_reckoned() -> None:
    books = wide_books()
    lines = [LineRequest(f"{LONG_CODE}-W", "debit" if place % 2 else "credit", "9" * 12) for place in range(LINES_MAX)]
    request = EntryRequest(lines=lines[:600], id=UUID(int=1))
    (payload,) = appended(books, request)
    reckoned = bare_size(request) + RECORD_OVERHEAD_BYTES + 600 * LINE_OVERHEAD_BYTES
    assert len(payload) <= reckoned <= RECORD_BYTES_MAX


def test_lines_that_a_crossing_adds_are_reckoned_too() -> None:
    books = wide_books()
    foreign = [currency for currency in ISO_4217 if currency != "USD"]
    lines = [LineRequest(f"{LONG_CODE}-{currency}", "debit", "100") for currency in foreign]
    lines.append(LineRequest(f"{LONG_CODE}-USD", "credit", str(100 * len(foreign))))
    request = EntryRequest(lines=lines, rates=[Rate(currency, "USD", "1") for currency in foreign])
    payload = appended(books, request)[-1]
    count = len(orjson.loads(payload)["entry"]["lines"])
    assert count == 3 * len(foreign) + 1
    assert len(payload) <= bare_size(request) + RECORD_OVERHEAD_BYTES + count * LINE_OVERHEAD_BYTES


def test_what_could_be_posted_can_be_reversed() -> None:
    """A reversal is a small request for a large record: as large as the one it takes back, and no larger."""
    books = PlainBooks()
    for row in table("open | A asset USD | opened\nopen | B asset USD | opened"):
        books.check(row)
    books.check(table("entry | A debit 1; B credit 1; lines 1000; id 1 | posted")[0])
    (payload,) = appended(books, ReversalRequest(entry_id=UUID(int=1)))
    assert len(payload) < RECORD_BYTES_MAX
    assert len(orjson.loads(payload)["entry"]["lines"]) == LINES_MAX


def test_the_hash_covers_the_one_before_and_the_bytes() -> None:
    books = PlainBooks()
    before = books.state.hash
    for row in table("open | A asset USD | opened\nopen | B asset USD | opened"):
        books.check(row)
    middle = books.state.hash
    (payload,) = appended(books, EntryRequest(lines=[LineRequest("A", "debit", "1"), LineRequest("B", "credit", "1")]))
    assert before != middle
    assert books.state.hash == sha256(middle + payload).digest()


def test_a_record_says_its_place_and_who_asked() -> None:
    books = PlainBooks()
    for row in table("open | A asset USD | opened\nopen | B asset USD | opened"):
        books.check(row)
    (payload,) = appended(books, EntryRequest(lines=[LineRequest("A", "debit", "1"), LineRequest("B", "credit", "1")]))
    record = orjson.loads(payload)
    assert (record["organization"], record["ledger"], record["epoch"], record["sequence"]) == ("demo", "main", 1, 4)
    assert (record["actor"], record["request"]["key"]) == ("u" * 255, "k" * 255)


@pytest.mark.parametrize(
    ("at", "text"),
    [
        (datetime(2026, 3, 2, 12, tzinfo=UTC), "2026-03-02T12:00:00.000000Z"),
        (datetime(2026, 3, 2, 12, 0, 0, 7, tzinfo=UTC), "2026-03-02T12:00:00.000007Z"),
        (datetime(2026, 3, 2, 1, tzinfo=timezone(timedelta(hours=2))), "2026-03-01T23:00:00.000000Z"),
    ],
)
def test_instants_are_utc_and_order_as_texts_do(at: datetime, text: str) -> None:
    assert instant(at) == text
