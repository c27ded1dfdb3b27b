"""The thinking that the Responses API encrypts: what is sealed of it, and how it comes back to who has sealed it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from backchat.domain.message import Reasoning, Seal, Text, ToolCall, ToolResult
from backchat.domain.run import ReasoningDelta, ReasoningSealed, TextDelta
from backchat.ports.providers import ModelRequest, PromptMessage
from backchat.testing.provider import ask, collect
from backchat.upstream.seals import signer
from backchat_openai.provider import open_openai
from openai_responses import Event, Response
from openai_trials import settings
from openai_upstream import Upstream, serve


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with serve() as upstream:
        yield upstream
        assert upstream.problems == []


async def answer(upstream: Upstream, request: ModelRequest, **section: Any) -> list[Any]:
    async with open_openai(settings(upstream, api="responses", **section)) as provider:
        return await collect(provider, request)


def kinds(items: list[Event]) -> list[str]:
    return [item.get("type") or item["role"] for item in items]


async def test_each_sealed_thought_comes_back_before_what_it_led_to(upstream: Upstream) -> None:
    """So that each reasoning item is followed by the item that it belongs to, as the service requires."""
    made = (
        Response()
        .thought(["first"], sealed="s1")
        .text("I look.")
        .thought(sealed="s2")
        .call("a", "f", "{}")
        .thought(sealed="s3")
        .call("b", "g", "{}")
        .thought(["in vain"], sealed="s4")
    )
    upstream.play(*made.end())
    events = await answer(upstream, ask("hi"), reasoning_summary="auto")
    assert [type(e) for e in events[:3]] == [ReasoningDelta, ReasoningSealed, TextDelta]
    sealed = events[1].seal
    assert sealed.maker == "openai"
    calls = [e for e in events if isinstance(e, ToolCall)]
    history = [
        *ask("hi").messages,
        PromptMessage("assistant", (Reasoning("first", sealed), Text("I look."), *calls)),
        *[PromptMessage("tool", (ToolResult(call.id, "done"),)) for call in calls],
    ]
    await answer(upstream, ModelRequest(messages=history))
    items = upstream.bodies[1]["input"]
    assert [item["encrypted_content"] for item in items if item.get("type") == "reasoning"] == ["s1", "s2", "s3"]
    assert items[1] == {
        "type": "reasoning",
        "id": "rs_0",
        "summary": [{"type": "summary_text", "text": "first"}],
        "encrypted_content": "s1",
    }
    order = "user reasoning assistant reasoning function_call reasoning function_call"
    assert kinds(items)[:7] == order.split()
    for item, after in pairwise(items):
        if item.get("type") == "reasoning":
            assert after.get("type") in ("function_call", None)
    # A call that is not shown any more takes its thought with it.
    history[1] = replace(history[1], parts=history[1].parts[:2])
    await answer(upstream, ModelRequest(messages=history[:2]))
    assert kinds(upstream.bodies[2]["input"]) == ["user", "reasoning", "assistant"]


async def test_a_seal_that_is_not_this_services_stays_out(upstream: Upstream) -> None:
    upstream.play(*Response().thought(["hm"]).text("a").end())
    seal = next(e.seal for e in await answer(upstream, ask("hi")) if isinstance(e, ReasoningSealed))
    # The same server under another name: another service, as far as can be told.
    other = upstream.base_url.replace("127.0.0.1", "localhost")
    for mine, url in ((seal, upstream.base_url), (seal, other), (Seal("anthropic", seal.data), upstream.base_url)):
        said = PromptMessage("assistant", (Reasoning("hm", mine), Text("a")))
        await answer(upstream, ModelRequest(messages=[said, *ask("hi").messages]), base_url=url)
    said = PromptMessage("assistant", (Reasoning("hm", seal), Text("a")))
    await answer(upstream, replace(ModelRequest(messages=[said, *ask("hi").messages]), model="another"))
    with_it, elsewhere, foreign, another = [kinds(body["input"]) for body in upstream.bodies[1:]]
    assert with_it == ["reasoning", "assistant", "user"]
    assert elsewhere == foreign == another == ["assistant", "user"]


@pytest.mark.parametrize("data", ["", "7", "[]", '{"signer": "HERE", "items": [7, {"type": "message"}]}'])
async def test_a_seal_that_is_none_stays_out(upstream: Upstream, data: str) -> None:
    data = data.replace("HERE", signer(upstream.base_url, "m-1"))
    said = PromptMessage("assistant", (Reasoning("hm", Seal("openai", data)), Text("a")))
    await answer(upstream, ModelRequest(messages=[said, *ask("hi").messages]))
    assert kinds(upstream.bodies[0]["input"]) == ["assistant", "user"]


async def test_what_is_not_encrypted_is_not_given_back(upstream: Upstream) -> None:
    """Nothing is stored at the service, so that it could not find it by its id."""
    upstream.play(*Response().thought(["hm"], sealed=None).text("a").end())
    assert not [e for e in await answer(upstream, ask("hi")) if isinstance(e, ReasoningSealed)]
