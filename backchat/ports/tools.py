"""The tool port: what the server can do for a model that calls for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from backchat.domain.tool import ToolDefinition
from backchat.ports.component import Component


class ToolFailed(Exception):
    """A tool could not do what it was asked; the message is for the model."""


class Tool(Protocol):
    """Test one by subclassing ``backchat.testing.tool.ToolContract``."""

    @property
    def definition(self) -> ToolDefinition: ...

    async def run(self, arguments: Mapping[str, Any]) -> str:
        """Do it, with arguments that fit the definition's schema; the answer is text for the model.

        Raises ``ToolFailed``. It is cancelled when it takes longer than ``replies.tool_time``.
        """
        ...


OpenTools = Callable[[Any], AbstractAsyncContextManager[Sequence[Tool]]]
ToolBackend = Component[OpenTools]
