"""One provider: a shared HTTP session, and a request for each answer."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial

import aiohttp
from yarl import URL

from backchat.errors import ProviderError
from backchat.ports.providers import Abilities, ModelRequest, ProviderEvent
from backchat.upstream.bodies import made_of
from backchat.upstream.failures import Failures
from backchat.upstream.http import Asked, begun, listing, open_session, problem
from backchat.upstream.refusing import refuse
from backchat.upstream.seals import has_seals, signer, without_seals
from backchat.upstream.sse import Document, EventReader
from backchat.upstream.streams import Stream
from backchat_anthropic.body import BETA, encode
from backchat_anthropic.chunks import Answer
from backchat_anthropic.listing import listed
from backchat_anthropic.messages import IMAGES, PDF
from backchat_anthropic.seals import MAKER, refused
from backchat_anthropic.settings import Settings

_VERSION = "2023-06-01"
_LISTING = 16 << 20
_MOST_PAGES = 50
_CODES = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}
"""The statuses of the errors, which an event in mid-stream does not have.

Source: https://platform.claude.com/docs/en/api/errors
"""


class AnthropicProvider:
    """Any service behind Anthropic's messages API.

    One attempt more is made when no connection could be made, never once the request may have been received.
    Errors are raised ``from None``: those of the HTTP client hold the request's headers.
    """

    def __init__(self, settings: Settings, session: aiohttp.ClientSession) -> None:
        self._settings = settings
        self._session = session
        self._failures = Failures([settings.api_key or "", *settings.headers.values()], _CODES)
        base = URL(settings.base_url)
        self._url = base.with_path(base.path.rstrip("/") + "/v1/messages", keep_query=True)
        self._listing = base.with_path(base.path.rstrip("/") + "/v1/models", keep_query=True)
        self._betas = [value for name, value in settings.headers.items() if name.lower() == BETA]
        self.model = settings.model
        self.abilities = Abilities(
            vision=settings.vision,
            tools=settings.tools,
            reasoning=settings.reasoning,
            json_output=settings.json_output,
            image_types=IMAGES,
            files=frozenset({PDF}) if settings.files else frozenset(),
        )

    def __repr__(self) -> str:
        return f"<AnthropicProvider {self.model}>"

    async def stream(self, request: ModelRequest) -> AsyncGenerator[ProviderEvent, None]:
        refuse(request, self.abilities)
        asked = await made_of(request, encode, self._settings, self._betas)
        signed = signer(self._settings.base_url, request.model or self.model)
        answer = Answer(self._failures, signed, json_output=request.json_output, tools=asked.tools)
        unsealed = partial(self._unsealed, request) if has_seals(request, MAKER) else None
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

    async def _unsealed(self, request: ModelRequest, told: bytes) -> Asked | None:
        """An answer goes on after its calls without the thinking that led to them, if that is refused."""
        if not refused(told):
            return None
        return await made_of(without_seals(request), encode, self._settings, self._betas)

    async def models(self) -> Sequence[str]:
        names: dict[str, None] = {}
        after: str | None = None
        for _ in range(_MOST_PAGES):
            url = self._listing.extend_query(limit="1000", **({"after_id": after} if after else {}))
            page = listed(await listing(self._session, url, self._failures, _LISTING))
            names |= dict.fromkeys(page.names)
            after = page.after
            if after is None:
                return list(names)
        raise ProviderError("the model service sent a list of models that is too long")


@asynccontextmanager
async def open_anthropic(settings: Settings) -> AsyncIterator[AnthropicProvider]:
    headers = {"content-type": "application/json", "accept": "text/event-stream", "anthropic-version": _VERSION}
    if settings.api_key:
        headers["x-api-key"] = settings.api_key
    async with open_session(
        {**headers, **{name.lower(): value for name, value in settings.headers.items()}},
        connect_timeout=settings.connect_timeout,
        read_timeout=settings.read_timeout,
    ) as session:
        yield AnthropicProvider(settings, session)
