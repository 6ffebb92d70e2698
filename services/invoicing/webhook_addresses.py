"""Where our webhooks may go: public addresses over TLS, and nothing behind our own walls. Pure.

The address that a host name stands for is looked at when the connection is made, not when the target was stored: a name
may point elsewhere tomorrow. So there are two rules, one for the text of a URL and one for each resolved address.
"""

from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Final
from urllib.parse import urlsplit

URL_CHARACTERS_MAX: Final = 2_000

_TRANSLATED: Final = (IPv6Network("64:ff9b::/96"), IPv6Network("64:ff9b:1::/48"))
"""IPv4 behind a translator (RFC 6052, RFC 8215): the last 32 bits are an IPv4 address."""


def url_fault(url: str, *, private_allowed: bool = False) -> str | None:
    """Why this may not be a target, None where it may. `private_allowed` is for developers' machines."""
    if len(url) > URL_CHARACTERS_MAX or not url.isascii() or any(each <= " " or each == "\x7f" for each in url):
        return f"is not a URL of at most {URL_CHARACTERS_MAX} visible ASCII characters"
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return "is not a URL"
    if parts.scheme != "https" and not (private_allowed and parts.scheme == "http"):
        return "does not begin with https://"
    if not host:
        return "has no host"
    if parts.username is not None or parts.password is not None:
        return "has a user name or password in it"
    if parts.fragment:
        return "has a fragment"
    if port == 0:
        return "has port 0"
    if private_allowed:
        return None
    address = _literal(host)
    if address is not None:
        return None if is_public(host) else "is not a public address"
    name = host.rstrip(".")
    if "." not in name or name.rpartition(".")[2].isdigit() or name.endswith((".localhost", ".local", ".internal")):
        return "is not the name of a public host"
    return None


def is_public(address: str) -> bool:
    """Whether this IP address is one of the public internet's, whatever it is wrapped in."""
    found = _literal(address)
    if found is None:
        return False
    if isinstance(found, IPv6Address):
        inner = found.ipv4_mapped or found.sixtofour
        if inner is None and found.teredo is not None:
            return False
        if inner is None and any(found in network for network in _TRANSLATED):
            inner = IPv4Address(int(found) & 0xFFFF_FFFF)
        if inner is not None:
            return inner.is_global and not inner.is_multicast
    return found.is_global and not found.is_multicast


def _literal(text: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(text.partition("%")[0])
    except ValueError:
        return None
