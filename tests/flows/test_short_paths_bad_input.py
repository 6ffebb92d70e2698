"""The short paths refuse what they cannot mean: a wrong type in any place is a problem that says where, never a 5xx."""

import asyncio
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import orjson
import pytest

from libs.common.json_text import pointer_token
from services.ledger.short_examples import ASKED
from tests.flows.shop import Answer, Shop
from tests.flows.test_bad_input import refused

pytestmark = pytest.mark.stack

V1 = "/api/v1"
WRONG: tuple[Any, ...] = (
    None, True, 0, -1, 7, 1.5, 2**63, 10**18 + 1, "", "x" * 300, "caf\u00e9 \U0001f600", "a\0b", "-1.00", "1e3",
    "NaN", [], [1], {"a": {}}, str(uuid4()),
)  # fmt: skip
BARE = (
    b"1e3",
    b"1E400",
    b"1e-7",
    b"NaN",
    b"-Infinity",
    b"1" + b"0" * 70,
    b"0." + b"0" * 40 + b"1",
    b"-0",
    b"01",
    b"+1",
)
AT_ONCE = 16


def places(value: Any, pointer: str = "") -> Iterator[str]:
    """Every place of a JSON value, the whole first."""
    yield pointer
    if isinstance(value, dict):
        for name, child in value.items():
            yield from places(child, f"{pointer}/{pointer_token(name)}")
    if isinstance(value, list):
        for index, child in enumerate(value):
            yield from places(child, f"{pointer}/{index}")


def changed(body: Any, pointer: str, value: Any) -> Any:
    """A copy of the body with another value at a place."""
    copy = orjson.loads(orjson.dumps(body))
    if not pointer:
        return value
    *steps, last = pointer.split("/")[1:]
    at = copy
    for step in steps:
        at = at[int(step) if isinstance(at, list) else step]
    at[int(last) if isinstance(at, list) else last] = value
    return copy


async def all_answers(shop: Shop, path: str, bodies: list[Any]) -> list[Answer]:
    """What is answered to every body, in order, some at once."""
    room = asyncio.Semaphore(AT_ONCE)

    async def answer(body: Any) -> Answer:
        async with room:
            return await shop.send("POST", path, body if isinstance(body, bytes) else orjson.dumps(body))

    return await asyncio.gather(*(answer(body) for body in bodies))


@pytest.mark.parametrize("path", sorted(ASKED))
async def test_a_wrong_type_in_any_place_is_told(shop: Shop, path: str) -> None:
    example = ASKED[path]
    bodies = [changed(example, place, value) for place in places(example) for value in WRONG]
    bodies += [{**example, "colour": "red"}, {}]
    answers = await all_answers(shop, path, bodies)
    for body, answer in zip(bodies, answers, strict=True):
        assert answer.status in (201, 400, 409, 422), (body, answer.body)
        if answer.status != 201:
            refused(answer, answer.status, answer.body["code"])
            assert answer.body["code"] != "json-invalid", body
    assert answers[-1].status == 422


@pytest.mark.parametrize("path", sorted(path for path in ASKED if "amount" in str(ASKED[path])))
async def test_a_number_that_is_no_amount_is_told(shop: Shop, path: str) -> None:
    example = ASKED[path]
    (place, *_) = [place for place in places(example) if place.endswith("/amount")]
    raw = orjson.dumps(changed(example, place, "HERE"))
    for number, answer in zip(
        BARE, await all_answers(shop, path, [raw.replace(b'"HERE"', bare) for bare in BARE]), strict=True
    ):
        assert answer.status in (400, 422), (number, answer.body)
        if answer.body["code"] == "malformed":
            assert [fault["pointer"] for fault in answer.body["errors"]] == [place], number


@pytest.mark.parametrize("path", sorted(ASKED))
@pytest.mark.parametrize(
    ("raw", "status", "code"),
    [
        (b"", 400, "json-invalid"),
        (b"{", 400, "json-invalid"),
        (b'{"name":1,"name":1}', 400, "json-invalid"),
        (b'"text"', 422, "malformed"),
        (b"[" * 100 + b"]" * 100, 422, "malformed"),
        (b"{}", 422, "malformed"),
    ],
)
async def test_what_is_no_form(steady_shop: Shop, path: str, raw: bytes, status: int, code: str) -> None:
    refused(await steady_shop.send("POST", path, raw), status, code)


ADDRESSES = [
    (f"{V1}/accounts?limit=0", 422),
    (f"{V1}/accounts?limit=x", 422),
    (f"{V1}/accounts?account_type=cash", 422),
    (f"{V1}/accounts?cursor=bm9uZQ", 422),
    (f"{V1}/accounts/9999-NOBODY", 404),
    (f"{V1}/accounts/%00", 422),
    (f"{V1}/accounts/{'x' * 4000}", 404),
    (f"{V1}/accounts/caf%C3%A9/balance", 404),
    (f"{V1}/accounts/", 404),
    (f"{V1}/transactions/7", 404),
    (f"{V1}/transactions?reference=%00", 422),
    (f"{V1}/transactions?cursor=", 200),
    (f"{V1}/ledger/events", 422),
    (f"{V1}/ledger/events?account_id=", 422),
    (f"{V1}/ledger/events?account_id=x&after=-1", 422),
    (f"{V1}/ledger/events?account_id=x&limit=501", 422),
    (f"{V1}/ledger/account/x/balance", 404),
    (f"{V1}/reports/trial_balance?currency=usd", 422),
    (f"{V1}/reports/ledger/x?cursor=y", 404),
    (f"{V1}/reports/ledger/1010-CASH?cursor=y", 422),
    ("/api/journals?from=yesterday", 422),
    ("/api/journals?to=2026-02-30", 422),
    ("/api/journals?account=%00", 422),
    ("/api/accounts/x/balance", 404),
    ("/api/journals?form=2026-01-01", 422),
    ("/api/accounts", 405),
    ("/api/transfers", 405),
]


@pytest.mark.parametrize(("path", "status"), ADDRESSES, ids=[row[0][:60] for row in ADDRESSES])
async def test_a_bad_address(steady_shop: Shop, path: str, status: int) -> None:
    answer = await steady_shop.send("GET", path)
    assert answer.status == status, answer.body
    if status != 200:
        refused(answer, status, answer.body["code"])
