"""The agent port: who decides what a reply is made of, while the server asks the model and runs the tools."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from backchat.domain.message import ToolCall, ToolResult
from backchat.domain.tool import ToolDefinition
from backchat.ports.component import Component
from backchat.ports.providers import PromptMessage, ProviderEvent


class AgentTurn(Protocol):
    """One reply in the making, as an agent sees it.

    Everything that ``ask`` yields and that ``call`` answers is in the log of the run already, in that order, and is
    accounted for: the agent shows nothing itself.
    """

    @property
    def messages(self) -> Sequence[PromptMessage]:
        """What was said, oldest first; the last one is to be answered. Instructions are not in it."""
        ...

    @property
    def tools(self) -> Sequence[ToolDefinition]:
        """The server's tools that the model may call."""
        ...

    def ask(self, messages: Sequence[PromptMessage]) -> AsyncGenerator[ProviderEvent, None]:
        """Ask the model of the conversation, with its instructions and with ``tools``.

        Tool calls come with ids of their own and arguments that fit their schemas. Raises ``BackchatError``: what the
        provider failed with, InsufficientCredits, or that there were too many rounds. Let it through.
        """
        ...

    async def call(self, call: ToolCall) -> ToolResult:
        """Run one of ``tools``. What goes wrong in it is the text of the result, for the model."""
        ...


class Agent(Protocol):
    """Test one by subclassing ``backchat.testing.agent.AgentContract``."""

    async def answer(self, turn: AgentTurn) -> None:
        """Make the reply. It is what the model said until this returns."""
        ...


OpenAgent = Callable[[Any], AbstractAsyncContextManager[Agent]]
AgentBackend = Component[OpenAgent]
