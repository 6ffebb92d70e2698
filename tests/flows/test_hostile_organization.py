"""An organization that knows everything of another one but its tokens: it sees nothing and moves nothing.

Every path that names something of the victim is tried with the stranger's good token, with headers and bodies that
claim to be the victim, and with tokens that were tampered with. Where the stranger's own ledger has the same code, it
sees its own emptiness.
"""

import base64
from typing import Any
from uuid import uuid4

import orjson
import pytest

from libs.cli.session import Stack
from tests.flows.shop import ENTRIES, LEDGER, Answer, Shop, open_shop, sale

pytestmark = pytest.mark.stack


@pytest.fixture
async def stranger(stack: Stack) -> Shop:
    """Another organization, with a chart of the same codes and nothing posted."""
    return await open_shop(stack, f"stranger-{uuid4().hex[:12]}")


async def test_what_is_the_other_one_s_is_not_there(shop: Shop, stranger: Shop) -> None:
    posted = await shop.send("POST", ENTRIES, sale("123.45", external_id="order/1"))
    account = (await shop.send("GET", f"{LEDGER}/accounts/1010-CASH")).body
    entry = f"{ENTRIES}/{posted.body['id']}"
    for method, path in (("GET", entry), ("POST", f"{entry}/reverse"), ("GET", f"{LEDGER}/accounts/{account['id']}")):
        answer = await stranger.send(method, path, {} if method == "POST" else None)
        assert (answer.status, answer.body["code"]) in {(404, "unknown-entry"), (404, "unknown-account")}, path
    assert (await stranger.send("GET", f"{LEDGER}/accounts/1010-CASH/balance")).body["posted"] == "0.00"
    assert (await stranger.send("GET", f"{ENTRIES}?external_id=order/1")).body["items"] == []
    assert (await stranger.send("GET", ENTRIES)).body["items"] == []
    events = (await stranger.send("GET", f"{LEDGER}/accounts/1010-CASH/events")).body["items"]
    assert [event["type"] for event in events] == ["account-opened"]
    log = (await stranger.send("GET", f"{LEDGER}/log?limit=1000")).body["items"]
    assert {orjson.loads(record["payload"])["organization"] for record in log} == {stranger.organization}
    trial = (await stranger.send("GET", f"{LEDGER}/reports/trial-balance")).body
    assert {row["balance"] for row in trial["rows"]} <= {"0.00"}
    assert (await shop.send("GET", entry)).body == posted.body


async def test_the_same_keys_and_ids_do_not_meet(shop: Shop, stranger: Shop) -> None:
    names = {"id": str(uuid4()), "external_id": "order/2"}
    headers = {"Idempotency-Key": "order-2"}
    mine = await shop.send("POST", ENTRIES, sale("1.00", **names), headers)
    theirs = await stranger.send("POST", ENTRIES, sale("2.00", **names), headers)
    assert (mine.status, theirs.status) == (201, 201)
    assert theirs.headers.get("Idempotency-Replayed") is None
    assert (await shop.posted("1010-CASH"), await stranger.posted("1010-CASH")) == ("1.00", "2.00")


async def test_a_cursor_of_the_other_one_opens_nothing(shop: Shop, stranger: Shop) -> None:
    for _ in range(3):
        assert (await shop.send("POST", ENTRIES, sale())).status == 201
    cursor = (await shop.send("GET", f"{ENTRIES}?limit=1")).body["next_cursor"]
    answer = await stranger.send("GET", f"{ENTRIES}?cursor={cursor}")
    assert (answer.status, answer.body["code"]) == (422, "cursor-invalid")


@pytest.mark.parametrize("claim", ["x-organization", "x-forwarded-user", "x-ledgerbus-organization", "x-tenant-id"])
async def test_a_header_that_claims_an_organization_is_nothing(shop: Shop, stranger: Shop, claim: str) -> None:
    answer = await stranger.send("POST", ENTRIES, sale(), {claim: shop.organization})
    assert answer.status == 201
    assert (await shop.posted("1010-CASH"), await stranger.posted("1010-CASH")) == ("0.00", "10.00")


async def test_a_body_that_claims_an_organization_is_refused(shop: Shop, stranger: Shop) -> None:
    for claim in ("organization", "ledger", "ledger_id", "service", "actor"):
        answer = await stranger.send("POST", ENTRIES, sale(**{claim: shop.organization}))
        assert (answer.status, answer.body["code"]) == (422, "malformed"), claim
        assert answer.body["errors"][0]["pointer"] == f"/{claim}"
    assert await shop.posted("1010-CASH") == "0.00"


def tampered(token: str, **claims: Any) -> str:
    """The token with other claims under its old signature."""
    head, body, signature = token.split(".")
    content = orjson.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4))) | claims
    return f"{head}.{base64.urlsafe_b64encode(orjson.dumps(content)).rstrip(b'=').decode()}.{signature}"


def unsigned(token: str) -> str:
    """The token's claims under `alg: none`."""
    head = base64.urlsafe_b64encode(b'{"alg":"none","typ":"JWT"}').rstrip(b"=").decode()
    return f"{head}.{token.split('.')[1]}."


def refused(answer: Answer, status: int, *codes: str) -> None:
    assert answer.status == status, answer.body
    assert answer.body["code"] in codes
    assert answer.headers["Content-Type"] == "application/problem+json"


async def test_a_token_that_was_tampered_with_opens_nothing(shop: Shop, stranger: Shop) -> None:
    token = stranger.bearer()["Authorization"].removeprefix("Bearer ")
    wrong = ("token-signature-invalid", "token-malformed", "token-key-unknown")
    for forged in (
        tampered(token, organization=shop.organization),
        tampered(token, roles=["operator"]),
        unsigned(token),
    ):
        refused(
            await stranger.send("GET", f"{LEDGER}/accounts", None, {"Authorization": f"Bearer {forged}"}), 401, *wrong
        )
    refused(await stranger.send("GET", f"{LEDGER}/accounts", None, {"Authorization": ""}), 401, "token-missing")
    refused(
        await stranger.send("GET", f"{LEDGER}/accounts", None, {"Authorization": "Bearer x"}), 401, "token-malformed"
    )


async def test_an_operator_reaches_no_books(shop: Shop) -> None:
    operator = shop.bearer("operator", organization=None)
    both = shop.bearer("operator", "controller", organization=None)
    for headers in (operator, both):
        refused(await shop.send("POST", ENTRIES, sale(), headers), 403, "scope-missing", "organization-missing")
        refused(await shop.send("GET", LEDGER, None, headers), 403, "scope-missing", "organization-missing")
    refused(await shop.send("GET", "/api/v1/organizations"), 403, "scope-missing", "operator-only")


async def test_an_organization_that_was_never_made_has_no_ledger(shop: Shop) -> None:
    nobody = shop.bearer(organization=f"nobody-{uuid4().hex[:12]}")
    refused(await shop.send("POST", ENTRIES, sale(), nobody), 404, "unknown-ledger")
    refused(await shop.send("GET", f"{LEDGER}/log", None, nobody), 404, "unknown-ledger")
