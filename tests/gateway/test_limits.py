"""A runaway caller is slowed, and nobody else."""

from collections.abc import Callable

import aiohttp
import pytest

from libs.common.errors import Problem
from services.gateway.limits import RATES, Limits, Rate
from tests.gateway.conftest import Gateways
from tests.gateway.echo import EchoService
from tests.gateway.serving import serving

ENTRIES = "/api/v1/ledgers/main/entries"
TWO = {**RATES, "read": Rate(1, 2)}


def test_a_bucket_empties_and_fills() -> None:
    limits = Limits(TWO)
    limits.take("demo", "anna", "read", 100.0)
    assert (b"ratelimit", b'"read";r=0;t=1') in limits.take("demo", "anna", "read", 100.0)
    with pytest.raises(Problem) as refused:
        limits.take("demo", "anna", "read", 100.0)
    assert (refused.value.status, refused.value.headers["Retry-After"]) == (429, "1")
    limits.take("demo", "anna", "read", 101.0)
    with pytest.raises(Problem):
        limits.take("demo", "anna", "read", 101.5)


@pytest.mark.parametrize(
    ("organization", "subject", "rate_class"),
    [("other", "anna", "read"), ("demo", "bob", "read"), ("demo", "anna", "write"), (None, "anna", "read")],
)
def test_others_have_their_own_bucket(organization: str | None, subject: str, rate_class: str) -> None:
    limits = Limits({**TWO, "write": Rate(1, 1)})
    for _ in range(2):
        limits.take("demo", "anna", "read", 100.0)
    limits.take(organization, subject, rate_class, 100.0)  # type: ignore[arg-type]


def test_a_full_bucket_holds_no_more_than_its_burst() -> None:
    limits = Limits(TWO)
    limits.take("demo", "anna", "read", 0.0)
    assert (b"ratelimit", b'"read";r=1;t=1') in limits.take("demo", "anna", "read", 1_000_000.0)


def test_only_so_many_buckets_are_kept() -> None:
    limits = Limits(TWO, buckets_max=2)
    for _ in range(2):
        limits.take("demo", "anna", "read", 0.0)
    for name in ("bob", "carl"):
        limits.take("demo", name, "read", 0.0)
    limits.take("demo", "anna", "read", 0.0)


EXPIRED = Problem(401, "token-expired", "The token has expired. Get a new one.")


def test_an_address_that_is_refused_too_often_is_told_so() -> None:
    limits = Limits(unauthorized=Rate(1, 2))
    told = [limits.refusal("192.0.2.1", EXPIRED, 100.0) for _ in range(3)]
    assert told[:2] == [EXPIRED, EXPIRED]
    assert (told[2].status, told[2].code, told[2].headers["Retry-After"]) == (429, "too-many-requests", "1")
    assert told[2].facts == {"rate_class": "unauthorized", "retry_after_s": 1, "cause": "token-expired"}
    assert limits.refusal("192.0.2.2", EXPIRED, 100.0) is EXPIRED
    assert limits.refusal("192.0.2.1", EXPIRED, 101.0) is EXPIRED


def test_many_addresses_displace_no_caller() -> None:
    limits = Limits(TWO, buckets_max=2)
    for _ in range(2):
        limits.take("demo", "anna", "read", 0.0)
    for number in range(5):
        limits.refusal(f"192.0.2.{number}", EXPIRED, 0.0)
    with pytest.raises(Problem):
        limits.take("demo", "anna", "read", 0.0)


async def test_bad_tokens_are_limited_by_address_and_good_ones_pass(
    gateways: Gateways,
    client: aiohttp.ClientSession,
    bearer: Callable[..., dict[str, str]],
    echo: EchoService,
) -> None:
    wrong: list[dict[str, str]] = [{}, {"Authorization": "Bearer nonsense"}, {}, {"Authorization": "Bearer a.b.c"}]
    limit = Rate(0.01, 2)
    async with serving(echo.app) as upstream, gateways([upstream], unauthorized=limit) as url:
        told = []
        for headers in wrong:
            async with client.get(url + ENTRIES, headers=headers) as answer:
                told.append((answer.status, (await answer.json())["code"]))
        assert told == [
            (401, "token-missing"), (401, "token-malformed"), (429, "too-many-requests"), (429, "too-many-requests"),
        ]  # fmt: skip
        assert 1 < int(answer.headers["Retry-After"]) <= 100
        async with client.get(url + ENTRIES, headers=bearer("viewer")) as answer:
            assert answer.status == 200
        async with client.post(url + ENTRIES, headers=bearer("viewer"), data=b"{}") as answer:
            assert answer.status == 403
    assert echo.requests == 1


async def test_429_says_when_to_come_back(
    gateways: Gateways,
    client: aiohttp.ClientSession,
    bearer: Callable[..., dict[str, str]],
    echo: EchoService,
) -> None:
    async with serving(echo.app) as upstream, gateways([upstream], rates={**RATES, "read": Rate(0.01, 2)}) as url:
        statuses = []
        for _ in range(3):
            async with client.get(url + ENTRIES, headers=bearer("viewer")) as answer:
                statuses.append(answer.status)
                told = await answer.json()
        assert statuses == [200, 200, 429]
        assert (told["code"], told["retryable"]) == ("too-many-requests", True)
        assert 1 < int(answer.headers["Retry-After"]) <= 100
        assert answer.headers["RateLimit"].startswith('"read";r=0')
        async with client.get(url + ENTRIES, headers=bearer("viewer", subject="bob")) as answer:
            assert answer.status == 200
            assert answer.headers["RateLimit-Policy"] == '"read";q=2;w=200'


async def test_what_carries_no_token_is_passed_on_as_it_is_and_limited_by_address(
    gateways: Gateways, client: aiohttp.ClientSession, echo: EchoService
) -> None:
    signed = {"Stripe-Signature": "t=1,v1=ab", "Content-Type": "application/json"}
    rates = {**RATES, "webhook": Rate(0.01, 2)}
    async with serving(echo.app) as upstream, gateways([upstream], invoicing=[upstream], rates=rates) as url:
        statuses = []
        for _ in range(3):
            async with client.post(f"{url}/api/v1/webhooks/stripe/main", headers=signed, data=b'{"a": 1 }') as answer:
                statuses.append(answer.status)
                said = await answer.json()
                if answer.status == 201:
                    assert said["body"] == '{"a": 1 }'
                    assert ["stripe-signature", "t=1,v1=ab"] in said["headers"]
        assert statuses == [201, 201, 429]
        assert (said["code"], said["facts"]["rate_class"]) == ("too-many-requests", "webhook")
    assert echo.requests == 2
