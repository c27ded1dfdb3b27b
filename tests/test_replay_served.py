"""A conversation that was recorded is played again, byte for byte, by a server that has no model."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from backchat.domain.message import Seal, ToolCall, Usage
from backchat.domain.run import ReasoningDelta, ReasoningSealed, StatusNote
from backchat.errors import ProviderError
from backchat.ports.providers import Finish, UsageReport
from backchat.testing.plugin import Serve
from backchat.testing.provider import ScriptedProvider, Step
from backchat.testing.server import Box, parse_events

CALCULATOR = ToolCall("call_live", "calculator", '{"expression": "6*7"}')
TURNS: Sequence[Sequence[Step]] = (
    [
        StatusNote("loading"),
        ReasoningDelta("I must "),
        ReasoningDelta("count."),
        ReasoningSealed(Seal("x", "y")),
        "Let me see. ",
        CALCULATOR,
        UsageReport(Usage(10, 5)),
        Finish("tool_calls"),
    ],
    ["It is ", "42", ".", UsageReport(Usage(20, 3, 1, 1))],
    ["You are ", "welcome."],
    ["so ", "far", ProviderError("boom")],
)
# What differs from run to run, in this order in a frame: ids, times.
_OWN = re.compile(
    rb"[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}|\d{4}-\d\d-\d\dT[\d:.]+(?:Z|\+00:00)"
)


async def talk(box: Box) -> list[bytes]:
    """The streams of a conversation of three messages, without what differs from run to run."""
    ann = await box.key()
    conversation: str | None = None
    streams: list[bytes] = []
    for text in ("What is 6*7?", "Thanks", "And now?"):
        body: dict[str, Any] = {"text": text, "conversation_id": conversation}
        answer = await box.client.post("/api/chat/stream", json=body, headers=ann)
        assert answer.status == 200, await answer.text()
        stream = await answer.read()
        conversation = parse_events(stream)[0][2]["conversation_id"]
        streams.append(_OWN.sub(b"#", stream))
    return streams


def config(**provider: Any) -> dict[str, Any]:
    return {
        "providers": {"model": {**provider, "limits": {"retries": 0}}},
        "tools": [{"use": "calculator", "always": True}],
    }


@pytest.mark.any_storage
async def test_a_conversation_with_a_tool_and_thinking(serve: Serve, tmp_path: Path) -> None:
    path = str(tmp_path / "recordings")
    live = ScriptedProvider(*TURNS)
    recorded = await talk(await serve(config(use="record", path=path, provider={"use": "scripted"}), [live]))
    assert len(live.requests) == 4
    played = await talk(await serve(config(use="replay", path=path)))
    assert played == recorded
    names = [name for name, _, _ in parse_events(recorded[0])]
    assert {"reasoning", "status", "assistant", "done"} <= set(names), names
    assert b"42" in recorded[0]
    assert b"welcome" in recorded[1]
    assert b"boom" in recorded[2]


@pytest.mark.any_storage
async def test_a_conversation_that_takes_another_course(serve: Serve, tmp_path: Path) -> None:
    path = str(tmp_path / "recordings")
    box = await serve(config(use="record", path=path, provider={"use": "echo"}))
    assert (await box.client.post("/api/chat", json={"text": "one"}, headers=await box.key())).status == 200
    box = await serve(config(use="replay", path=path))
    ann = await box.key()
    answer = await box.client.post("/api/chat", json={"text": "two"}, headers=ann)
    assert answer.status == 502
    told = (await answer.json())["detail"]
    assert "never recorded" in str(told)
    assert "none of the 1 recordings is of it; the nearest one differs in messages[0] (user)" in str(told)
    assert (await box.client.post("/api/chat", json={"text": "one"}, headers=ann)).status == 200
