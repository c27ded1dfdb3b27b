"""Opening an MCP server as a source of tools."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import structlog

from backchat.errors import ConfigError
from backchat.ports.tools import Tool
from backchat_mcp.settings import Settings

log = structlog.get_logger(source=__name__)


@asynccontextmanager
async def open_mcp(settings: Settings) -> AsyncIterator[Sequence[Tool]]:
    """The tools that the server lists at this moment and ``allow`` names. What it lists later is not looked at: a
    server that was found harmless cannot turn its tools into others.

    A tool that no service could be sent is left out, for it would break every reply that offers it; the log says so.
    Raises ConfigError if the server cannot be reached or started in time, or lacks one of the tools.
    """
    from pydantic import ValidationError

    from backchat_mcp.connection import Connection, opener
    from backchat_mcp.listing import listed, reason_of, unsendable
    from backchat_mcp.tools import BROKEN, RemoteTool, names_of

    async with Connection(opener(settings), settings.connect_timeout) as connection:
        try:
            async with asyncio.timeout(settings.connect_timeout):
                found = await listed(await connection.client())
        except (*BROKEN, ValidationError, ExceptionGroup, ValueError) as error:
            where = "reached" if settings.url is not None else "started"
            raise ConfigError(f"the MCP server {settings.name!r} cannot be {where}: {reason_of(error)}") from None
        if found is None:
            raise ConfigError(f"the MCP server {settings.name!r} does not come to the end of its list of tools")
        tools = [tool for tool in found if settings.allow is None or tool.name in settings.allow]
        if missing := (settings.allow or frozenset()) - {tool.name for tool in tools}:
            there = ", ".join(sorted(tool.name for tool in found)) or "none"
            raise ConfigError(f"the MCP server {settings.name!r} has no {', '.join(sorted(missing))}; it has: {there}")
        offered: list[Tool] = []
        for tool, name in zip(tools, names_of(tools, settings.name), strict=True):
            made = RemoteTool(tool, name, settings, connection)
            if reason := await asyncio.to_thread(unsendable, made.definition):
                log.warning("mcp.tool_left_out", server=settings.name, tool=name, reason=reason)
            else:
                offered.append(made)
        yield offered
