"""The services behind the gateway: their instances, how many requests each may hold, and whether it answers at all.

An instance has a circuit: after `FAILURES_MAX` failed connections or timeouts in a row it is left alone for a while,
which doubles up to `PAUSE_S_MAX`; then one request may try it, and its answer closes the circuit. Requests of one
ledger go to one instance (rendezvous hashing), as its writer is warm there; any other would be right, only slower.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Final

from libs.common import metrics
from libs.common.errors import Problem

FAILURES_MAX: Final = 6
PAUSE_S_MIN: Final = 0.5
PAUSE_S_MAX: Final = 5.0


@dataclass(slots=True)
class Circuit:
    """Whether an instance may be asked. Times are monotonic seconds."""

    failures: int = 0
    pause_s: float = PAUSE_S_MIN
    open_until_s: float | None = None

    def allows(self, now_s: float) -> bool:
        """Whether a request may go. While the circuit is open, one in every pause may, to try."""
        if self.open_until_s is None:
            return True
        if now_s < self.open_until_s:
            return False
        self.open_until_s = now_s + self.pause_s
        return True

    def succeeded(self) -> None:
        """An answer came, whatever it said."""
        self.failures = 0
        self.pause_s = PAUSE_S_MIN
        self.open_until_s = None

    def failed(self, now_s: float) -> None:
        """No connection, no answer, or none in time."""
        self.failures += 1
        if self.open_until_s is not None:
            self.pause_s = min(PAUSE_S_MAX, self.pause_s * 2)
        if self.failures >= FAILURES_MAX:
            self.open_until_s = now_s + self.pause_s


@dataclass(slots=True)
class Instance:
    """One address of an upstream, without a slash at its end."""

    url: str
    circuit: Circuit = field(default_factory=Circuit)
    ready: bool = False
    said: str = "not asked yet"


class Gauges:
    """One upstream's metrics, looked up once."""

    __slots__ = ("answered", "duration_ms", "inflight", "overloaded", "timed_out", "unreachable")

    def __init__(self, upstream: str) -> None:
        requests = metrics.GATEWAY_UPSTREAM_REQUESTS
        self.answered = requests.labels(upstream, "answered")
        self.unreachable = requests.labels(upstream, "unreachable")
        self.timed_out = requests.labels(upstream, "timed-out")
        self.overloaded = requests.labels(upstream, "overloaded")
        self.duration_ms = metrics.GATEWAY_UPSTREAM_DURATION_MS.labels(upstream)
        self.inflight = metrics.GATEWAY_INFLIGHT.labels(upstream)


class Upstream:
    """A service behind the gateway."""

    def __init__(self, name: str, urls: Sequence[str], *, requests_max: int = 512, streams_max: int = 32) -> None:
        assert urls, f"upstream {name} needs an address"
        self.name = name
        self.gauges = Gauges(name)
        self.instances = tuple(Instance(url.rstrip("/")) for url in urls)
        self._places = {False: requests_max, True: streams_max}

    @contextmanager
    def place(self, *, stream: bool) -> Iterator[None]:
        """Hold a place. Raises Problem 503 `upstream-overloaded` where all are taken; streams count apart."""
        if self._places[stream] <= 0:
            self.gauges.overloaded.inc()
            kind = "streams" if stream else "requests"
            raise Problem(
                503,
                "upstream-overloaded",
                f"The {self.name} service holds as many {kind} as it can; try again soon.",
                facts={"upstream": self.name},
                retryable=True,
                headers={"Retry-After": "1"},
            )
        self._places[stream] -= 1
        self.gauges.inflight.inc()
        try:
            yield
        finally:
            self._places[stream] += 1
            self.gauges.inflight.dec()

    def ranked(self, key: str) -> Sequence[Instance]:
        """The instances in the order in which a request about `key` should try them."""
        if len(self.instances) == 1:
            return self.instances

        def weight(instance: Instance) -> bytes:
            return blake2b(f"{instance.url}\n{key}".encode(), digest_size=8).digest()

        return sorted(self.instances, key=weight, reverse=True)

    def choose(self, key: str, now_s: float) -> Instance:
        """The instance to ask. Raises Problem 503 `upstream-unreachable` while every circuit is open."""
        for instance in self.ranked(key):
            if instance.circuit.allows(now_s):
                return instance
        raise Problem(
            503,
            "upstream-unreachable",
            f"The {self.name} service does not answer; it is tried again in a moment.",
            facts={"upstream": self.name},
            retryable=True,
            headers={"Retry-After": "1"},
        )
