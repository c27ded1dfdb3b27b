"""``web_search``: what a search service finds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from yarl import URL

from backchat.domain.tool import ToolDefinition
from backchat.errors import ProviderError
from backchat.ports.tools import Tool, ToolFailed
from backchat.upstream.failures import Failures
from backchat.upstream.http import open_session, post, problem, start_of, whole
from backchat_web.results import shown
from backchat_web.search_settings import SearchSettings
from backchat_web.services import SERVICES, Question

_SERVICE = "the search service"
_LONGEST_QUERY = 400
_ANSWER = 2 << 20
_DEFINITION = ToolDefinition(
    "web_search",
    "Searches the web: titles, addresses and short extracts of the pages that fit best. Call it for what may have "
    "changed since you were trained, and for what you do not know.",
    {
        "type": "object",
        "properties": {
            "query": {
                "type": "string",
                "minLength": 1,
                "maxLength": _LONGEST_QUERY,
                "description": "What to look for, in a few words, as one types it into a search engine.",
            }
        },
        "required": ["query"],
        "additionalProperties": False,
    },
    web=True,
)


class WebSearch:
    definition = _DEFINITION

    def __init__(self, settings: SearchSettings, session: aiohttp.ClientSession) -> None:
        self._settings, self._session = settings, session
        self._service = SERVICES[settings.backend]
        self._failures = Failures([settings.api_key or "", *settings.headers.values()], service=_SERVICE)
        self._base = URL(settings.url)

    async def run(self, arguments: Mapping[str, Any]) -> str:
        query = " ".join(arguments["query"].split())
        if not query:
            raise ToolFailed("the query is empty")
        limit = self._settings.time_limit
        try:
            async with asyncio.timeout(limit):
                body = await self._answer(self._service.ask(query, self._settings, self._service.safe))
        except TimeoutError:
            raise ToolFailed(f"{_SERVICE} took longer than {limit:g} seconds") from None
        except ProviderError as error:
            raise ToolFailed(str(error)) from None
        # A page takes longer than one event of a stream may.
        return shown(await asyncio.to_thread(self._service.read, body), self._settings.count)

    async def _answer(self, question: Question) -> bytes:
        url = self._base.with_path(self._base.path.rstrip("/") + question.path, keep_query=True)
        headers = {**question.headers, **self._settings.headers}
        try:
            if question.body is not None:
                response = await post(self._session, url, question.body, headers)
            else:
                asked = url.extend_query(question.query)
                response = await self._session.get(asked, headers=headers, allow_redirects=False)
            try:
                if response.status in self._service.statuses:
                    raise ToolFailed(self._service.statuses[response.status])
                if response.status != 200:
                    raise self._failures.answered(response.status, response.headers, await start_of(response))
                return await whole(response, _ANSWER, "an answer", _SERVICE)
            finally:
                response.release()
        except (aiohttp.ClientError, OSError) as error:
            raise problem(error, _SERVICE) from None


@asynccontextmanager
async def open_search(settings: SearchSettings) -> AsyncIterator[Sequence[Tool]]:
    async with open_session({}, connect_timeout=settings.connect_timeout, read_timeout=settings.time_limit) as session:
        yield [WebSearch(settings, session)]
