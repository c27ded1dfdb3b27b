"""One provider: a shared HTTP session, and a request for each answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
from yarl import URL

from backchat.errors import ProviderError, ProviderTimeout
from backchat.ports.providers import Abilities, ModelRequest, ProviderEvent
from backchat_openai.body import encode
from backchat_openai.chunks import Answer
from backchat_openai.failures import Failures
from backchat_openai.settings import Settings
from backchat_openai.sse import Document, EventReader

_CONNECT_ATTEMPTS = 2
_ERROR_BODY = 64 * 1024
_LINGER = 0.25
_READ_BUFFER = 64 * 1024


class OpenAIProvider:
    """Any service behind OpenAI's chat-completions protocol.

    One attempt more is made when no connection could be made, never once the request may have been received.
    Errors are raised ``from None``: those of the HTTP client hold the request's headers.
    """

    def __init__(self, settings: Settings, session: aiohttp.ClientSession) -> None:
        self._settings = settings
        self._session = session
        self._failures = Failures([settings.api_key or "", *settings.headers.values()])
        base = URL(settings.base_url)
        self._url = base.with_path(base.path.rstrip("/") + "/chat/completions", keep_query=True)
        self.model = settings.model
        self.abilities = Abilities(vision=settings.vision, tools=settings.tools, reasoning=settings.reasoning)

    def __repr__(self) -> str:
        return f"<OpenAIProvider {self.model}>"

    async def stream(self, request: ModelRequest) -> AsyncGenerator[ProviderEvent, None]:
        body = encode(request, self._settings)
        del request  # images and long prompts need not live as long as the answer
        try:
            response = await self._post(body)
            del body
            try:
                if response.status != 200:
                    raise self._failures.answered(response.status, response.headers, await _start_of(response))
                content = response.content
                answer = Answer(self._failures)
                reader = EventReader() if response.content_type != "application/json" else Document()
                broken: Exception | None = None
                while not answer.done:
                    try:
                        chunk = await content.readany()
                    except (aiohttp.ClientError, OSError) as error:
                        # aiohttp reports a broken connection before it hands out what had come before it broke.
                        chunk, broken = b"".join(content._buffer), error
                    for event in answer.read(reader.feed(chunk) if chunk else reader.close()):
                        yield event
                    if answer.done:
                        await _drain(response)
                    elif failure := broken or answer.failure:
                        raise failure
                    elif reader.too_long:
                        raise ProviderError("the model service sent an event that is too long")
                    elif not chunk:
                        break
                for event in answer.end():
                    yield event
            finally:
                # Quiet when the answer was read to its end: then the connection is already back in the pool.
                response.close()
        except (aiohttp.ClientError, OSError) as error:
            raise _problem(error) from None

    async def _post(self, body: bytes) -> aiohttp.ClientResponse:
        for attempt in range(1, _CONNECT_ATTEMPTS + 1):
            try:
                return await self._session.post(self._url, data=body, allow_redirects=False)
            except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError):
                if attempt == _CONNECT_ATTEMPTS:
                    raise
        raise AssertionError("unreachable")


@asynccontextmanager
async def open_openai(settings: Settings) -> AsyncIterator[OpenAIProvider]:
    headers = {"Content-Type": "application/json", "Accept": "text/event-stream", "Accept-Encoding": "identity"}
    if settings.api_key:
        headers["Authorization"] = f"Bearer {settings.api_key}"
    if settings.organization:
        headers["OpenAI-Organization"] = settings.organization
    if settings.project:
        headers["OpenAI-Project"] = settings.project
    timeout = aiohttp.ClientTimeout(
        total=None,
        connect=settings.connect_timeout,
        sock_connect=settings.connect_timeout,
        sock_read=settings.read_timeout,
    )
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0),  # aiohttp's 100 would hold further conversations up
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={**headers, **settings.headers},
        timeout=timeout,
        read_bufsize=_READ_BUFFER,
        trust_env=False,
    ) as session:
        yield OpenAIProvider(settings, session)


async def _start_of(response: aiohttp.ClientResponse) -> bytes:
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


async def _drain(response: aiohttp.ClientResponse) -> None:
    """Read what follows ``[DONE]``, as a rule nothing, so that the connection can be used again; hardly wait for it."""
    try:
        async with asyncio.timeout(_LINGER):
            while not response.content.at_eof():
                await response.content.readany()
    except (aiohttp.ClientError, OSError):
        pass  # the answer is complete; only the connection is lost


def _problem(error: aiohttp.ClientError | OSError) -> ProviderError:
    if isinstance(error, TimeoutError):
        return ProviderTimeout("the model service did not answer in time")
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return ProviderError("the model service's name cannot be resolved")
    if isinstance(error, aiohttp.ClientSSLError):
        return ProviderError("no secure connection to the model service could be made")
    if isinstance(error, aiohttp.ClientConnectorError):
        return ProviderError("no connection to the model service could be made")
    return ProviderError("the connection to the model service broke")
