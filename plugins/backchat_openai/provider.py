"""One provider: a shared HTTP session, and a request for each answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Protocol

import aiohttp
from yarl import URL

from backchat.errors import ProviderError
from backchat.ports.providers import Abilities, ModelRequest, ProviderEvent
from backchat.upstream.failures import CODES, Failures
from backchat.upstream.http import post, problem, start_of, whole
from backchat.upstream.refusing import refuse
from backchat.upstream.sse import Document, EventReader
from backchat_openai.body import body as chat_body
from backchat_openai.body import dumped
from backchat_openai.body_responses import responses_body
from backchat_openai.chunks import Answer
from backchat_openai.chunks_responses import ResponsesAnswer
from backchat_openai.listing import listed_models
from backchat_openai.service import open_service
from backchat_openai.settings import Settings

_LISTING = 16 << 20
_LINGER = 0.25
_PDF = frozenset({"application/pdf"})
_IMAGES = frozenset({"image/gif", "image/jpeg", "image/png", "image/webp"})
"""https://platform.openai.com/docs/guides/images-vision#image-input-requirements"""
_CODES = dict(CODES) | dict.fromkeys(
    (
        "bio_policy",
        "context_length_exceeded",
        "image_content_policy_violation",
        "image_parse_error",
        "invalid_encrypted_content",
        "invalid_image",
        "invalid_image_format",
        "invalid_prompt",
        "invalid_request_error",
        "misalignment_policy_violation",
        "unsupported_image_media_type",
    ),
    400,
)
"""With what a response fails because of the prompt, after its status was already 200."""


class _Reading(Protocol):
    """An answer in the making, of either API."""

    done: bool
    failure: ProviderError | None

    def read(self, events: Iterable[bytes]) -> list[ProviderEvent]: ...
    def end(self) -> list[ProviderEvent]: ...


class OpenAIProvider:
    """Any service behind OpenAI's chat completions, or its Responses API.

    One attempt more is made when no connection could be made, never once the request may have been received.
    Errors are raised ``from None``: those of the HTTP client hold the request's headers.
    """

    def __init__(self, settings: Settings, session: aiohttp.ClientSession) -> None:
        self._settings = settings
        self._session = session
        self._failures = Failures([settings.api_key or "", *settings.headers.values()], _CODES)
        base = URL(settings.base_url)
        path = "/responses" if settings.api == "responses" else "/chat/completions"
        self._url = base.with_path(base.path.rstrip("/") + path, keep_query=True)
        self._listing = base.with_path(base.path.rstrip("/") + "/models", keep_query=True)
        self.model = settings.model
        self.abilities = Abilities(
            vision=settings.vision,
            tools=settings.tools,
            reasoning=settings.reasoning,
            json_output=settings.json_output,
            image_types=_IMAGES,
            files=_PDF if settings.files else frozenset(),
        )

    def __repr__(self) -> str:
        return f"<OpenAIProvider {self.model}>"

    async def stream(self, request: ModelRequest) -> AsyncGenerator[ProviderEvent, None]:
        refuse(request, self.abilities)
        body = self._body(request)
        del request  # images and long prompts need not live as long as the answer
        try:
            response = await post(self._session, self._url, body)
            del body
            try:
                if response.status != 200:
                    raise self._failures.answered(response.status, response.headers, await start_of(response))
                content = response.content
                answer = self._answer()
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

    def _body(self, request: ModelRequest) -> bytes:
        body = responses_body if self._settings.api == "responses" else chat_body
        return dumped(body(request, self._settings))

    def _answer(self) -> _Reading:
        if self._settings.api == "responses":
            return ResponsesAnswer(self._failures, self._settings.service)
        return Answer(self._failures, self._settings.preset.maker)

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
    """Read what follows the end, as a rule nothing, so that the connection can be used again; hardly wait for it."""
    try:
        async with asyncio.timeout(_LINGER):
            while not response.content.at_eof():
                await response.content.readany()
    except (aiohttp.ClientError, OSError):
        pass  # the answer is complete; only the connection is lost
