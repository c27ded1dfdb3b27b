"""The tools of an MCP server keep the contract of the port, over HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

import pytest

import mcp_served
from backchat.ports.tools import Tool
from backchat.testing.tool import ToolContract
from backchat_mcp.opening import open_mcp
from backchat_mcp.settings import SettingsSchema


@pytest.fixture(scope="module", name="url")
def _url() -> Iterator[str]:
    with mcp_served.http_server() as url:
        yield url


class TestAdd(ToolContract):
    arguments: Mapping[str, Any] = {"a": 1, "b": 2}

    @pytest.fixture
    async def tool(self, url: str) -> AsyncIterator[Tool]:
        section = {"name": "t", "url": url, "allow": ["add"]}
        async with open_mcp(SettingsSchema().load(section)) as tools:
            yield tools[0]
