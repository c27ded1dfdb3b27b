"""One provider: a shared HTTP session, and a request for each answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager

import aiohttp
from yarl import URL

from backchat.errors import ProviderError
from backchat.ports.providers import Abilities, ModelRequest, ProviderEvent
from backchat.upstream.failures import Failures
from backchat.upstream.http import post, problem, start_of, whole
from backchat.upstream.sse import Document, EventReader
from backchat_openai.body import encode
from backchat_openai.chunks import Answer
from backchat_openai.listing import listed_models
from backchat_openai.service import open_service
from backchat_openai.settings import Settings

_LISTING = 16 << 20
_LINGER = 0.25


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
        self._listing = base.with_path(base.path.rstrip("/") + "/models", keep_query=True)
        self.model = settings.model
        self.abilities = Abilities(vision=settings.vision, tools=settings.tools, reasoning=settings.reasoning)

    def __repr__(self) -> str:
        return f"<OpenAIProvider {self.model}>"

    async def stream(self, request: ModelRequest) -> AsyncGenerator[ProviderEvent, None]:
        body = encode(request, self._settings)
        del request  # images and long prompts need not live as long as the answer
        try:
            response = await post(self._session, self._url, body)
            del body
            try:
                if response.status != 200:
                    raise self._failures.answered(response.status, response.headers, await start_of(response))
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
            raise problem(error) from None

    async def models(self) -> Sequence[str]:
        headers = {"Accept": "application/json"}
        try:
            async with self._session.get(self._listing, headers=headers, allow_redirects=False) as response:
                if response.status != 200:
                    raise self._failures.answered(response.status, response.headers, await start_of(response))
                return listed_models(await whole(response, _LISTING, "a list of models"))
        except (aiohttp.ClientError, OSError) as error:
            raise problem(error) from None


@asynccontextmanager
async def open_openai(settings: Settings) -> AsyncIterator[OpenAIProvider]:
    async with open_service(settings, accept="text/event-stream") as session:
        yield OpenAIProvider(settings, session)


async def _drain(response: aiohttp.ClientResponse) -> None:
    """Read what follows ``[DONE]``, as a rule nothing, so that the connection can be used again; hardly wait for it."""
    try:
        async with asyncio.timeout(_LINGER):
            while not response.content.at_eof():
                await response.content.readany()
    except (aiohttp.ClientError, OSError):
        pass  # the answer is complete; only the connection is lost
