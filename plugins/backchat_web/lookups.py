"""Looking names up in threads of their own: a name server that does not answer holds a thread for a minute or more, and
those of everybody else must not be among them.
"""

from __future__ import annotations

import asyncio
import socket
from concurrent.futures import ThreadPoolExecutor

from aiohttp.abc import AbstractResolver, ResolveResult


class Lookups(AbstractResolver):
    """The system's, with ``threads`` at a time. Use ``close`` at the end: it waits for none of them."""

    def __init__(self, threads: int) -> None:
        self._threads = ThreadPoolExecutor(threads, "web_fetch look-up")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Raises OSError."""
        found = await asyncio.get_running_loop().run_in_executor(self._threads, _looked_up, host, port, family)
        return [
            ResolveResult(
                hostname=host, host=address, port=port, family=kind, proto=protocol, flags=socket.AI_NUMERICHOST
            )
            for kind, protocol, address in found
        ]

    async def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


def _looked_up(host: str, port: int, family: int) -> list[tuple[int, int, str]]:
    """Family, protocol and address of each. IPv6 without zones: an address that needs one is never permitted."""
    infos = socket.getaddrinfo(host, port, family, socket.SOCK_STREAM, 0, socket.AI_ADDRCONFIG)
    return [(kind, protocol, str(place[0])) for kind, _, protocol, _, place in infos]
