"""The server's tools, by name."""

from __future__ import annotations

import asyncio
import json
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

import structlog

from backchat.domain.message import ToolCall, ToolResult
from backchat.domain.tool import ToolDefinition
from backchat.errors import BackchatError
from backchat.ports.tools import Tool, ToolFailed

log = structlog.get_logger(source=__name__)

BUILT_IN = "none"
"""The agent that is the server's own loop."""
MOST_RESULT = 100_000
"""Characters of an answer that a model is shown; the rest is cut off, and it is told so."""


@dataclass(frozen=True, slots=True)
class Offered:
    """A tool as the deployer offers it.

    always   in every reply of a model that calls tools, not only where an agent was chosen or the web was asked for
    confirm  each call waits until the user has allowed it
    """

    tool: Tool
    always: bool = False
    confirm: bool = False


class Toolbox:
    """``limit``: how long a tool may take."""

    def __init__(self, tools: Sequence[Offered], limit: timedelta) -> None:
        self._offered = {offered.tool.definition.name: offered for offered in tools}
        self._limit = limit

    def names(self, *, agent: str | None = None, web: bool = False) -> Sequence[str]:
        """The tools for a reply: all of them where an ``agent`` was chosen, else those that are always offered, and
        with ``web`` those that look things up there. An agent other than the server's own loop cannot wait for a user:
        it is offered none that must be confirmed.
        """
        found = self._offered.items()
        if agent is not None:
            return tuple([name for name, o in found if agent == BUILT_IN or not o.confirm])
        return tuple([name for name, o in found if o.always or (web and o.tool.definition.web)])

    @property
    def searches(self) -> bool:
        """Whether any of the tools looks things up in the web."""
        return any(o.tool.definition.web for o in self._offered.values())

    def definitions(self, names: Sequence[str]) -> Sequence[ToolDefinition]:
        """Of those of the names that there are."""
        return [self._offered[name].tool.definition for name in names if name in self._offered]

    def waits(self, name: str) -> bool:
        """Whether a call of this tool must be allowed by the user."""
        return name in self._offered and self._offered[name].confirm

    async def call(self, call: ToolCall) -> ToolResult:
        """Run a tool, with a call that fits it. What goes wrong is told to the model, and is its text; nothing is
        raised but that the caller is cancelled.
        """
        return ToolResult(call.id, _shown(await self._said(call)))

    async def _said(self, call: ToolCall) -> str:
        offered = self._offered.get(call.name)
        if offered is None:
            return f"Error: this server has no tool {call.name!r} any more."
        tool = offered.tool
        seconds = self._limit.total_seconds()
        limit = asyncio.timeout(seconds)
        try:
            async with limit:
                said = await tool.run(json.loads(call.arguments))
            if not isinstance(said, str):
                raise TypeError("a tool answers with text")
        except (ToolFailed, BackchatError) as failure:
            return f"Error: {failure}"
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            return _crashed(call, error)  # nobody has cancelled this: it is the tool's own, of something inside of it
        except Exception as error:
            if limit.expired():
                return f"Error: the tool took longer than {seconds:g} seconds."
            return _crashed(call, error)
        return said


def _crashed(call: ToolCall, error: BaseException) -> str:
    # Neither the arguments nor what the error says, which may repeat them.
    place = traceback.extract_tb(error.__traceback__)[-1]
    log.error("tool.crashed", tool=call.name, error=type(error).__name__, at=f"{place.filename}:{place.lineno}")
    return "Error: the tool is broken."


def _shown(text: str) -> str:
    """The text as it can be stored and sent: half a character is no character, and there is an end to it."""
    text = text.encode("utf-8", "replace").decode()
    return text if len(text) <= MOST_RESULT else f"{text[:MOST_RESULT]}\n[cut off: {len(text)} characters]"
