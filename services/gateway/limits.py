"""Rate limits: a token bucket per organization, caller and rate class.

A bucket is two numbers, refilled when it is asked. Buckets are kept in the order of their use and the longest unused is
forgotten first; a forgotten bucket starts full, which is what it would have become. Each gateway process counts for
itself, so the limit of the platform is this one times the number of processes.
"""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from typing import Final

from libs.common.errors import Problem
from services.gateway.routes import RateClass

BUCKETS_MAX: Final = 50_000


@dataclass(frozen=True, slots=True)
class Rate:
    """How many requests a second on average, and how many at once after a rest."""

    per_s: float
    burst: int


RATES: Final[Mapping[RateClass, Rate]] = {
    "read": Rate(10_000, 20_000),
    "write": Rate(10_000, 20_000),
    "report": Rate(50, 200),
    "stream": Rate(50, 200),
}
"""Generous: they stop a runaway client, not a busy one."""


class Limits:
    """All buckets of one process."""

    def __init__(self, rates: Mapping[RateClass, Rate] = RATES, buckets_max: int = BUCKETS_MAX) -> None:
        self._rates = rates
        self._buckets_max = buckets_max
        self._buckets: OrderedDict[tuple[str | None, str, RateClass], list[float]] = OrderedDict()
        self._policies = {
            rate_class: f'"{rate_class}";q={rate.burst};w={max(1, ceil(rate.burst / rate.per_s))}'.encode()
            for rate_class, rate in rates.items()
        }

    def take(
        self, organization: str | None, subject: str, rate_class: RateClass, now_s: float
    ) -> list[tuple[bytes, bytes]]:
        """Take one token at `now_s` (monotonic seconds). Gives the answer's RateLimit headers.

        Raises Problem 429 with Retry-After when the bucket is empty.
        """
        rate = self._rates[rate_class]
        key = (organization, subject, rate_class)
        bucket = self._buckets.get(key)
        if bucket is None:
            if len(self._buckets) >= self._buckets_max:
                self._buckets.popitem(last=False)
            bucket = self._buckets[key] = [rate.burst, now_s]
        else:
            self._buckets.move_to_end(key)
            bucket[0] = min(rate.burst, bucket[0] + (now_s - bucket[1]) * rate.per_s)
            bucket[1] = now_s
        if bucket[0] < 1:
            wait_s = max(1, ceil((1 - bucket[0]) / rate.per_s))
            raise _too_many(rate_class, wait_s, self._policies[rate_class].decode())
        bucket[0] -= 1
        return [
            (b"ratelimit-policy", self._policies[rate_class]),
            (b"ratelimit", b'"%b";r=%d;t=1' % (rate_class.encode(), int(bucket[0]))),
        ]


def _too_many(rate_class: RateClass, wait_s: int, policy: str) -> Problem:
    return Problem(
        429,
        "too-many-requests",
        f"Too many {rate_class} requests in a short time; wait {wait_s} s.",
        facts={"rate_class": rate_class, "retry_after_s": wait_s},
        retryable=True,
        headers={
            "Retry-After": str(wait_s),
            "RateLimit-Policy": policy,
            "RateLimit": f'"{rate_class}";r=0;t={wait_s}',
        },
    )
