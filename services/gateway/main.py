"""The gateway's start: settings read, parts built, handed to the runtime."""

import os

from pydantic import Field, field_validator

from libs.common import runtime, settings, telemetry
from libs.common.auth import Verifier
from libs.common.errors import Misconfigured
from services.gateway.api import create_gateway
from services.gateway.browser import Cors
from services.gateway.limits import RATES, UNAUTHORIZED, Limits, Rate
from services.gateway.proxy import Proxy
from services.gateway.readiness import UpstreamReadiness
from services.gateway.upstreams import Upstream

VERSION = "0.1.0"


class GatewaySettings(settings.ServiceSettings):
    """What the gateway can be told from outside."""

    ledger_url: str = Field(
        "http://127.0.0.1:8001",
        alias="LEDGERBUS_LEDGER_URL",
        description="the ledger's address; several instances separated by commas",
    )
    invoicing_url: str = Field(
        "http://127.0.0.1:8002",
        alias="LEDGERBUS_INVOICING_URL",
        description="invoicing's address; several instances separated by commas",
    )
    cors_origins: str = Field(
        "", alias="LEDGERBUS_GATEWAY_CORS_ORIGINS", description="origins of browser clients, separated by commas"
    )
    requests_max: int = Field(
        512, ge=1, alias="LEDGERBUS_GATEWAY_REQUESTS_MAX", description="requests on their way to one service at once"
    )
    streams_max: int = Field(
        32, ge=1, alias="LEDGERBUS_GATEWAY_STREAMS_MAX", description="streams to one service at once"
    )
    rate_factor: float = Field(
        1.0, gt=0, alias="LEDGERBUS_GATEWAY_RATE_FACTOR", description="multiplies every rate limit of a caller"
    )
    unauthorized_per_s: float = Field(
        UNAUTHORIZED.per_s,
        gt=0,
        alias="LEDGERBUS_GATEWAY_UNAUTHORIZED_PER_S",
        description="requests without a good token that one address may send a second, ten times as many at once; "
        "more are answered 429",
    )
    access_log: bool = Field(
        False, alias="LEDGERBUS_GATEWAY_ACCESS_LOG", description="one log line per request (costs speed)"
    )

    @field_validator("ledger_url", "invoicing_url")
    @classmethod
    def _is_address(cls, value: str) -> str:
        if not all(url.startswith(("http://", "https://")) for url in listed(value)) or not listed(value):
            raise ValueError("each address begins with http:// or https://")
        return value


def listed(value: str) -> list[str]:
    """The parts of a comma-separated setting."""
    return [part.strip() for part in value.split(",") if part.strip()]


async def start() -> int:
    """Build the gateway and run it until it is told to stop."""
    chosen = settings.load(GatewaySettings, os.environ)
    telemetry.configure_logging("gateway", chosen.log_format, chosen.log_level)
    telemetry.configure_tracing(
        "gateway",
        VERSION,
        otlp_endpoint=chosen.otlp_endpoint,
        span_file=chosen.span_file,
        sample_ratio=chosen.trace_sample_ratio,
    )
    jwks = chosen.jwks_file or chosen.jwks_url
    if jwks is None:
        raise Misconfigured("set LEDGERBUS_JWKS_FILE or LEDGERBUS_JWKS_URL: where the keys of tokens are")
    verifier = Verifier(chosen.jwt_issuer, chosen.jwt_audience, jwks)
    addresses = {"ledger": chosen.ledger_url, "invoicing": chosen.invoicing_url}
    upstreams = {
        name: Upstream(name, listed(urls), requests_max=chosen.requests_max, streams_max=chosen.streams_max)
        for name, urls in addresses.items()
    }
    rates = {name: Rate(rate.per_s * chosen.rate_factor, rate.burst) for name, rate in RATES.items()}
    unauthorized = Rate(chosen.unauthorized_per_s, max(1, int(10 * chosen.unauthorized_per_s)))
    proxy = Proxy(upstreams, verifier, Limits(rates, unauthorized=unauthorized))
    readiness = UpstreamReadiness(upstreams.values())
    app = create_gateway(VERSION, upstreams, verifier, proxy, readiness, access_log=chosen.access_log)
    await verifier.start()
    await proxy.start()
    origins = listed(chosen.cors_origins)
    return await runtime.run(
        "gateway",
        app=Cors(app, origins) if origins else app,
        host=chosen.http_host,
        port=chosen.http_port,
        tasks={"upstreams": readiness.watch},
        closers=(("connections", proxy.close), ("keys", verifier.close)),
        readiness=readiness.process,
    )


if __name__ == "__main__":
    runtime.main(start)
