"""The tools of the web keep the contract of the port."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import pytest

from backchat.ports.tools import Tool
from backchat.testing.tool import ToolContract
from backchat_web.search import open_search
from backchat_web.search_settings import SearchSchema
from web_tools_served import fetching, site

_PID = os.getpid()
HOST, PORT = f"127.{2 + (_PID >> 16) % 250}.{_PID >> 8 & 255}.{_PID & 255}", 18_462
"""Known before there is a server, and no other process's."""


class TestWebFetch(ToolContract):
    arguments: Mapping[str, Any] = {"url": f"http://{HOST}:{PORT}/"}
    refused: Sequence[Mapping[str, Any]] = (
        {"url": "http://127.0.0.1/"},
        {"url": "tea"},
        {"url": f"http://{HOST}:{PORT}/other"},
        {"url": f"http://{HOST}:{PORT}/", "start": 100},
    )

    @pytest.fixture
    async def tool(self) -> AsyncIterator[Tool]:
        async with site(HOST, PORT) as here:
            here.page("/", "Tea is a drink.", "text/plain")
            async with fetching(here, allow=[HOST]) as tool:
                yield tool


class TestWebSearch(ToolContract):
    arguments: Mapping[str, Any] = {"query": "tea"}
    refused: Sequence[Mapping[str, Any]] = ({"query": " "},)

    @pytest.fixture
    async def tool(self) -> AsyncIterator[Tool]:
        async with site() as here:
            here.page("/search", json.dumps({"results": [{"url": "https://example.org/", "title": "Tea"}]}))
            async with open_search(SearchSchema().load({"backend": "searxng", "url": here.url("")})) as [tool]:
                yield tool
