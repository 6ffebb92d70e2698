"""PayPal's signing certificates: fetched once from PayPal's own hosts, kept for a day.

The address comes with each webhook, so it is anybody's: only what `paypal_certificate_is_trusted` takes is fetched,
over TLS with the system's authorities, without following redirects, and never more than a few kilobytes.
"""

from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Final

import aiohttp

from libs.common.clock import monotonic_s
from libs.common.errors import Transient
from services.invoicing.webhook_signatures import paypal_certificate_is_trusted

KEPT_S: Final = 24 * 3600.0
KEPT_MAX: Final = 32
BYTES_MAX: Final = 64 * 1024
FETCH_TIMEOUT_S: Final = 5.0

Fetch = Callable[[str], Awaitable[bytes]]


async def fetch_over_tls(address: str) -> bytes:
    """The file at an address. Raises Transient where it does not come."""
    timeout = aiohttp.ClientTimeout(total=FETCH_TIMEOUT_S)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.get(address, allow_redirects=False) as answer,
        ):
            if answer.status != 200:
                raise Transient(f"the certificate at {address} was answered with {answer.status}")
            return await answer.content.read(BYTES_MAX)
    except (aiohttp.ClientError, TimeoutError) as error:
        raise Transient(f"the certificate at {address} does not come: {error!r}") from error


class Certificates:
    """Certificates by their address."""

    def __init__(self, fetch: Fetch = fetch_over_tls) -> None:
        self._fetch = fetch
        self._kept: OrderedDict[str, tuple[float, bytes]] = OrderedDict()

    async def get(self, address: str) -> bytes:
        """The certificate at a trusted address. Raises Transient where it does not come."""
        assert paypal_certificate_is_trusted(address), "the address was checked"
        known = self._kept.get(address)
        if known is not None and monotonic_s() - known[0] < KEPT_S:
            return known[1]
        fetched = await self._fetch(address)
        self._kept[address] = monotonic_s(), fetched
        while len(self._kept) > KEPT_MAX:
            self._kept.popitem(last=False)
        return fetched
