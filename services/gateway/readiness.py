"""Which services answer: asked once a second in the background, so that /health/ready costs nothing and never waits."""

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any, Final

import aiohttp

from libs.common.runtime import Readiness
from services.gateway.upstreams import Instance, Upstream

PERIOD_S: Final = 1.0
TIMEOUT_S: Final = 1.0


class UpstreamReadiness:
    """The gateway is ready when every upstream has an instance that says it is ready.

    `process` is the runtime's word: it ends the readiness when the process begins to stop.
    """

    def __init__(self, upstreams: Iterable[Upstream]) -> None:
        self._upstreams = tuple(upstreams)
        self.process = Readiness()

    @property
    def ready(self) -> bool:
        return self.process.ready and all(
            any(instance.ready for instance in upstream.instances) for upstream in self._upstreams
        )

    def report(self) -> Mapping[str, Any]:
        """Upstream -> whether it is ready and what each of its instances said."""
        return {
            upstream.name: {
                "ready": any(instance.ready for instance in upstream.instances),
                "instances": {instance.url: instance.said for instance in upstream.instances},
            }
            for upstream in self._upstreams
        }

    async def watch(self, stopping: asyncio.Event) -> None:
        """Ask all instances once a period until the process stops."""
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
        waiting = asyncio.create_task(stopping.wait())
        async with aiohttp.ClientSession(timeout=timeout, cookie_jar=aiohttp.DummyCookieJar()) as session:
            while not stopping.is_set():
                await self.look(session)
                await asyncio.wait([waiting], timeout=PERIOD_S)

    async def look(self, session: aiohttp.ClientSession) -> None:
        """Ask all instances once, side by side."""
        instances = [instance for upstream in self._upstreams for instance in upstream.instances]
        await asyncio.gather(*(_ask(session, instance) for instance in instances))


async def _ask(session: aiohttp.ClientSession, instance: Instance) -> None:
    try:
        async with session.get(f"{instance.url}/health/ready") as answer:
            instance.ready = answer.status == 200
            instance.said = "ready" if instance.ready else f"answers {answer.status}"
    except (aiohttp.ClientError, TimeoutError) as error:
        instance.ready = False
        instance.said = "no answer in time" if isinstance(error, TimeoutError) else "no connection"
