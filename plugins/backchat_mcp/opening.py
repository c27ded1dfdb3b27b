"""Opening an MCP server as a source of tools."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from backchat.errors import ConfigError
from backchat.ports.tools import Tool
from backchat_mcp.settings import Settings

if TYPE_CHECKING:
    from mcp import Client
    from mcp_types import Tool as ServersTool

MOST_PAGES = 100


@asynccontextmanager
async def open_mcp(settings: Settings) -> AsyncIterator[Sequence[Tool]]:
    """The tools that the server lists at this moment and ``allow`` names. What it lists later is not looked at: a
    server that was found harmless cannot turn its tools into others.

    Raises ConfigError if it cannot be reached or started, or lacks one of the tools.
    """
    from pydantic import ValidationError

    from backchat_mcp.connection import Connection, opener
    from backchat_mcp.tools import BROKEN, RemoteTool, names_of

    async with Connection(opener(settings), settings.connect_timeout) as connection:
        try:
            listed = await _listed(await connection.client())
        except (*BROKEN, ValidationError, ExceptionGroup, ValueError) as error:
            where = "reached" if settings.url is not None else "started"
            raise ConfigError(f"the MCP server {settings.name!r} cannot be {where} ({type(error).__name__})") from None
        tools = [tool for tool in listed if settings.allow is None or tool.name in settings.allow]
        if missing := (settings.allow or frozenset()) - {tool.name for tool in tools}:
            there = ", ".join(sorted(tool.name for tool in listed)) or "none"
            raise ConfigError(f"the MCP server {settings.name!r} has no {', '.join(sorted(missing))}; it has: {there}")
        names = names_of(tools, settings.name)
        yield [RemoteTool(tool, name, settings, connection) for tool, name in zip(tools, names, strict=True)]


async def _listed(client: Client) -> list[ServersTool]:
    """Every tool, page by page."""
    found: list[ServersTool] = []
    cursor: str | None = None
    for _ in range(MOST_PAGES):
        page = await client.list_tools(cursor=cursor)
        found += page.tools
        cursor = page.next_cursor
        if cursor is None:
            break
    return found
