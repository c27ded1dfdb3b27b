"""The tools of MCP servers (https://modelcontextprotocol.io), over stdio or streamable HTTP."""

from __future__ import annotations

from collections.abc import Sequence

from backchat.hookspecs import hookimpl
from backchat.ports.component import Component
from backchat.ports.tools import ToolBackend
from backchat_mcp.opening import open_mcp
from backchat_mcp.settings import SettingsSchema


@hookimpl
def backchat_tools() -> Sequence[ToolBackend]:
    return [Component("mcp", SettingsSchema(), open_mcp, "mcp")]
