"""The gateway as a process: started by its settings, stopped by a signal."""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE, STDOUT, Process
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import aiohttp
import pytest

from libs.common.auth import DevIssuer
from tests.gateway.conftest import AUDIENCE, ISSUER
from tests.gateway.echo import EchoService
from tests.gateway.serving import free_port, serving


async def begin(repository: Path, settings: dict[str, str]) -> Process:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LEDGERBUS_")} | settings
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "services.gateway.main", cwd=repository, env=environment, stdout=PIPE, stderr=STDOUT
    )


async def test_it_starts_serves_and_stops_clean(
    repository: Path,
    issuer: tuple[DevIssuer, Path],
    bearer: Callable[..., dict[str, str]],
    client: aiohttp.ClientSession,
    echo: EchoService,
) -> None:
    port = free_port()
    async with serving(echo.app) as upstream:
        process = await begin(
            repository,
            {
                "LEDGERBUS_HTTP_PORT": str(port),
                "LEDGERBUS_JWKS_FILE": str(issuer[1]),
                "LEDGERBUS_JWT_ISSUER": ISSUER,
                "LEDGERBUS_JWT_AUDIENCE": AUDIENCE,
                "LEDGERBUS_LEDGER_URL": upstream,
                "LEDGERBUS_INVOICING_URL": upstream,
                "LEDGERBUS_GATEWAY_CORS_ORIGINS": "https://console.example",
            },
        )
        url = f"http://127.0.0.1:{port}"
        async with asyncio.timeout(20):
            while True:
                with suppress(aiohttp.ClientConnectorError):
                    async with client.get(f"{url}/health/ready") as answer:
                        if answer.status == 200:
                            break
                await asyncio.sleep(0.05)
        headers = bearer("accountant") | {"Origin": "https://console.example"}
        async with client.post(f"{url}/api/v1/ledgers/main/entries", headers=headers, data=b"{}") as answer:
            assert answer.status == 201
            assert answer.headers["Access-Control-Allow-Origin"] == "https://console.example"
        process.send_signal(signal.SIGTERM)
        said, _ = await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode == 0, said.decode()
    assert headers["Authorization"].split()[1] not in said.decode(), "no token in the logs"


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({}, "LEDGERBUS_JWKS_FILE"),
        ({"LEDGERBUS_LEDGER_URL": "ledger:8001"}, "LEDGERBUS_LEDGER_URL"),
        ({"LEDGERBUS_INVOICING_URL": "invoicing:8002"}, "LEDGERBUS_INVOICING_URL"),
        ({"LEDGERBUS_GATEWAY_REQUESTS_MAX": "0"}, "LEDGERBUS_GATEWAY_REQUESTS_MAX"),
        ({"LEDGERBUS_GATEWAY_RATE_FACTR": "1"}, "LEDGERBUS_GATEWAY_RATE_FACTR"),
    ],
)
async def test_a_wrong_setting_stops_the_start_and_is_named(
    repository: Path, settings: dict[str, str], named: str
) -> None:
    process = await begin(repository, settings)
    said, _ = await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode == 2
    assert named in said.decode()
