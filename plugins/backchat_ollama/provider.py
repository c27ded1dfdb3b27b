"""One provider: a shared HTTP session, a request for each answer, and pulls of models that are not there."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from shlex import quote

import aiohttp
from orjson import JSONDecodeError, loads
from yarl import URL

from backchat.errors import ProviderError, ProviderRejected
from backchat.ports.providers import Abilities, ModelRequest, ProviderEvent
from backchat.upstream.bodies import made_of
from backchat.upstream.failures import Failures
from backchat.upstream.http import listing, open_session, post, problem, start_of
from backchat.upstream.ndjson import LineReader
from backchat.upstream.refusing import refuse
from backchat.upstream.streams import Stream
from backchat_ollama.answer import Answer
from backchat_ollama.body import IMAGES, encode
from backchat_ollama.listing import listed_models
from backchat_ollama.pulls import Pulls
from backchat_ollama.settings import Settings

_LISTING = 16 << 20


class OllamaProvider:
    """A server that speaks Ollama's own protocol.

    What the model can do is what the configuration says. The server could be asked, but only while it runs and has the
    model, which neither has to be the case when this one starts; and each request may name another model. A server
    refuses by itself, before it works, tools and thinking for a model that is not made for them.
    """

    def __init__(self, settings: Settings, session: aiohttp.ClientSession) -> None:
        self._settings = settings
        self._session = session
        self._failures = Failures([settings.api_key or "", *settings.headers.values()])
        base = URL(settings.base_url)
        chat, tags, pull = (
            base.with_path(base.path.rstrip("/") + path, keep_query=True)
            for path in ("/api/chat", "/api/tags", "/api/pull")
        )
        self._url, self._listing = chat, tags
        self._pulls = Pulls(session, pull, self._failures)
        self.model = settings.model
        self.abilities = Abilities(
            vision=settings.vision, tools=settings.tools, reasoning=settings.reasoning, image_types=IMAGES
        )

    def __repr__(self) -> str:
        return f"<OllamaProvider {self.model}>"

    async def stream(self, request: ModelRequest) -> AsyncGenerator[ProviderEvent, None]:
        refuse(request, self.abilities)
        body = await made_of(request, encode, self._settings)
        model = request.model or self.model
        del request  # images and long prompts need not live as long as the answer
        try:
            response = await self._asked(body, model)
            if response is None:
                async with aclosing(self._pulls.notes(model)) as notes:
                    async for note in notes:
                        yield note
                response = await self._asked(body, model)
            if response is None:
                raise ProviderError("the model service does not have the model that it has pulled", at_work=False)
            del body
            try:
                answer = Answer(self._failures, model)
                stream = Stream(response, LineReader(), answer, "a line")
                while not stream.over:
                    for event in await stream.read():
                        yield event
            finally:
                # Quiet when the answer was read to its end: then the connection is already back in the pool.
                response.close()
        except (aiohttp.ClientError, OSError) as error:
            raise problem(error) from None

    async def _asked(self, body: bytes, model: str) -> aiohttp.ClientResponse | None:
        """An answer that begins; None if the server does not have the model and shall pull it. Raises ProviderError."""
        response = await post(self._session, self._url, body)
        if response.status == 200:
            return response
        try:
            told = await start_of(response)
        finally:
            response.close()
        if response.status != 404 or not _lacks_a_model(told):
            raise self._failures.answered(response.status, response.headers, told)
        if self._settings.pull and model == self.model:
            return None
        name = quote(self._failures.redacted(model))
        raise ProviderRejected(f"the model service does not have this model; where it runs: ollama pull {name}")

    async def models(self) -> Sequence[str]:
        return listed_models(await listing(self._session, self._listing, self._failures, _LISTING))


@asynccontextmanager
async def open_ollama(settings: Settings) -> AsyncIterator[OllamaProvider]:
    headers = {"Content-Type": "application/json", "Accept": "application/x-ndjson"}
    if settings.api_key:
        headers["Authorization"] = f"Bearer {settings.api_key}"
    async with open_session(
        {**headers, **settings.headers},
        connect_timeout=settings.connect_timeout,
        read_timeout=settings.read_timeout,
    ) as session:
        yield OllamaProvider(settings, session)


def _lacks_a_model(body: bytes) -> bool:
    """Whether a 404 is about the model, and not about the address: only then it is the API that answers, in JSON."""
    try:
        answer = loads(body)
    except JSONDecodeError:
        return False
    return isinstance(answer, dict) and isinstance(answer.get("error"), str)
