"""Waiting for what another program does and tells nobody."""

import asyncio
import time
from collections.abc import Callable

_LOOK_EVERY_S = 0.01


async def until(
    condition: Callable[[], bool], time_limit_s: float = 20.0, why_not: Callable[[], str] = lambda: ""
) -> None:
    """Returns as soon as the condition holds; after the time limit AssertionError with what `why_not` tells."""
    began = time.monotonic()
    while not condition():
        late = time.monotonic() - began > time_limit_s
        assert not late, f"it did not come true within {time_limit_s:.0f} s\n{why_not()}".rstrip()
        await asyncio.sleep(_LOOK_EVERY_S)
