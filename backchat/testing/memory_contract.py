"""For authors of memory strategies: the contract of the port, and a history to try one on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest

from backchat.domain.message import Message, Part, Role, Text, ToolCall, ToolResult
from backchat.errors import ProviderError
from backchat.ports.memory import MemoryStrategy, Summary

_BEGINNING = datetime(2024, 1, 1, tzinfo=UTC)


class ListHistory:
    """A History over a list; ``asked`` holds the limits that were asked for, ``kept`` is the summary there is."""

    def __init__(self, messages: Sequence[Message], kept: Summary | None = None) -> None:
        self.messages: Sequence[Message] = messages
        self.kept = kept
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


def turns(count: int, calls: int) -> list[Message]:
    """That many questions, each with an answer after so many rounds of a tool, and a last question."""
    said: list[tuple[Role, Part | str]] = []
    for n in range(count):
        said.append(("user", f"question {n}"))
        for call in range(calls):
            id = f"call_{n}_{call}"
            said += [("assistant", ToolCall(id, "search", "{}")), ("tool", ToolResult(id, f"found {call}"))]
        said.append(("assistant", f"answer {n}"))
    return conversation(*said, ("user", "the last question"))


def place_of(messages: Sequence[Message], summary: Summary) -> int:
    """Where the newest message is that it covers. It must be there."""
    return [message.id for message in messages].index(summary.covers)


class Notes:
    """An ``Ask`` that has an answer for everything; ``asked`` are the texts, ``answers`` what was said to them."""

    def __init__(self, error: ProviderError | None = None) -> None:
        self.error = error
        self.instructions: list[str] = []
        self.asked: list[str] = []
        self.answers: list[str] = []

    async def __call__(self, instructions: str, text: str) -> str:
        self.instructions.append(instructions)
        self.asked.append(text)
        if self.error is not None:
            raise self.error
        self.answers.append(f"notes {len(self.asked)}")
        return self.answers[-1]


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

    @pytest.mark.parametrize("calls", [0, 2])
    async def test_nothing_is_lost_between_the_summary_and_what_is_shown(
        self, strategy: MemoryStrategy, calls: int
    ) -> None:
        """Turn by turn, as long as the model answers; of a strategy that makes no summaries this asks nothing."""
        messages = turns(60, calls)
        history = ListHistory([])
        for end in [n for n, message in enumerate(messages, 1) if message.role == "user"]:
            history.messages = messages[:end]
            shown = await strategy.select(history)
            assert shown.summary == (history.kept.text if history.kept else "")
            if history.kept is not None:
                begin = next(n for n, message in enumerate(messages) if message == shown.messages[0])
                assert begin <= place_of(messages, history.kept) + 1
            history.messages = messages[: end + 2 * calls + 1]
            if shown.due and (made := await strategy.review(history, Notes())) is not None:
                covered = place_of(history.messages, made)
                assert history.kept is None or covered > place_of(messages, history.kept)
                assert history.messages[covered + 1].role != "tool"
                history.kept = made

    async def test_a_model_that_fails_changes_nothing(self, strategy: MemoryStrategy) -> None:
        """Nor does it keep the next one from making up for it."""
        history, notes = ListHistory([]), Notes()
        for end in range(1, 122, 2):
            history.messages = talk(end // 2)
            before = await strategy.select(history)
            history.messages = conversation(*[(m.role, m.text) for m in history.messages], ("assistant", "answer"))
            if not before.due:
                continue
            with pytest.raises(ProviderError):
                await strategy.review(history, Notes(ProviderError("no")))
            assert (await strategy.select(history)).due
            made = await strategy.review(history, notes)
            assert made is not None
            assert made.text == notes.answers[-1]
            break

    async def test_an_empty_history_shows_nothing(self, strategy: MemoryStrategy) -> None:
        assert list((await strategy.select(ListHistory([]))).messages) == []
