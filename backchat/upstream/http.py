"""The HTTP session of a provider, an embedder or a transcriber, and what its failures are called."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Protocol

import aiohttp
from yarl import URL

from backchat.errors import ProviderError, ProviderTimeout
from backchat.upstream.failures import MODEL_SERVICE

_CONNECT_ATTEMPTS = 2
_STALE_CONNECTIONS = 4
_ERROR_BODY = 64 * 1024
_READ_BUFFER = 64 * 1024
_LINGER = 0.25


@dataclass(frozen=True, slots=True)
class Asked:
    """What is sent: a body, and headers of this request alone.

    tools  what tools are called here that had to be called otherwise there
    """

    body: bytes
    headers: Mapping[str, str] | None = None
    tools: Mapping[str, str] = field(default_factory=dict)


class Answered(Protocol):
    """Makes the error for an answer with a status other than 200, as ``Failures`` does."""

    def answered(self, status: int, headers: Mapping[str, str], body: bytes) -> ProviderError: ...


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
    reuse = aiohttp.TraceConfig()
    reuse.on_connection_reuseconn.append(_used_before)
    async with aiohttp.ClientSession(
        trace_configs=[reuse],
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

    Some servers close a connection that they had promised to keep, without looking at what comes on it: where one that
    was used before breaks before anything of an answer, another one is taken, a few times. A body that is iterated is
    not begun before there is a connection, and not sent twice.
    """
    attempts, stale = _CONNECT_ATTEMPTS, _STALE_CONNECTIONS
    while True:
        used_before = SimpleNamespace(so=False)
        try:
            return await session.post(
                url, data=body, headers=headers, allow_redirects=False, trace_request_ctx=used_before
            )
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError):
            attempts -= 1
            if not attempts:
                raise
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
            stale -= 1
            if not used_before.so or not stale or not isinstance(body, bytes):
                raise


async def _used_before(session: object, context: SimpleNamespace, parameters: object) -> None:
    if isinstance(context.trace_request_ctx, SimpleNamespace):
        context.trace_request_ctx.so = True


async def begun(
    session: aiohttp.ClientSession,
    url: URL,
    asked: Asked,
    failures: Answered,
    instead: Callable[[bytes], Awaitable[Asked | None]] | None = None,
) -> aiohttp.ClientResponse:
    """An answer that begins, with status 200; whoever gets it closes it. Raises ProviderError.

    ``instead`` makes of the body of a 400 what to ask once more in another way, or None.
    """
    response = await post(session, url, asked.body, asked.headers)
    if response.status == 200:
        return response
    try:
        told = await start_of(response)
    finally:
        response.close()
    if response.status == 400 and instead is not None and (other := await instead(told)) is not None:
        return await begun(session, url, other, failures)
    raise failures.answered(response.status, response.headers, told)


async def listing(session: aiohttp.ClientSession, url: URL, failures: Answered, most: int) -> bytes:
    """A list of models, or a page of it, of at most so many bytes. Raises ProviderError."""
    try:
        headers = {"Accept": "application/json"}
        async with session.get(url, headers=headers, allow_redirects=False) as response:
            if response.status != 200:
                raise failures.answered(response.status, response.headers, await start_of(response))
            return await whole(response, most, "a list of models")
    except (aiohttp.ClientError, OSError) as error:
        raise problem(error) from None


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
    """The next bytes of a stream, none at its end; and the error, if the connection broke after them."""
    try:
        return await response.content.readany(), None
    except (aiohttp.ClientError, OSError) as error:
        return left_in(response), error


def left_in(response: aiohttp.ClientResponse) -> bytes:
    """What had come before the connection broke: aiohttp reports that it broke before it hands that out."""
    return b"".join(response.content._buffer)


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
