"""One request on its way to a service, and the three ways in which a service can fail to answer it."""

from typing import NamedTuple

from starlette.types import Scope

from libs.common.errors import Problem
from services.gateway.incoming import Incoming
from services.gateway.routes import Passage
from services.gateway.upstreams import Upstream


class Wish(NamedTuple):
    """What is asked of which upstream. `target` is path and query as sent; `shard` names the ledger for hashing."""

    passage: Passage
    upstream: Upstream
    target: str
    shard: str
    incoming: Incoming

    @property
    def repeatable(self) -> bool:
        """Whether asking twice has the effect of once."""
        return not self.passage.stream and (self.passage.method == "GET" or self.incoming.idempotency_key is not None)


def target_of(scope: Scope) -> str:
    """Path and query exactly as the client sent them, percent signs and all."""
    path = scope["raw_path"].decode("ascii")
    query = scope["query_string"]
    return f"{path}?{query.decode('latin-1')}" if query else path


def unreachable(upstream: Upstream, *, retryable: bool) -> Problem:
    """502: no connection, or it broke before the answer."""
    detail = f"The {upstream.name} service did not answer."
    if not retryable:
        detail += " Whether it did what was asked is not known."
    return Problem(502, "upstream-unreachable", detail, facts={"upstream": upstream.name}, retryable=retryable)


def timed_out(upstream: Upstream, *, retryable: bool) -> Problem:
    """504: no answer in time."""
    detail = f"The {upstream.name} service did not answer in time. Whether it did what was asked is not known."
    return Problem(504, "upstream-timeout", detail, facts={"upstream": upstream.name}, retryable=retryable)
