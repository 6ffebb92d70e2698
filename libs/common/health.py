"""The addresses every service has: is it alive, is it ready, which version is it, and its metrics."""

import os
from collections.abc import Mapping
from typing import Any, Protocol

import orjson
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from libs.common import metrics


class Ready(Protocol):
    """What answers /health/ready: whether the service can do its work now, and why not."""

    @property
    def ready(self) -> bool: ...

    def report(self) -> Mapping[str, Any]: ...


def add_health(app: FastAPI, service: str, version: str, readiness: Ready) -> None:
    """Add /health/live, /health/ready (503 while not ready), /version and /metrics."""

    async def live(_: Request) -> Response:
        return _json({"status": "alive", "service": service})

    async def ready(_: Request) -> Response:
        is_ready = readiness.ready
        content = {
            "status": "ready" if is_ready else "not-ready",
            "service": service,
            "process_id": os.getpid(),
            "checks": readiness.report(),
        }
        return _json(content, 200 if is_ready else 503)

    async def tell_version(_: Request) -> Response:
        return _json({"service": service, "version": version, "api": "v1"})

    async def show_metrics(_: Request) -> Response:
        return Response(metrics.render(), headers={"Content-Type": metrics.CONTENT_TYPE})

    for path, respond in (
        ("/health/live", live), ("/health/ready", ready), ("/version", tell_version), ("/metrics", show_metrics),
    ):  # fmt: skip
        app.router.routes.append(Route(path, respond, methods=["GET"], include_in_schema=False))


def _json(content: Mapping[str, Any], status: int = 200) -> Response:
    headers = {"Cache-Control": "no-store"}
    return Response(orjson.dumps(content, default=str), status, headers, "application/json")
