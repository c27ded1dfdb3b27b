"""Fetching pages: what is checked is what is connected to, at every step, within limits on time and size."""

from __future__ import annotations

import socket
from dataclasses import dataclass, field
from ipaddress import ip_address

import aiohttp
from aiohttp.abc import AbstractResolver
from aiohttp.connector import AddrInfoType
from yarl import URL

from backchat.ports.tools import ToolFailed
from backchat.upstream.http import problem
from backchat_web.addresses import Rules
from backchat_web.media import HTML, is_text
from backchat_web.targets import NOT_PUBLIC, Target, target_of

_REDIRECTS = (301, 302, 303, 307, 308)
_READ_BUFFER = 64 * 1024
_ACCEPT = "text/html,application/xhtml+xml,text/plain;q=0.9,application/json;q=0.8,application/xml;q=0.8,*/*;q=0.5"


@dataclass(frozen=True, slots=True)
class Fetched:
    """A page as it came, decompressed. ``url`` is where it was at last, ``charset`` what its server says."""

    url: URL
    type: str
    charset: str | None
    data: bytes = field(repr=False)


class _Gate:
    """Makes the sockets of one request, and none for an address that is not permitted.

    It is asked with each address right before that is connected to, so it makes no difference where that came from:
    a URL, which aiohttp looks up nowhere, or a name that now leads elsewhere than before.
    """

    def __init__(self, rules: Rules, name: str | None) -> None:
        self._rules, self._name = rules, name
        self.refused = False

    def __call__(self, info: AddrInfoType) -> socket.socket:
        family, kind, protocol, _, place = info
        try:
            permitted = self._rules.permit(ip_address(place[0]), self._name)
        except ValueError:
            permitted = False
        if not permitted:
            self.refused = True
            raise OSError("not permitted")
        return socket.socket(family, kind, protocol)


class Pages:
    """``types``: media types that are read besides text; ``resolver`` looks names up; it is not closed here."""

    def __init__(
        self,
        rules: Rules,
        *,
        ports: frozenset[int],
        redirects: int,
        max_size: int,
        user_agent: str,
        types: frozenset[str],
        resolver: AbstractResolver,
    ) -> None:
        self._rules, self._ports, self._redirects, self._most = rules, ports, redirects, max_size
        self._headers = {"User-Agent": user_agent, "Accept": _ACCEPT, "Accept-Encoding": "gzip, deflate"}
        self._types = types
        self._resolver = resolver

    async def get(self, text: str) -> Fetched:
        """The page at this URL. Raises ToolFailed."""
        target = target_of(text, self._rules, self._ports)
        for _ in range(self._redirects + 1):
            answer = await self._ask(target)
            if isinstance(answer, Fetched):
                return answer
            target = answer
        raise ToolFailed("the page redirects too often")

    async def _ask(self, target: Target) -> Fetched | Target:
        """The page, or where it has moved to.

        A connector for each request: none is kept that was made for another name. Nothing of the environment is used,
        neither proxies, which would connect unchecked, nor credentials, nor cookies; no referrer is told.
        """
        gate = _Gate(self._rules, target.name)
        connector = aiohttp.TCPConnector(
            resolver=self._resolver, use_dns_cache=False, socket_factory=gate, force_close=True
        )
        try:
            async with (
                aiohttp.ClientSession(
                    connector=connector,
                    cookie_jar=aiohttp.DummyCookieJar(),
                    headers=self._headers,
                    timeout=aiohttp.ClientTimeout(total=None),  # all of it together is limited
                    read_bufsize=_READ_BUFFER,
                    trust_env=False,
                ) as session,
                session.get(target.url, allow_redirects=False) as response,
            ):
                if response.status in _REDIRECTS and "Location" in response.headers:
                    return target_of(response.headers["Location"], self._rules, self._ports, target.url)
                return await self._taken(response)
        except (aiohttp.ClientError, OSError) as error:
            # Whether a name of a local network exists is nobody's business.
            if gate.refused or isinstance(error, aiohttp.ClientConnectorDNSError):
                raise ToolFailed(NOT_PUBLIC) from None
            raise ToolFailed(str(problem(error, "the site"))) from None

    async def _taken(self, response: aiohttp.ClientResponse) -> Fetched:
        if response.status not in (200, 203):
            raise ToolFailed(f"the site answered with status {response.status}")
        type = response.content_type.lower() if "Content-Type" in response.headers else HTML[0]
        if not is_text(type) and type not in self._types:
            raise ToolFailed("this is no page but a file of a type that cannot be read here")
        too_large = f"the page is larger than {self._most:,} bytes"
        if (response.content_length or 0) > self._most:
            raise ToolFailed(too_large)
        data = bytearray()
        # What is compressed comes in small pieces, as it is asked for.
        async for chunk in response.content.iter_any():
            data += chunk
            if len(data) > self._most:
                raise ToolFailed(too_large)
        return Fetched(response.url, type, response.charset, bytes(data))
