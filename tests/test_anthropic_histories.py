"""Histories of any origin as the ``anthropic`` provider sends them, and what it refuses."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from anthropic_events import call_block, done, start
from anthropic_trials import CALL, RESULT, asked, kinds, question, settings
from anthropic_upstream import Upstream, serve
from backchat.domain.message import Text, ToolCall, ToolResult
from backchat.errors import ProviderRejected
from backchat.ports.providers import FileData, ImageData, ModelRequest, PromptMessage
from backchat.testing.provider import WEATHER, ask, collect
from backchat_anthropic.provider import open_anthropic


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with serve() as upstream:
        yield upstream
        assert upstream.problems == []


async def test_ids_of_calls_are_made_to_fit_and_results_find_theirs(upstream: Upstream) -> None:
    def call(id: str, *more: str) -> list[PromptMessage]:
        calls = tuple([ToolCall(i, "f", "{}") for i in (id, *more)])
        return [PromptMessage("assistant", calls), *[PromptMessage("tool", (ToolResult(c.id, c.id),)) for c in calls]]

    messages = [question(), *call("a", "a:b"), *call("a_b", "a|b"), *call("a"), question()]
    sent = await asked(upstream, ModelRequest(messages=messages))
    asked_ids = [b["id"] for t in sent["messages"] for b in t["content"] if b["type"] == "tool_use"]
    results = [(b["tool_use_id"], b["content"]) for t in sent["messages"] for b in t["content"] if "content" in b]
    assert asked_ids == ["a", "a_b", "a_b_2", "a_b_3", "a_2"]
    assert results == list(zip(asked_ids, ["a", "a:b", "a_b", "a|b", "a"], strict=True))


async def test_tools_of_before_are_declared_and_not_offered(upstream: Upstream) -> None:
    sent = await asked(upstream, ModelRequest(messages=[question(), PromptMessage("assistant", (CALL,)), RESULT]))
    assert [tool["name"] for tool in sent["tools"]] == ["get_weather"]
    assert sent["tool_choice"] == {"type": "none"}


@pytest.mark.parametrize(
    ("arguments", "given"),
    [('{"a": [1]}', {"a": [1]}), ("[1]", {"arguments": [1]}), ('{"a', {"arguments": '{"a'}), ("", {})],
)
async def test_arguments_are_an_object(upstream: Upstream, arguments: str, given: dict[str, Any]) -> None:
    call = PromptMessage("assistant", (ToolCall("toolu_1", "f", arguments),))
    sent = await asked(upstream, ModelRequest(messages=[question(), call, RESULT]))
    assert sent["messages"][1]["content"][0]["input"] == given


async def test_roles_alternate_and_orders_are_in_the_system_text(upstream: Upstream) -> None:
    messages = [
        PromptMessage("system", (Text("Be kind."),)),
        PromptMessage("assistant", (Text("Hello."), ImageData("image/png", b"1"))),
        PromptMessage("assistant", (Text("Well?"),)),
        question(Text("a")),
        PromptMessage("system", (Text("Be brief."),)),
        question(Text("b")),
    ]
    sent = await asked(upstream, ModelRequest(messages=messages, system="Be true."), cache=False)
    assert [block["text"] for block in sent["system"]] == ["Be true.", "Be kind.\n\nBe brief."]
    assert [turn["role"] for turn in sent["messages"]] == ["user", "assistant", "user"]
    assert kinds(sent)[1:] == [["text", "text"], ["image", "text", "text"]]


async def test_images_of_an_answer_that_goes_on_come_after_the_results(upstream: Upstream) -> None:
    shown = PromptMessage("assistant", (ImageData("image/png", b"1"), CALL))
    empty = PromptMessage("tool", (ToolResult(CALL.id, ""),))
    sent = await asked(upstream, ModelRequest(messages=[question(), shown, empty]), cache=False)
    assert kinds(sent) == [["text"], ["tool_use"], ["tool_result", "image"]]
    assert sent["messages"][2]["content"][0] == {"type": "tool_result", "tool_use_id": CALL.id}


async def test_images_and_documents_are_bytes(upstream: Upstream) -> None:
    parts = (ImageData("image/png", b"\x89PNG"), FileData("a.pdf", "application/pdf", b"%PDF"), Text("look"))
    image, document, _ = (await asked(upstream, ModelRequest(messages=[question(*parts)])))["messages"][0]["content"]
    assert image["source"] == {"type": "base64", "media_type": "image/png", "data": "iVBORw=="}
    assert document["source"] == {"type": "base64", "media_type": "application/pdf", "data": "JVBERg=="}
    assert document["title"] == "a.pdf"


async def test_names_of_tools_are_made_to_fit_and_found_again(upstream: Upstream) -> None:
    dotted = replace(WEATHER, name="fs.read:x")
    upstream.play(start(), *call_block("toolu_1", "fs_read_x", "{}"), *done("tool_use"))
    async with open_anthropic(settings(upstream)) as provider:
        told = await collect(provider, ask("hi", dotted))
    (call,) = [event for event in told if isinstance(event, ToolCall)]
    assert call.name == "fs.read:x"
    sent = await asked(upstream, ModelRequest(messages=[question(), PromptMessage("assistant", (call,)), RESULT]))
    assert upstream.bodies[0]["tools"][0]["name"] == "fs_read_x"
    assert sent["messages"][1]["content"][0]["name"] == "fs_read_x"


# ---- refusals


PDF = FileData("a.pdf", "application/pdf", b"%PDF")


@pytest.mark.parametrize(
    ("request_", "section", "reason"),
    [
        (ModelRequest(messages=[question(ImageData("image/png", b"1"))]), {"vision": False}, "sees no images"),
        (ModelRequest(messages=[question(PDF)]), {"files": False}, "reads no documents"),
        (ask("hi", WEATHER), {"tools": False}, "calls no tools"),
        (replace(ask("hi"), reasoning="low"), {"reasoning": False}, "think"),
        (replace(ask("hi"), json_output=True), {"json_output": False}, "JSON"),
        (ModelRequest(messages=[question(ImageData("image/tiff", b"1"))]), {}, "image/tiff"),
        (ModelRequest(messages=[question(FileData("a", "text/csv", b"1"))]), {}, "documents of this type"),
        (ask("hi", replace(WEATHER, name="get.it"), replace(WEATHER, name="get:it")), {}, "names"),
        (ask("half a character: \ud83d"), {}, "half a character"),
        (ask(" "), {}, "says nothing"),
        (
            ModelRequest(messages=[question(), PromptMessage("assistant", (Text("a"),)), question(Text(" "))]),
            {},
            "ends",
        ),
    ],
)
async def test_refuses_what_cannot_be_done(
    upstream: Upstream, request_: ModelRequest, section: dict[str, Any], reason: str
) -> None:
    with pytest.raises(ProviderRejected, match=reason) as caught:
        await asked(upstream, request_, **section)
    assert not caught.value.at_work
    assert upstream.bodies == []
