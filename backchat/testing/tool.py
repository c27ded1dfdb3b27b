"""For authors of tools: the port's contract, and a double that does what it is told."""

from __future__ import annotations

import asyncio
import json
import re
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from backchat.domain.tool import ToolDefinition
from backchat.ports.tools import Tool, ToolFailed

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


class ScriptedTool:
    """A tool for tests, with one optional argument ``what``; ``does`` makes its answer of the arguments.

    An exception instead is raised, an Event is waited for before it answers ``done``. ``calls`` are the arguments it
    was run with, ``running`` how often it is being run now, ``most`` how often that was at most; ``begun`` is set
    with the first of them.
    """

    def __init__(
        self,
        name: str = "look",
        does: Callable[[Mapping[str, Any]], Awaitable[str]] | str | BaseException | asyncio.Event = "done",
    ) -> None:
        schema = {"type": "object", "properties": {"what": {"type": "string"}}, "additionalProperties": False}
        self.definition = ToolDefinition(name, f"Does {name}.", schema)
        self._does = does
        self.calls: list[Mapping[str, Any]] = []
        self.running = self.most = 0
        self.begun = asyncio.Event()

    async def run(self, arguments: Mapping[str, Any]) -> str:
        self.calls.append(arguments)
        self.running += 1
        self.begun.set()
        self.most = max(self.most, self.running)
        try:
            if isinstance(self._does, BaseException):
                raise self._does
            if isinstance(self._does, asyncio.Event):
                await self._does.wait()
                return "done"
            return self._does if isinstance(self._does, str) else await self._does(arguments)
        finally:
            self.running -= 1


class ToolContract(ABC):
    """Subclass it, provide a ``tool`` fixture, and pytest runs what every tool must keep.

    arguments  that fit its schema, with which it succeeds
    refused    arguments that fit its schema, with which it fails
    """

    arguments: Mapping[str, Any] = {}
    refused: Sequence[Mapping[str, Any]] = ()

    @pytest.fixture
    @abstractmethod
    def tool(self) -> object:
        """The tool under test."""

    async def test_a_model_can_be_told_of_it(self, tool: Tool) -> None:
        definition = tool.definition
        assert _NAME.fullmatch(definition.name)
        assert definition.description.strip()
        assert json.loads(json.dumps(definition.parameters)) == definition.parameters
        assert definition.parameters["type"] == "object"
        Draft202012Validator.check_schema(definition.parameters)

    async def test_answers_with_text(self, tool: Tool) -> None:
        assert Draft202012Validator(tool.definition.parameters).is_valid(self.arguments)
        before = json.dumps(self.arguments)
        answer = await tool.run(self.arguments)
        assert isinstance(answer, str)
        assert answer.strip()
        assert json.dumps(self.arguments) == before, "the arguments are the caller's"

    async def test_many_calls_at_once(self, tool: Tool) -> None:
        answers = await asyncio.gather(*[tool.run(self.arguments) for _ in range(20)])
        assert all(isinstance(answer, str) and answer.strip() for answer in answers)

    async def test_fails_in_words_for_the_model(self, tool: Tool) -> None:
        """Holds trivially as long as ``refused`` is empty."""
        for arguments in self.refused:
            assert Draft202012Validator(tool.definition.parameters).is_valid(arguments)
            with pytest.raises(ToolFailed) as failure:
                await tool.run(arguments)
            assert str(failure.value).strip()

    async def test_can_be_cancelled(self, tool: Tool) -> None:
        running = asyncio.ensure_future(tool.run(self.arguments))
        await asyncio.sleep(0)
        running.cancel()
        async with asyncio.timeout(5):
            await asyncio.wait([running])
        assert running.cancelled() or isinstance(running.result(), str)
        assert (await tool.run(self.arguments)).strip()
