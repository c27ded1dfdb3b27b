"""Every memory strategy keeps the contract of the port; what is peculiar to ``window``.

What is peculiar to ``summary`` is in ``tests/test_summary_strategy.py``.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import pytest
from marshmallow import ValidationError

from backchat.domain.message import Image, Text, ToolCall, ToolResult
from backchat.ports.newest import newest
from backchat.testing.memory_contract import ListHistory, MemoryContract, conversation, talk, with_tools
from backchat_summary.settings import SettingsSchema as SummarySchema
from backchat_summary.strategy import Rolling, open_summary
from backchat_window.strategy import SettingsSchema, Window, open_window


def window(**section: Any) -> Window:
    return Window(SettingsSchema().load(section))


class TestWindow(MemoryContract):
    section: Mapping[str, Any] = MappingProxyType({})

    @pytest.fixture
    async def strategy(self) -> AsyncIterator[Window]:
        async with open_window(SettingsSchema().load(self.section)) as strategy:
            yield strategy


class TestWindowOfOne(TestWindow):
    section = MappingProxyType({"size": 1})


class TestWindowOfThree(TestWindow):
    section = MappingProxyType({"size": 3})


class TestNarrowWindow(TestWindow):
    section = MappingProxyType({"size": 50, "max_characters": 20})


class TestRolling(MemoryContract):
    section: Mapping[str, Any] = MappingProxyType({})

    @pytest.fixture
    async def strategy(self) -> AsyncIterator[Rolling]:
        async with open_summary(SummarySchema().load(self.section)) as strategy:
            yield strategy


class TestRollingOfOne(TestRolling):
    section = MappingProxyType({"size": 1, "after": 1})


class TestRollingInSteps(TestRolling):
    section = MappingProxyType({"size": 3, "after": 50, "step": 1000})


class TestNarrowRolling(TestRolling):
    section = MappingProxyType({"size": 10, "after": 100, "max_characters": 400})


async def test_shows_as_many_messages_as_it_may() -> None:
    messages = talk(30)
    assert list((await window().select(ListHistory(messages))).messages) == messages[-20:]
    assert list((await window(size=3).select(ListHistory(messages))).messages) == messages[-3:]
    assert list((await window(size=100).select(ListHistory(messages))).messages) == messages


async def test_reads_no_more_of_the_history_than_it_shows() -> None:
    history = ListHistory(talk(30))
    await window(size=7).select(history)
    assert history.asked == [7]


async def test_older_messages_give_way_to_the_bound_of_characters() -> None:
    messages = conversation(("user", "aaaa"), ("assistant", "bbb"), ("user", "cc"))
    for characters, shown in [(9, 3), (8, 2), (5, 2), (4, 1), (2, 1), (1, 1)]:
        picked = (await window(max_characters=characters).select(ListHistory(messages))).messages
        assert list(picked) == messages[-shown:], characters


async def test_one_is_the_least() -> None:
    for messages in (talk(3), with_tools(2)):
        async with asyncio.timeout(5):
            shown = await newest(ListHistory(messages), 0)
        assert shown[-1] == messages[-1]
        assert shown[0].role != "tool"


async def test_a_gap_is_never_left() -> None:
    messages = conversation(("user", "short"), ("assistant", "x" * 100), ("user", "cc"))
    assert list((await window(max_characters=50).select(ListHistory(messages))).messages) == messages[-1:]


async def test_calls_and_results_count_and_images_do_not() -> None:
    messages = conversation(
        ("user", Image("f1", "image/png")),
        ("assistant", ToolCall("c", "find", "{1234}")),
        ("tool", ToolResult("c", "12345")),
        ("assistant", "67890"),
    )
    assert list((await window(max_characters=20).select(ListHistory(messages))).messages) == messages
    assert list((await window(max_characters=19).select(ListHistory(messages))).messages) == messages[-1:]


async def test_results_without_their_call_are_left_out() -> None:
    messages = [*with_tools(1), replace(talk(0)[0], seq=4, parts=(Text("thanks"),))]
    assert list((await window(size=2).select(ListHistory(messages))).messages) == messages[-1:]
    assert list((await window(size=3).select(ListHistory(messages))).messages) == messages[-3:]


async def test_reaches_back_to_the_call_when_only_results_would_be_left() -> None:
    parallel = conversation(
        ("user", "go"),
        ("assistant", ToolCall("call_0", "search", "{}")),
        *(("tool", ToolResult("call_0", str(n))) for n in range(9)),
    )
    assert list((await window(size=2).select(ListHistory(parallel))).messages) == parallel[1:]


async def test_a_result_whose_call_was_deleted_is_still_the_last_message() -> None:
    messages = conversation(("tool", ToolResult("gone", "a")), ("tool", ToolResult("gone", "b")))
    assert list((await window(size=5).select(ListHistory(messages))).messages) == messages[-1:]


@pytest.mark.parametrize("section", [{"size": 0}, {"size": "many"}, {"max_characters": 0}, {"sise": 3}])
def test_refuses_bad_settings(section: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        SettingsSchema().load(section)


def test_every_setting_is_described() -> None:
    assert all(field.metadata["description"] for field in SettingsSchema().fields.values())
