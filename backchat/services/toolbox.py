"""The server's tools, by name."""

from __future__ import annotations

import asyncio
import json
import traceback
from collections.abc import Sequence
from datetime import timedelta

import structlog

from backchat.domain.message import ToolCall, ToolResult
from backchat.domain.tool import ToolDefinition
from backchat.errors import BackchatError
from backchat.ports.tools import Tool, ToolFailed

log = structlog.get_logger(source=__name__)

MOST_RESULT = 100_000
"""Characters of an answer that a model is shown; the rest is cut off, and it is told so."""


class Toolbox:
    """``limit``: how long a tool may take."""

    def __init__(self, tools: Sequence[Tool], limit: timedelta) -> None:
        self._tools = {tool.definition.name: tool for tool in tools}
        self._limit = limit

    @property
    def names(self) -> Sequence[str]:
        return tuple(self._tools)

    def definitions(self, names: Sequence[str]) -> Sequence[ToolDefinition]:
        """Of those of the names that there are."""
        return [self._tools[name].definition for name in names if name in self._tools]

    async def call(self, call: ToolCall) -> ToolResult:
        """Run a tool, with a call that fits it. What goes wrong is told to the model, and is its text; never raises."""
        return ToolResult(call.id, _shown(await self._said(call)))

    async def _said(self, call: ToolCall) -> str:
        tool = self._tools.get(call.name)
        if tool is None:
            return f"Error: this server has no tool {call.name!r} any more."
        seconds = self._limit.total_seconds()
        limit = asyncio.timeout(seconds)
        try:
            async with limit:
                said = await tool.run(json.loads(call.arguments))
            if not isinstance(said, str):
                raise TypeError("a tool answers with text")
        except (ToolFailed, BackchatError) as failure:
            return f"Error: {failure}"
        except Exception as error:
            if limit.expired():
                return f"Error: the tool took longer than {seconds:g} seconds."
            # Neither the arguments nor what the error says, which may repeat them.
            place = traceback.extract_tb(error.__traceback__)[-1]
            at = f"{place.filename}:{place.lineno}"
            log.error("tool.crashed", tool=call.name, error=type(error).__name__, at=at)
            return "Error: the tool is broken."
        return said


def _shown(text: str) -> str:
    """The text as it can be stored and sent: half a character is no character, and there is an end to it."""
    text = text.encode("utf-8", "replace").decode()
    return text if len(text) <= MOST_RESULT else f"{text[:MOST_RESULT]}\n[cut off: {len(text)} characters]"
