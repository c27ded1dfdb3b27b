"""For authors of memory strategies: the contract of the port, and a history to try one on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest

from backchat.domain.message import Message, Part, Role, Text, ToolCall, ToolResult
from backchat.ports.memory import MemoryStrategy, Summary

_BEGINNING = datetime(2024, 1, 1, tzinfo=UTC)


class ListHistory:
    """A History over a list; ``asked`` holds the limits that were asked for, ``kept`` is the summary there is."""

    def __init__(self, messages: Sequence[Message], kept: Summary | None = None) -> None:
        self.messages, self.kept = messages, kept
        self.asked: list[int] = []

    async def latest(self, limit: int) -> Sequence[Message]:
        self.asked.append(limit)
        return list(self.messages[-limit:]) if limit > 0 else []

    async def summary(self) -> Summary | None:
        return self.kept


def conversation(*said: tuple[Role, Part | str]) -> list[Message]:
    """Messages of one linear conversation, one part each; a string is a Text."""
    return [
        Message(
            id=f"m{n}",
            conversation="c1",
            owner="u1",
            seq=n,
            role=role,
            parts=(Text(part) if isinstance(part, str) else part,),
            created_at=_BEGINNING + timedelta(seconds=n),
            parent=f"m{n - 1}" if n > 1 else None,
        )
        for n, (role, part) in enumerate(said, 1)
    ]


def talk(turns: int) -> list[Message]:
    """That many questions and answers, and a last question."""
    pairs: list[tuple[Role, str]] = []
    for n in range(turns):
        pairs += [("user", f"question {n}"), ("assistant", f"answer {n}")]
    return conversation(*pairs, ("user", "the last question"))


def with_tools(calls: int) -> list[Message]:
    """A question, then ``calls`` rounds of an assistant's tool call and the result, which ends the history."""
    said: list[tuple[Role, Part | str]] = [("user", "please look it up")]
    for n in range(calls):
        said += [("assistant", ToolCall(f"call_{n}", "search", "{}")), ("tool", ToolResult(f"call_{n}", f"found {n}"))]
    return conversation(*said)


class MemoryContract(ABC):
    """Subclass it, provide a ``strategy`` fixture, and pytest runs what every memory strategy must keep."""

    @pytest.fixture
    @abstractmethod
    def strategy(self) -> object:
        """The opened strategy under test."""

    @pytest.mark.parametrize("turns", [0, 1, 5, 100])
    async def test_the_newest_message_is_shown_last(self, strategy: MemoryStrategy, turns: int) -> None:
        messages = talk(turns)
        shown = (await strategy.select(ListHistory(messages))).messages
        assert shown[-1] == messages[-1]

    @pytest.mark.parametrize("turns", [1, 5, 100])
    async def test_what_is_shown_is_in_order_and_once(self, strategy: MemoryStrategy, turns: int) -> None:
        shown = (await strategy.select(ListHistory(talk(turns)))).messages
        seqs = [message.seq for message in shown]
        assert seqs == sorted(set(seqs))

    @pytest.mark.parametrize("calls", [1, 3, 50])
    async def test_no_result_is_shown_without_its_call(self, strategy: MemoryStrategy, calls: int) -> None:
        messages = with_tools(calls)
        for end in range(1, len(messages) + 1):
            shown = (await strategy.select(ListHistory(messages[:end]))).messages
            called: set[str] = set()
            for part in (part for message in shown for part in message.parts):
                if isinstance(part, ToolCall):
                    called.add(part.id)
                assert not isinstance(part, ToolResult) or part.call in called
            assert shown[-1] == messages[end - 1]

    async def test_the_same_history_gives_the_same_answer(self, strategy: MemoryStrategy) -> None:
        messages = talk(30)
        assert await strategy.select(ListHistory(messages)) == await strategy.select(ListHistory(messages))

    async def test_an_empty_history_shows_nothing(self, strategy: MemoryStrategy) -> None:
        assert list((await strategy.select(ListHistory([]))).messages) == []
