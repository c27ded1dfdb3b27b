"""Where a request came from."""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

from aiohttp import web

from backchat.web.keys import PROXIES

NOWHERE = "unknown"
"""What stands for a caller without an address: one on a Unix socket."""

_WITH_PORT = re.compile(r"\[([^\]]+)\](?::\d{1,5})?|([\d.]+):\d{1,5}", re.ASCII)


def address(request: web.Request) -> str:
    """The caller's address; behind proxies, which are as many as the configuration says, what the first one saw.

    Each proxy adds the address of whoever called it to the end of ``X-Forwarded-For``. What stands before those is the
    caller's to write, and is not looked at. A header that holds no address in that place means nothing.
    """
    proxies = request.app[PROXIES]
    if proxies:
        hops = ",".join(request.headers.getall("X-Forwarded-For", ())).split(",")
        seen = _parsed(hops[-proxies]) if len(hops) >= proxies else None
        if seen is not None:
            return str(seen)
    peer = _parsed(request.remote or "")
    return NOWHERE if peer is None else str(peer)


def secure(request: web.Request) -> bool:
    """Whether the caller speaks TLS: to this server, or to the first of the proxies before it."""
    if request.app[PROXIES]:
        seen = request.headers.get("X-Forwarded-Proto", "").partition(",")[0].strip().lower()
        if seen in ("http", "https"):
            return seen == "https"
    return request.secure


def network(address: str) -> str:
    """Those who count as one caller: an IPv4 address, or the /64 of an IPv6 one, of which a subscriber has all."""
    parsed = _parsed(address)
    if isinstance(parsed, IPv6Address):
        return str(IPv6Network((int(parsed), 64), strict=False))
    return address


def _parsed(text: str) -> IPv4Address | IPv6Address | None:
    """An address, with or without a port, brackets and a zone; None for anything else."""
    text = text.strip()
    found = _WITH_PORT.fullmatch(text)
    if found is not None:
        text = found[1] or found[2]
    try:
        parsed = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = parsed.ipv4_mapped if isinstance(parsed, IPv6Address) else None
    return mapped or parsed
