"""Free TCP ports on loopback.

Ports are drawn below 32768, where Linux starts handing out ports for outgoing connections: a port that is free
now is then not taken by somebody's outgoing connection before the part that asked for it has bound it.
"""

import random
import socket

LOOPBACK = "127.0.0.1"
_FIRST, _LAST = 20_000, 32_000


def is_free(port: int) -> bool:
    """True when nothing listens on the loopback port right now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def free_port() -> int:
    """A random free loopback port; OSError when a thousand draws found none."""
    for _ in range(1000):
        port = random.randrange(_FIRST, _LAST)  # noqa: S311 - spreads neighbours apart, protects nothing
        if is_free(port):
            return port
    raise OSError(f"no free port between {_FIRST} and {_LAST}")


def preferred_or_free(preferred: int | None) -> int:
    """The preferred port when it is free, otherwise a random free one."""
    return preferred if preferred is not None and is_free(preferred) else free_port()


def next_free(preferred: int) -> int:
    """The first free port from `preferred` upwards: 8080, 8081, ..."""
    for port in range(preferred, preferred + 200):
        if is_free(port):
            return port
    raise OSError(f"no free port between {preferred} and {preferred + 199}")
