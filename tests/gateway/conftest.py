"""A gateway before a real service, both on loopback, and tokens for everybody."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from libs.common.auth import DevIssuer, Verifier, create_dev_issuer
from services.gateway.api import create_gateway
from services.gateway.browser import Cors
from services.gateway.limits import RATES, UNAUTHORIZED, Limits, Rate
from services.gateway.proxy import Proxy
from services.gateway.readiness import UpstreamReadiness
from services.gateway.routes import RateClass
from services.gateway.upstreams import Upstream
from tests.gateway.echo import EchoService
from tests.gateway.serving import serving

ISSUER, AUDIENCE = "http://issuer.test", "ledgerbus"

Gateways = Callable[..., AbstractAsyncContextManager[str]]


@pytest.fixture(scope="session")
def issuer(tmp_path_factory: pytest.TempPathFactory) -> tuple[DevIssuer, Path]:
    folder = tmp_path_factory.mktemp("issuer")
    create_dev_issuer(folder / "key.pem", folder / "jwks.json")
    return DevIssuer(folder / "key.pem", ISSUER, AUDIENCE, "development"), folder / "jwks.json"


@pytest.fixture(scope="session")
def bearer(issuer: tuple[DevIssuer, Path]) -> Callable[..., dict[str, str]]:
    def headers(*roles: str, organization: str | None = "demo", subject: str = "anna") -> dict[str, str]:
        return {"Authorization": f"Bearer {issuer[0].token(subject, organization, roles=roles)}"}

    return headers


@pytest.fixture
def accountant(bearer: Callable[..., dict[str, str]]) -> dict[str, str]:
    return bearer("accountant")


@pytest.fixture(scope="session")
def gateways(issuer: tuple[DevIssuer, Path]) -> Gateways:
    """Makes gateways: `async with gateways(urls) as url`."""

    @asynccontextmanager
    async def gateway(
        urls: Sequence[str],
        *,
        rates: Mapping[RateClass, Rate] = RATES,
        unauthorized: Rate = UNAUTHORIZED,
        origins: Sequence[str] = (),
        body_s: float = 15.0,
        invoicing: Sequence[str] = (),
        **places: Any,
    ) -> AsyncIterator[str]:
        upstreams = {"ledger": Upstream("ledger", urls, **places)}
        if invoicing:
            upstreams["invoicing"] = Upstream("invoicing", invoicing, **places)
        verifier = Verifier(ISSUER, AUDIENCE, issuer[1])
        proxy = Proxy(upstreams, verifier, Limits(rates, unauthorized=unauthorized), body_s=body_s)
        await proxy.start()
        readiness = UpstreamReadiness(upstreams.values())
        await readiness.look(proxy.session)
        app = create_gateway("1.2.3", upstreams, verifier, proxy, readiness)
        try:
            async with serving(Cors(app, origins) if origins else app) as url:
                yield url
        finally:
            await proxy.close()
            await verifier.close()

    return gateway


@pytest.fixture
async def echo() -> EchoService:
    return EchoService()


@pytest.fixture
async def gateway(gateways: Gateways, echo: EchoService) -> AsyncIterator[str]:
    """A gateway before `echo`; gives its address."""
    async with serving(echo.app) as upstream, gateways([upstream]) as url:
        yield url


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)) as session:
        yield session
