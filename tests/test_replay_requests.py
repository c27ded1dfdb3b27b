"""What a request is recognised by, and what is told of one that was never recorded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from backchat.domain.message import Reasoning, Seal, Text, ToolCall, ToolResult
from backchat.domain.settings import Sampling
from backchat.errors import (
    ProviderRejected,
)
from backchat.ports.providers import (
    Citation,
    FileData,
    ImageData,
    ModelRequest,
    PromptMessage,
)
from backchat.testing.provider import WEATHER, ask, said
from replay_desk import record, replay

# ---- what is recognised


PNG = b"\x89PNG"
CALL = ToolCall("c1", "f", '{"a": 1, "b": 2}')
REQUEST = ModelRequest(
    messages=[
        PromptMessage("user", (Text("look"), ImageData("image/png", PNG), FileData("a.pdf", "application/pdf", b"%"))),
        PromptMessage("assistant", (Reasoning("hm", Seal("x", "y")), Text("I look."), CALL)),
        PromptMessage("tool", (ToolResult("c1", "sunny"),)),
        PromptMessage("assistant", (ToolCall("c2", "f", "{}"), ToolCall("c3", "f", "{}"))),
        PromptMessage("tool", (ToolResult("c3", "three"),)),
        PromptMessage("tool", (ToolResult("c2", "two"),)),
    ],
    system="Be brief.",
    summary="They met.",
    citations=[Citation("notes", "tea")],
    tools=[WEATHER],
    sampling=Sampling(temperature=0.5, parameters={"seed": 1}),
)
PDF = {"files": ["application/pdf"]}


def _with(n: int, *parts: Any) -> ModelRequest:
    """REQUEST with other parts in message ``n``."""
    messages = list(REQUEST.messages)
    messages[n] = replace(messages[n], parts=parts)
    return replace(REQUEST, messages=messages)


def _ids(one: str, two: str, three: str) -> ModelRequest:
    names = {"c1": one, "c2": two, "c3": three}

    def part(p: Any) -> Any:
        if isinstance(p, ToolCall):
            return replace(p, id=names[p.id])
        return ToolResult(names[p.call], p.content) if isinstance(p, ToolResult) else p

    return replace(REQUEST, messages=[replace(m, parts=tuple(map(part, m.parts))) for m in REQUEST.messages])


@pytest.mark.parametrize(
    "same",
    [
        pytest.param(_ids("x", "y", "z"), id="other ids of calls"),
        pytest.param(_ids("c3", "c1", "c2"), id="the same ids for others"),
        pytest.param(replace(REQUEST, model="scripted-1"), id="the own model by name"),
        pytest.param(replace(REQUEST, caller="bob"), id="another caller"),
        pytest.param(
            _with(1, *REQUEST.messages[1].parts[:2], ToolCall("c1", "f", '{"b":2,"a":1}')), id="another spelling"
        ),
    ],
)
async def test_what_does_not_matter(tmp_path: Path, same: ModelRequest) -> None:
    await record(tmp_path, REQUEST, ["yes"])
    assert said(await replay(tmp_path, same, **PDF)) == "yes"


IMAGE, FILE = REQUEST.messages[0].parts[1:]


@pytest.mark.parametrize(
    ("other", "differs"),
    [
        (replace(REQUEST, model="other"), "model"),
        (replace(REQUEST, system="Be long."), "system"),
        (replace(REQUEST, summary="They parted."), "summary"),
        (replace(REQUEST, citations=[Citation("notes", "coffee")]), "citations"),
        (replace(REQUEST, tools=[]), "tools"),
        (replace(REQUEST, tools=[replace(WEATHER, description="?")]), "tools"),
        (replace(REQUEST, reasoning="low"), "reasoning"),
        (replace(REQUEST, json_output=True), "json_output"),
        (replace(REQUEST, sampling=Sampling(temperature=0.5, parameters={"seed": 2})), "sampling"),
        (replace(REQUEST, sampling=Sampling(parameters={"seed": 1})), "sampling"),
        (_with(0, Text("peek"), IMAGE, FILE), "messages[0] (user)"),
        (_with(0, Text("look"), ImageData("image/png", b"\x89PNX"), FILE), "messages[0] (user)"),
        (_with(0, Text("look"), IMAGE, FileData("a.pdf", "application/pdf", b"!")), "messages[0] (user)"),
        (_with(0, Text("look"), IMAGE, FileData("b.pdf", "application/pdf", b"%")), "messages[0] (user)"),
        (_with(1, Reasoning("hm", Seal("x", "z")), *REQUEST.messages[1].parts[1:]), "messages[1] (assistant)"),
        (_with(1, *REQUEST.messages[1].parts[:2], ToolCall("c1", "g", '{"a": 1, "b": 2}')), "messages[1] (assistant)"),
        (_with(1, *REQUEST.messages[1].parts[:2], ToolCall("c1", "f", '{"a": 1, "b": 3}')), "messages[1] (assistant)"),
        (_with(4, ToolResult("c2", "three")), "messages[4] (tool)"),
        (_with(5, ToolResult("c2", "deux")), "messages[5] (tool)"),
        (replace(REQUEST, messages=REQUEST.messages[:5]), "messages (5, not 6)"),
        (replace(REQUEST, system="", messages=REQUEST.messages[:5]), "system, messages (5, not 6)"),
    ],
)
async def test_what_was_never_asked_is_refused_with_the_difference(
    tmp_path: Path, other: ModelRequest, differs: str
) -> None:
    await record(tmp_path, ask("something else altogether"), ["no"])
    await record(tmp_path, REQUEST, ["yes"])
    with capture_logs() as logs, pytest.raises(ProviderRejected) as caught:
        await replay(tmp_path, other, **PDF)
    assert str(caught.value) == (
        f"this request was never recorded: none of the 2 recordings is of it; the nearest one differs in {differs}"
    )
    assert [(e["event"], e["log_level"], e["recordings"]) for e in logs] == [("replay.unknown", "warning", 2)]
    assert ", ".join(logs[0]["differs"]) == differs


@pytest.mark.parametrize(
    ("recorded", "differs"),
    [
        pytest.param(
            [replace(REQUEST, messages=REQUEST.messages[:4]), replace(REQUEST, messages=REQUEST.messages[:1])],
            "messages (5, not 4)",
            id="the one that shares most messages",
        ),
        pytest.param(
            [replace(REQUEST, messages=REQUEST.messages[:4]), replace(REQUEST, messages=REQUEST.messages[3:])],
            "messages (5, not 4)",
            id="the one that begins the same",
        ),
        pytest.param(
            [
                replace(REQUEST, messages=REQUEST.messages[:5], system="?"),
                replace(REQUEST, messages=REQUEST.messages[:5], summary="?"),
            ],
            "summary",
            id="the newest of several",
        ),
    ],
)
async def test_which_one_is_nearest(tmp_path: Path, recorded: Sequence[ModelRequest], differs: str) -> None:
    for request in recorded:
        await record(tmp_path, request, ["no"])
    with pytest.raises(ProviderRejected) as caught:
        await replay(tmp_path, replace(REQUEST, messages=REQUEST.messages[:5]), **PDF)
    assert str(caught.value).endswith(f"; the nearest one differs in {differs}")


async def test_a_text_in_another_part_is_another_request(tmp_path: Path) -> None:
    await record(tmp_path, ModelRequest(messages=[PromptMessage("user", (Text("a"), Text("b")))]), ["yes"])
    for parts in ((Text("ab"),), (Text("b"), Text("a")), (Text("a"), Reasoning("b"))):
        with pytest.raises(ProviderRejected):
            await replay(tmp_path, ModelRequest(messages=[PromptMessage("user", parts)]))


async def test_a_conversation_with_calls_is_found_whatever_their_ids_are_now(tmp_path: Path) -> None:
    def goes_on(id: str) -> ModelRequest:
        call = ToolCall(id, WEATHER.name, '{"city": "Paris"}')
        result = ToolResult(id, "18")
        follows = [PromptMessage("assistant", (call,)), PromptMessage("tool", (result,))]
        return ModelRequest(messages=[*ask("weather?").messages, *follows], tools=[WEATHER])

    await record(tmp_path, goes_on("call_live"), ["18 it is"])
    assert said(await replay(tmp_path, goes_on("call_replayed"))) == "18 it is"
