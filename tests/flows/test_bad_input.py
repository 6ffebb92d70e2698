"""Bad input through the gateway: the right problem for each, never a 5xx, and nothing of it in the books."""

from typing import Any

import orjson
import pytest

from tests.flows.shop import ENTRIES, LEDGER, Answer, Shop, sale

pytestmark = pytest.mark.stack


def with_line(**changes: Any) -> dict[str, Any]:
    """The good entry with its first line changed."""
    entry = sale()
    entry["lines"][0].update(changes)
    return entry


def bare(amount: bytes) -> bytes:
    """The good entry with an amount that stands without quotes."""
    return orjson.dumps(sale()).replace(b'"10.00"', amount, 1)


LINE = sale()["lines"][0]

BODIES: list[tuple[str, Any, int, str, str | None]] = [
    ("a float", bare(b"10.5"), 422, "malformed", "/lines/0/amount"),
    ("a JSON number", bare(b"10"), 422, "malformed", "/lines/0/amount"),
    ("a JSON number with an exponent", bare(b"1e1"), 422, "malformed", "/lines/0/amount"),
    ("NaN", bare(b"NaN"), 400, "json-invalid", None),
    ("infinity", bare(b"Infinity"), 400, "json-invalid", None),
    ("NaN as text", with_line(amount="NaN"), 422, "malformed", "/lines/0/amount"),
    ("an exponent as text", with_line(amount="1e3"), 422, "malformed", "/lines/0/amount"),
    ("too many decimals", sale("10.001"), 422, "too-many-decimals", "/lines/0/amount"),
    ("10^30", sale("1" + "0" * 30), 422, "amount-out-of-range", "/lines/0/amount"),
    ("10^300", sale("1" + "0" * 300), 422, "malformed", "/lines/0/amount"),
    ("negative", sale("-10.00"), 422, "amount-not-positive", "/lines/0/amount"),
    ("zero", sale("0.00"), 422, "amount-not-positive", "/lines/0/amount"),
    ("an empty amount", sale(""), 422, "malformed", "/lines/0/amount"),
    ("no amount", with_line(amount=None), 422, "malformed", "/lines/0/amount"),
    ("empty lines", sale(lines=[]), 422, "too-few-lines", "/lines"),
    ("one line", sale(lines=[LINE]), 422, "too-few-lines", "/lines"),
    ("1,001 lines", sale(lines=[LINE] * 1_001), 422, "too-many-lines", "/lines"),
    ("no lines at all", {"description": "x"}, 422, "malformed", "/lines"),
    ("unknown account", with_line(account="9999-NOBODY"), 422, "unknown-account", "/lines/0/account"),
    ("wrong currency", with_line(currency="EUR"), 422, "currency-mismatch", "/lines/0/currency"),
    ("another currency's account", with_line(account="1020-EUR"), 422, "entry-not-balanced", "/lines"),
    ("somebody's control account", with_line(account="1100-AR"), 422, "account-is-control", "/lines/0/account"),
    ("a cent too much", with_line(amount="10.01"), 422, "entry-not-balanced", "/lines"),
    ("an unknown field", sale(colour="red"), 422, "malformed", "/colour"),
    ("a name twice", orjson.dumps(sale()).replace(b"{", b'{"id":null,"id":null,', 1), 400, "json-invalid", None),
    ("broken JSON", b'{"lines": [', 400, "json-invalid", None),
    ("no JSON", b"hello", 400, "json-invalid", None),
    ("nothing", b"", 400, "json-invalid", None),
    ("a list", b"[]", 422, "malformed", None),
    ("bad UTF-8", b'{"description": "\xff"}', 400, "json-invalid", None),
    ("half a surrogate", b'{"description": "\\ud800", "lines": []}', 400, "json-invalid", None),
    ("a NUL", sale(description="a\0b"), 422, "malformed", "/description"),
    ("a thousand brackets", b"[" * 1_000 + b"]" * 1_000, 422, "malformed", None),
    ("20 MB", b'{"description": "' + b"x" * 20_000_000 + b'"}', 413, "body-too-large", None),
]  # fmt: skip


def refused(answer: Answer, status: int, code: str) -> None:
    """A whole problem, as RFC 9457 and the API promise it."""
    assert (answer.status, answer.body["code"]) == (status, code), answer.body
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.body["status"] == status
    assert answer.body["type"] == f"/docs/errors#{code}"
    assert answer.body["detail"]
    assert answer.body["retryable"] is False
    assert answer.body["request_id"] == answer.headers["X-Request-Id"]
    assert answer.body["trace_id"] == answer.headers["traceparent"][3:35]


@pytest.mark.parametrize(("what", "body", "status", "code", "pointer"), BODIES, ids=[row[0] for row in BODIES])
async def test_a_bad_body_is_told_what_and_where(
    steady_shop: Shop, what: str, body: Any, status: int, code: str, pointer: str | None
) -> None:
    before = await steady_shop.sequence()
    answer = await steady_shop.send("POST", ENTRIES, body)
    refused(answer, status, code)
    if pointer is not None:
        assert pointer in [fault["pointer"] for fault in answer.body["errors"]], answer.body
    assert await steady_shop.sequence() == before


async def test_tokens_that_do_not_fit(steady_shop: Shop) -> None:
    viewer = await steady_shop.send("POST", ENTRIES, sale(), steady_shop.bearer("viewer"))
    refused(viewer, 403, "scope-missing")
    assert viewer.body["facts"] == {"scope": "ledger:post"}
    expired = await steady_shop.send("POST", ENTRIES, sale(), steady_shop.bearer(lifetime_s=-60))
    refused(expired, 401, "token-expired")
    assert "Bearer" in expired.headers["WWW-Authenticate"]
    refused(await steady_shop.send("POST", ENTRIES, sale(), {"Authorization": "Basic eDp5"}), 401, "token-missing")


ADDRESSES = [
    ("GET", "/api/v1/ledgers/main/entries/7", 404, "unknown-entry"),
    ("GET", "/api/v1/ledgers/nowhere", 404, "unknown-ledger"),
    ("POST", "/api/v1/ledgers/nowhere/entries", 404, "unknown-ledger"),
    ("GET", "/api/v1/ledgers/main/accounts/9999-NOBODY", 404, "unknown-account"),
    ("GET", "/api/v1/ledgers/main/accounts/1010-CASH/balance?effective_on=yesterday", 422, "malformed"),
    ("GET", "/api/v1/ledgers/main/accounts/1010-CASH/balance?sequence=-1", 422, "malformed"),
    ("GET", "/api/v1/ledgers/main/accounts/1010-CASH/balance?sequence=1" + "0" * 30, 422, "malformed"),
    ("GET", "/api/v1/ledgers/main/entries?limit=0", 422, "malformed"),
    ("GET", "/api/v1/ledgers/main/entries?cursor=bm9uZQ", 422, "cursor-invalid"),
    ("GET", "/api/v1/ledgers/main/entries?q=%00", 422, "malformed"),
    ("GET", "/api/v1/nothing", 404, "route-unknown"),
    ("DELETE", "/api/v1/ledgers/main/entries", 405, "method-not-allowed"),
    ("GET", "/api/v1/ledgers/main/../main/entries", 404, "route-unknown"),
]


@pytest.mark.parametrize(("method", "path", "status", "code"), ADDRESSES, ids=[row[1][15:60] for row in ADDRESSES])
async def test_a_bad_address(steady_shop: Shop, method: str, path: str, status: int, code: str) -> None:
    refused(await steady_shop.send(method, path, sale() if method == "POST" else None), status, code)


@pytest.mark.parametrize("key", ["", "a" * 201, "two words", "caf\u00e9"])
async def test_a_bad_key(steady_shop: Shop, key: str) -> None:
    refused(await steady_shop.send("POST", ENTRIES, sale(), {"Idempotency-Key": key}), 400, "idempotency-key-invalid")


async def test_another_content_type(steady_shop: Shop) -> None:
    answer = await steady_shop.send("POST", ENTRIES, sale(), {"Content-Type": "text/plain"})
    refused(answer, 415, "content-type-not-supported")


async def test_the_books_are_as_they_were(steady_shop: Shop) -> None:
    assert (await steady_shop.send("GET", ENTRIES)).body["items"] == []
    proof = await steady_shop.send("GET", f"{LEDGER}/verify")
    assert proof.body["ok"], proof.body
