"""One provider: a shared HTTP session, and a request for each answer."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial

import aiohttp
from yarl import URL

from backchat.ports.providers import Abilities, ModelRequest, ProviderEvent
from backchat.upstream.bodies import dumped, made_of
from backchat.upstream.failures import CODES, Failures
from backchat.upstream.http import Asked, begun, listing, problem
from backchat.upstream.refusing import refuse
from backchat.upstream.seals import has_seals, signer, without_seals
from backchat.upstream.sse import Document, EventReader
from backchat.upstream.streams import Making, Stream
from backchat_openai.asking import TOOLS
from backchat_openai.body import body as chat_body
from backchat_openai.body_responses import responses_body
from backchat_openai.chunks import Answer
from backchat_openai.chunks_responses import ResponsesAnswer
from backchat_openai.listing import listed_models
from backchat_openai.seals import OPENAI, refused
from backchat_openai.service import open_service
from backchat_openai.settings import Settings

_LISTING = 16 << 20
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
        self._maker = OPENAI if settings.api == "responses" else settings.preset.maker or ""
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
        asked = await made_of(request, self._asked)
        answer = self._answer(request.model or self.model, asked.tools)
        unsealed = partial(self._unsealed, request) if has_seals(request, self._maker) else None
        del request  # images and long prompts need not live as long as the answer
        try:
            response = await begun(self._session, self._url, asked, self._failures, unsealed)
            del asked, unsealed
            try:
                reader = EventReader() if response.content_type != "application/json" else Document()
                stream = Stream(response, reader, answer)
                while not stream.over:
                    for event in await stream.read():
                        yield event
            finally:
                # Quiet when the answer was read to its end: then the connection is already back in the pool.
                response.close()
        except (aiohttp.ClientError, OSError) as error:
            raise problem(error) from None

    def _asked(self, request: ModelRequest) -> Asked:
        body = responses_body if self._settings.api == "responses" else chat_body
        tools = TOOLS.changed([tool.name for tool in request.tools])
        return Asked(dumped(body(request, self._settings)), tools=tools)

    async def _unsealed(self, request: ModelRequest, told: bytes) -> Asked | None:
        """Seals may be of another account, or of a key that is no more: the conversation goes on without them."""
        return await made_of(without_seals(request), self._asked) if refused(told) else None

    def _answer(self, model: str, tools: Mapping[str, str]) -> Making:
        signed = signer(self._settings.base_url, model)
        if self._settings.api == "responses":
            return ResponsesAnswer(self._failures, signed, tools)
        return Answer(self._failures, self._settings.preset.maker, signed, tools)

    async def models(self) -> Sequence[str]:
        return listed_models(await listing(self._session, self._listing, self._failures, _LISTING))


@asynccontextmanager
async def open_openai(settings: Settings) -> AsyncIterator[OpenAIProvider]:
    async with open_service(settings, accept="text/event-stream") as session:
        yield OpenAIProvider(settings, session)
