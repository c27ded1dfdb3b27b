"""The HTTP session of a provider, an embedder or a transcriber, and what its failures are called."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Mapping
from contextlib import asynccontextmanager

import aiohttp
from yarl import URL

from backchat.errors import ProviderError, ProviderTimeout
from backchat.upstream.failures import MODEL_SERVICE

_CONNECT_ATTEMPTS = 2
_ERROR_BODY = 64 * 1024
_READ_BUFFER = 64 * 1024
_LINGER = 0.25


@asynccontextmanager
async def open_session(
    headers: Mapping[str, str], *, connect_timeout: float, read_timeout: float
) -> AsyncIterator[aiohttp.ClientSession]:
    """A session of one service, as many requests at a time as are wanted. ``headers`` go with each; times in seconds.

    ``read_timeout`` is for silence: no byte of an answer.
    """
    timeout = aiohttp.ClientTimeout(
        total=None,
        connect=connect_timeout,
        sock_connect=connect_timeout,
        sock_read=read_timeout,
    )
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0),  # aiohttp's 100 would hold further conversations up
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"Accept-Encoding": "identity", **headers},
        timeout=timeout,
        read_bufsize=_READ_BUFFER,
        trust_env=False,
    ) as session:
        yield session


async def post(
    session: aiohttp.ClientSession,
    url: URL,
    body: bytes | AsyncIterable[bytes],
    headers: Mapping[str, str] | None = None,
) -> aiohttp.ClientResponse:
    """One attempt more is made when no connection could be made, never once the request may have been received.

    A body that is iterated is not begun before there is a connection.
    """
    for attempt in range(1, _CONNECT_ATTEMPTS + 1):
        try:
            return await session.post(url, data=body, headers=headers, allow_redirects=False)
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError):
            if attempt == _CONNECT_ATTEMPTS:
                raise
    raise AssertionError("unreachable")


async def start_of(response: aiohttp.ClientResponse) -> bytes:
    """The first 64 KiB of an error's body, as far as it comes; the status is told whatever becomes of the rest."""
    body = bytearray()
    try:
        async for chunk in response.content.iter_any():
            body += chunk
            if len(body) >= _ERROR_BODY:
                break
    except (aiohttp.ClientError, OSError):
        pass
    return bytes(body[:_ERROR_BODY])


async def whole(response: aiohttp.ClientResponse, most: int, what: str, service: str = MODEL_SERVICE) -> bytes:
    """The body. Raises ProviderError when it is longer than ``most`` bytes."""
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > most:
            raise ProviderError(f"{service} sent {what} that is too long")
    return bytes(body)


async def arrived(response: aiohttp.ClientResponse) -> tuple[bytes, Exception | None]:
    """The next bytes of a stream, none at its end; and the error, if the connection broke after them.

    aiohttp itself reports a broken connection before it hands out what had come before it broke.
    """
    try:
        return await response.content.readany(), None
    except (aiohttp.ClientError, OSError) as error:
        return b"".join(response.content._buffer), error


async def drain(response: aiohttp.ClientResponse) -> None:
    """Read what follows the end mark of a stream, as a rule nothing, so that the connection can be used again; hardly
    wait for it.
    """
    try:
        async with asyncio.timeout(_LINGER):
            while not response.content.at_eof():
                await response.content.readany()
    except (aiohttp.ClientError, OSError):
        pass  # the answer is complete; only the connection is lost


def problem(error: aiohttp.ClientError | OSError, service: str = MODEL_SERVICE) -> ProviderError:
    """What a failed request is called. Raise it ``from None``: the client's own errors hold the request's headers."""
    if isinstance(error, TimeoutError):
        sent = not isinstance(error, aiohttp.ConnectionTimeoutError)
        return ProviderTimeout(f"{service} did not answer in time", at_work=sent)
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return ProviderError(f"{service}'s name cannot be resolved", at_work=False)
    if isinstance(error, aiohttp.ClientSSLError):
        return ProviderError(f"no secure connection to {service} could be made", at_work=False)
    if isinstance(error, aiohttp.ClientConnectorError):
        return ProviderError(f"no connection to {service} could be made", at_work=False)
    return ProviderError(f"the connection to {service} broke")
