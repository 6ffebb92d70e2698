"""Rate limits: a token bucket per organization, caller and rate class, and one per address for tokens that are refused.

Who is refused too often from one address is told 429 instead of 401. A good token is never refused for its neighbours'
sake: behind a proxy of one's own all clients have one address.

A bucket is two numbers, refilled when it is asked. Buckets are kept in the order of their use and the longest unused is
forgotten first; a forgotten bucket starts full, which is what it would have become. Each gateway process counts for
itself, so the limit of the platform is this one times the number of processes.
"""

from collections import OrderedDict
from collections.abc import Hashable, Mapping
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
    "webhook": Rate(200, 2_000),
}
"""Generous: they stop a runaway client, not a busy one. Webhooks carry no token and count by address."""


UNAUTHORIZED: Final = Rate(50, 500)
"""Requests of one address whose token is missing or not good."""


class Buckets:
    """Buckets by their key, the longest unused first."""

    def __init__(self, buckets_max: int) -> None:
        self._buckets_max = buckets_max
        self._buckets: OrderedDict[Hashable, list[float]] = OrderedDict()

    def take(self, key: Hashable, rate: Rate, now_s: float) -> tuple[int, int]:
        """Takes one token: how many whole ones are left, and 0; of an empty bucket 0, and the seconds to wait."""
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
            return 0, max(1, ceil((1 - bucket[0]) / rate.per_s))
        bucket[0] -= 1
        return int(bucket[0]), 0


class Limits:
    """All buckets of one process. Callers and addresses have buckets of their own, so that neither displaces others."""

    def __init__(
        self,
        rates: Mapping[RateClass, Rate] = RATES,
        buckets_max: int = BUCKETS_MAX,
        unauthorized: Rate = UNAUTHORIZED,
    ) -> None:
        self._rates = rates
        self._unauthorized = unauthorized
        self._callers = Buckets(buckets_max)
        self._addresses = Buckets(buckets_max)
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
        return self._took(self._callers, (organization, subject, rate_class), rate_class, now_s)

    def take_open(self, address: str, rate_class: RateClass, now_s: float) -> list[tuple[bytes, bytes]]:
        """The same for a request that carries no token, counted by where it came from."""
        return self._took(self._addresses, (address, rate_class), rate_class, now_s)

    def _took(self, buckets: Buckets, key: Hashable, rate_class: RateClass, now_s: float) -> list[tuple[bytes, bytes]]:
        left, wait_s = buckets.take(key, self._rates[rate_class], now_s)
        if wait_s:
            raise _too_many(rate_class, wait_s, self._policies[rate_class].decode())
        return [
            (b"ratelimit-policy", self._policies[rate_class]),
            (b"ratelimit", b'"%b";r=%d;t=1' % (rate_class.encode(), left)),
        ]

    def refusal(self, address: str, cause: Problem, now_s: float) -> Problem:
        """What a request without a good token is told: the cause, or 429 where too many came from its address."""
        _, wait_s = self._addresses.take(address, self._unauthorized, now_s)
        return _too_many_refused(cause, wait_s) if wait_s else cause


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


def _too_many_refused(cause: Problem, wait_s: int) -> Problem:
    return Problem(
        429,
        "too-many-requests",
        f"Too many requests without a good token came from this address; wait {wait_s} s. {cause.detail}",
        facts={"rate_class": "unauthorized", "retry_after_s": wait_s, "cause": cause.code},
        retryable=True,
        headers={"Retry-After": str(wait_s)},
    )
