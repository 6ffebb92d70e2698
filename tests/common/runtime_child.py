"""A real process owned by `libs.common.runtime`, told by its arguments how to behave; it prints what happens to it.

    python -m tests.common.runtime_child PORT [worker=NAME:BEHAVIOUR ...] [closer=NAME:BEHAVIOUR ...] [limit=SECONDS]

Behaviours: waits, slow (a second to end), stuck, dies, returns, misconfigured, fails, blocks (the event loop).
"""

import asyncio
import sys
import time
from typing import Any

from libs.common import runtime
from libs.common.errors import Misconfigured
from libs.common.telemetry import configure_logging

READINESS = runtime.Readiness("database")


def say(word: str) -> None:
    print(word, flush=True)


def worker(name: str, behaviour: str) -> runtime.Task:
    async def work(stopping: runtime.Stopping) -> None:
        say(f"{name} begins")
        if behaviour in {"dies", "misconfigured", "returns"}:
            await asyncio.sleep(0.3)
        if behaviour == "dies":
            raise KeyError("a defect")
        if behaviour == "misconfigured":
            raise Misconfigured("Topic x does not exist.")
        if behaviour == "returns":
            return
        if behaviour == "blocks":
            await asyncio.sleep(0.2)
            time.sleep(0.4)  # noqa: ASYNC251 - the point of it
        await stopping.wait()
        if behaviour == "slow":
            await asyncio.sleep(1)
        if behaviour == "stuck":
            await asyncio.sleep(600)
        if behaviour == "fails":
            raise KeyError("while stopping")
        say(f"{name} ends")

    return work


def closer(name: str, behaviour: str) -> tuple[str, runtime.Closer]:
    async def close() -> None:
        if behaviour == "fails":
            raise OSError("will not close")
        if behaviour == "stuck":
            await asyncio.sleep(600)
        say(f"{name} closed, ready: {READINESS.ready}")

    return name, close


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["path"] == "/slow":
        await asyncio.sleep(0.7)
    elif scope["path"] == "/metrics":
        from libs.common import metrics

        await _answer(send, metrics.render())
        return
    await _answer(send, b"ready" if READINESS.ready else b"not ready")


async def _answer(send: Any, body: bytes) -> None:
    await send(
        {"type": "http.response.start", "status": 200, "headers": [(b"content-length", str(len(body)).encode())]}
    )
    await send({"type": "http.response.body", "body": body})


async def start() -> int:
    configure_logging("child")
    READINESS.set("database", True)
    options = [argument.partition("=") for argument in sys.argv[2:]]
    parts = [(kind, *value.split(":")) for kind, _, value in options if kind != "limit"]
    return await runtime.run(
        "child",
        app=app,
        host="127.0.0.1",
        port=int(sys.argv[1]),
        tasks={name: worker(name, behaviour) for kind, name, behaviour in parts if kind == "worker"},
        closers=[closer(name, behaviour) for kind, name, behaviour in parts if kind == "closer"],
        readiness=READINESS,
        step_timeout_s=next((float(value) for kind, _, value in options if kind == "limit"), 5.0),
    )


if __name__ == "__main__":
    runtime.main(start)
