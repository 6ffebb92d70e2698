"""A real Prometheus for a test: scrapes given targets, answers queries, keeps nothing."""

import asyncio
import json
import shutil
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from libs.devstack import ports

SCRAPE_INTERVAL_MS = 250
_START_LIMIT_S = 20


class Prometheus:
    """Answers instant queries. `query` gives the result's series, or raises AssertionError with Prometheus' words."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = url

    async def query(self, expression: str) -> list[dict[str, Any]]:
        async with self._session.get(f"{self._url}/api/v1/query", params={"query": expression}) as response:
            answer = await response.json()
        assert answer["status"] == "success", f"{expression}\n{answer.get('error')}"
        result: list[dict[str, Any]] = answer["data"]["result"]
        return result

    async def health_of_rules(self) -> set[str]:
        """The health of the loaded rules (ok, err), once each was evaluated."""
        async with asyncio.timeout(30):
            while True:
                async with self._session.get(f"{self._url}/api/v1/rules") as response:
                    groups = (await response.json())["data"]["groups"]
                health = {str(rule["health"]) for group in groups for rule in group["rules"]}
                if "unknown" not in health:
                    return health
                await asyncio.sleep(0.1)

    async def scrapes(self) -> int:
        """How often the target that was scraped least was scraped."""
        counted = await self.query("count_over_time(up[1h])")
        return min((int(series["value"][1]) for series in counted), default=0)

    async def until_up(self, jobs: int, scrapes: int) -> None:
        """Returns when that many jobs are up and each was scraped that often."""
        async with asyncio.timeout(60):
            while True:
                if len(await self.query("up == 1")) >= jobs and await self.scrapes() >= scrapes:
                    return
                await asyncio.sleep(0.1)


def tool(name: str) -> str:
    """The path of `prometheus` or `promtool`; skips the test where it is absent."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"not run: {name} is not installed")
    return found


@asynccontextmanager
async def running(folder: Path, targets: Mapping[str, str], rules: Path | None = None) -> AsyncIterator[Prometheus]:
    """A Prometheus that scrapes `targets` (job -> host:port) several times a second, with the rules of a file."""
    program = tool("prometheus")
    port = ports.free_port()
    settings = {
        "global": {
            "scrape_interval": f"{SCRAPE_INTERVAL_MS}ms",
            "scrape_timeout": f"{SCRAPE_INTERVAL_MS}ms",
            "evaluation_interval": "1s",
        },
        "rule_files": [str(rules)] if rules else [],
        "scrape_configs": [
            {"job_name": job, "static_configs": [{"targets": [target]}]} for job, target in targets.items()
        ],
    }
    (folder / "prometheus.yml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    with (folder / "prometheus.log").open("wb") as log:
        server = await asyncio.create_subprocess_exec(
            program,
            f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'prometheus'}",
            f"--web.listen-address={ports.LOOPBACK}:{port}",
            stdout=log,
            stderr=log,
            cwd=folder,
        )
    try:
        async with aiohttp.ClientSession() as session:
            url = f"http://{ports.LOOPBACK}:{port}"
            await _until_ready(session, url, server, folder / "prometheus.log")
            yield Prometheus(session, url)
    finally:
        if server.returncode is None:
            server.terminate()
        await server.wait()


async def _until_ready(session: aiohttp.ClientSession, url: str, server: asyncio.subprocess.Process, log: Path) -> None:
    async with asyncio.timeout(_START_LIMIT_S):
        while True:
            assert server.returncode is None, f"Prometheus ended; its log is {log}"
            try:
                async with session.get(f"{url}/-/ready") as response:
                    if response.status == 200:
                        return
            except aiohttp.ClientConnectionError:
                pass
            await asyncio.sleep(0.1)


def load(path: Path) -> Any:
    """A YAML or JSON file as plain values."""
    text = path.read_text(encoding="utf-8")
    return json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
