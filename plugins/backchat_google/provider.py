"""One provider: a shared HTTP session, and a request for each answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial

import aiohttp
from yarl import URL

from backchat.errors import ProviderError
from backchat.ports.providers import Abilities, ModelRequest, ProviderEvent
from backchat.upstream.bodies import made_of
from backchat.upstream.http import Asked, arrived, begun, listing, open_session, problem
from backchat.upstream.refusing import refuse
from backchat.upstream.seals import has_seals, without_seals
from backchat.upstream.sse import Document
from backchat_google.answer import Answer
from backchat_google.body import encode
from backchat_google.contents import IMAGES
from backchat_google.failures import GoogleFailures
from backchat_google.listing import read_page
from backchat_google.names import resource
from backchat_google.reading import Reader
from backchat_google.seals import MAKER, refused
from backchat_google.settings import Settings

_LISTING = 16 << 20
_MOST_PAGES = 100
_LINGER = 1.0
"""Seconds that a connection may stay open after the answer's end."""


class GoogleProvider:
    """Gemini models, over the Gemini API.

    One attempt more is made when no connection could be made, never once the request may have been received.
    Errors are raised ``from None``: those of the HTTP client hold the request's headers.
    """

    def __init__(self, settings: Settings, session: aiohttp.ClientSession) -> None:
        self._settings = settings
        self._session = session
        self._failures = GoogleFailures([settings.api_key or "", *settings.headers.values()])
        self._base = URL(settings.base_url)
        self.model = resource(settings.model).removeprefix("models/")
        self.abilities = Abilities(
            vision=settings.vision,
            tools=settings.tools,
            reasoning=settings.reasoning,
            json_output=settings.json_output,
            image_types=IMAGES,
            files=frozenset({"application/pdf"} if settings.files else ()),
        )

    def __repr__(self) -> str:
        return f"<GoogleProvider {self.model}>"

    async def stream(self, request: ModelRequest) -> AsyncGenerator[ProviderEvent, None]:
        refuse(request, self.abilities)
        model = resource(request.model or self.model)
        asked = await made_of(request, encode, self._settings, model)
        tools = asked.tools
        unsealed = partial(self._unsealed, request, model) if has_seals(request, MAKER) else None
        del request  # images and long prompts need not live as long as the answer
        try:
            url = self._address(f"{model}:streamGenerateContent", alt="sse")
            response = await begun(self._session, url, asked, self._failures, unsealed)
            del asked, unsealed
            try:
                answer = Answer(self._failures, model, tools)
                reader = Reader() if response.content_type != "application/json" else Document()
                until: float | None = None
                while True:
                    if answer.finished and until is None:
                        until = asyncio.get_running_loop().time() + _LINGER
                    chunk, broken = await (arrived(response) if until is None else _following(response, until))
                    over = broken is not None or not chunk
                    data = reader.feed(chunk) if chunk else []
                    for event in answer.read([*data, *reader.close()] if over else data):
                        yield event
                    if broken is not None and not answer.finished:
                        raise broken
                    if answer.failure is not None:
                        raise answer.failure
                    if reader.too_long:
                        raise ProviderError("the model service sent an event that is too long")
                    if over:
                        break
                for event in answer.end():
                    yield event
            finally:
                # Quiet when the answer was read to its end: then the connection is already back in the pool.
                response.close()
        except (aiohttp.ClientError, OSError) as error:
            raise problem(error) from None

    async def _unsealed(self, request: ModelRequest, model: str, told: bytes) -> Asked | None:
        """The conversation goes on without signatures that the service does not take any more."""
        return await made_of(without_seals(request), encode, self._settings, model) if refused(told) else None

    async def models(self) -> Sequence[str]:
        names: dict[str, None] = {}
        page: dict[str, str] = {}
        for _ in range(_MOST_PAGES):
            url = self._address("models", pageSize="1000", **page)
            read = read_page(await listing(self._session, url, self._failures, _LISTING))
            names.update(dict.fromkeys(read.names))
            if read.following is None:
                return list(names)
            page = {"pageToken": read.following}
        raise ProviderError("the model service sent a list of models that is too long")

    def _address(self, path: str, **query: str) -> URL:
        base = self._base
        path = f"{base.path.rstrip('/')}/{self._settings.api_version}/{path}"
        return base.with_path(path, keep_query=True).update_query(query)


@asynccontextmanager
async def open_google(settings: Settings) -> AsyncIterator[GoogleProvider]:
    headers = {"Content-Type": "application/json", "Accept": "text/event-stream"}
    if settings.api_key:
        headers["x-goog-api-key"] = settings.api_key
    async with open_session(
        {**headers, **settings.headers},
        connect_timeout=settings.connect_timeout,
        read_timeout=settings.read_timeout,
    ) as session:
        yield GoogleProvider(settings, session)


async def _following(response: aiohttp.ClientResponse, until: float) -> tuple[bytes, None]:
    """What comes after the answer's end, as a rule nothing. Nothing that befalls the connection matters any more."""
    try:
        async with asyncio.timeout_at(until):
            return await response.content.readany(), None
    except (aiohttp.ClientError, OSError):
        return b"", None
