"""``record`` and ``replay`` keep the contract of providers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from backchat.domain.message import ToolCall, ToolResult
from backchat.errors import ProviderError
from backchat.ports.providers import LLMProvider, ModelRequest, PromptMessage
from backchat.testing.provider import WEATHER, ProviderContract, ScriptedProvider, ask, collect
from backchat_echo.provider import SettingsSchema as EchoSettings
from backchat_echo.provider import open_echo
from backchat_replay.player import ReplayProvider
from backchat_replay.recorder import RecordingProvider
from replay_desk import recording, replaying

KEY = "sk-secret-0123456789abcdef"


def _text(request: ModelRequest) -> str:
    return request.messages[-1].parts[0].text  # type: ignore[union-attr]


class TestRecord(ProviderContract):
    secrets = (KEY,)

    @pytest.fixture
    async def provider(self, tmp_path: Path) -> AsyncIterator[RecordingProvider]:
        async with open_echo(EchoSettings().load({})) as echo, recording(tmp_path / "recordings", echo) as provider:
            yield provider

    @pytest.fixture
    async def failing(self, tmp_path: Path) -> AsyncIterator[Sequence[LLMProvider]]:
        async with recording(tmp_path / "failing", ScriptedProvider(["so far", ProviderError("broken")])) as provider:
            yield [provider]

    def expected(self, request: ModelRequest) -> str:
        return _text(request)


class TestReplay(ProviderContract):
    secrets = (KEY,)

    @pytest.fixture
    async def provider(self, tmp_path: Path) -> AsyncIterator[ReplayProvider]:
        path = tmp_path / "recordings"
        async with open_echo(EchoSettings().load({})) as echo, recording(path, echo) as recorded:
            for n in range(8):
                await collect(recorded, ask(f"{self.long_question} number {n}"))
            await collect(recorded, ask(self.long_question))
            question = ask(self.tool_question, WEATHER)
            calls = [e for e in await collect(recorded, question) if isinstance(e, ToolCall)]
            answers = [PromptMessage("tool", (ToolResult(call.id, "18 degrees and sunny"),)) for call in calls]
            messages = [*question.messages, PromptMessage("assistant", tuple(calls)), *answers]
            await collect(recorded, ModelRequest(messages=messages, tools=[WEATHER]))
        async with replaying(path) as provider:
            yield provider

    @pytest.fixture
    async def failing(self, tmp_path: Path) -> AsyncIterator[Sequence[LLMProvider]]:
        """One whose recording is of a failure with a key in it, and one without any recording."""
        told, nothing = tmp_path / "told", tmp_path / "nothing"
        nothing.mkdir()
        inner = ScriptedProvider(["so far", ProviderError(f"bad key {KEY}")])
        async with AsyncExitStack() as stack:
            recorded = await stack.enter_async_context(recording(told, inner))
            with pytest.raises(ProviderError):
                await collect(recorded, ask(self.long_question))
            yield [await stack.enter_async_context(replaying(path)) for path in (told, nothing)]

    def expected(self, request: ModelRequest) -> str:
        return _text(request)
