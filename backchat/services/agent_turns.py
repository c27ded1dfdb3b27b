"""A reply that is made by an agent: what it sees of the run, and what of its errors the run gets to know."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from backchat.domain.message import ToolCall, ToolResult
from backchat.domain.tool import ToolDefinition
from backchat.errors import BackchatError
from backchat.ports.agents import Agent
from backchat.ports.providers import Abilities, PromptMessage, ProviderEvent
from backchat.services.prompts import seen
from backchat.services.replying import Reply


class Turn:
    """An ``AgentTurn`` over the reply. ``error`` is what the last ``ask`` failed with."""

    def __init__(self, reply: Reply, messages: Sequence[PromptMessage]) -> None:
        self._reply, self.messages = reply, messages
        self.error: BackchatError | None = None
        self._one_at_a_time = asyncio.Lock()

    @property
    def tools(self) -> Sequence[ToolDefinition]:
        return self._reply.request.tools

    async def ask(self, messages: Sequence[PromptMessage]) -> AsyncGenerator[ProviderEvent, None]:
        async def prompt(abilities: Abilities) -> Sequence[PromptMessage]:
            return seen(messages, abilities)

        async with self._one_at_a_time:
            self.error = None
            try:
                async with aclosing(self._reply.ask(prompt, ())) as events:
                    async for event in events:
                        yield event
            except BackchatError as error:
                self.error = error
                raise

    async def call(self, call: ToolCall) -> ToolResult:
        """The call as the model made it, and as the log has it: frameworks write arguments in ways of their own."""
        if (before := self._reply.answered(call.id)) is not None:
            return before
        made = self._reply.asked_for(call.id)
        if made is None or made.name != call.name:
            return ToolResult(call.id, "Error: the model has not called this tool.")
        return await self._reply.call(made)


async def answer(agent: Agent, reply: Reply) -> None:
    """Let an agent make the reply.

    Raises what its last call of the model failed with, as it was: frameworks put errors into errors of theirs, or keep
    them to themselves.
    """
    turn = Turn(reply, await reply.past(reply.asked.provider.abilities))
    try:
        await agent.answer(turn)
    except Exception as error:
        if turn.error is None or turn.error is error:
            raise
        raise turn.error from error
    if turn.error is not None:
        raise turn.error
