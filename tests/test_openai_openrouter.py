"""What OpenRouter has beyond OpenAI's protocol."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from typing import Any

import orjson
import pytest
from marshmallow import ValidationError

from backchat.domain.message import Reasoning, Text, ToolCall, ToolResult
from backchat.domain.run import ReasoningDelta, ReasoningSealed, TextDelta
from backchat.domain.settings import Sampling
from backchat.errors import ProviderError, ProviderRejected
from backchat.ports.providers import Finish, ModelRequest, PromptMessage
from backchat.testing.provider import ask, collect
from backchat.upstream import pieces
from backchat.upstream.failures import Failures
from backchat.upstream.seals import signer
from backchat_openai.chunks import Answer
from backchat_openai.groq import GroqSchema
from backchat_openai.openrouter import OpenRouterSchema
from backchat_openai.provider import open_openai
from backchat_openai.seals import sealed_details
from backchat_openai.settings import OPENAI, SettingsSchema
from openai_upstream import Step, Upstream, chunk, serve


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with serve() as upstream:
        upstream.service = "openrouter"
        yield upstream
        assert upstream.problems == []


async def answer(upstream: Upstream, request: ModelRequest, **section: Any) -> list[Any]:
    settings = OpenRouterSchema().load({"model": "m-1", "base_url": upstream.base_url, **section})
    async with open_openai(settings) as provider:
        return await collect(provider, request)


def wishing(wishes: object, model: str | None = None) -> ModelRequest:
    return replace(ask("hi"), model=model, sampling=Sampling(parameters={"openrouter": wishes}))


async def sent(upstream: Upstream, request: ModelRequest, **section: Any) -> dict[str, Any]:
    """What OpenRouter is told about routing."""
    await answer(upstream, request, **section)
    return {
        name: upstream.bodies[-1][name] for name in ("provider", "models", "plugins") if name in upstream.bodies[-1]
    }


# ---- routing


async def test_says_nothing_unless_asked(upstream: Upstream) -> None:
    assert await sent(upstream, ask("hi")) == {}
    assert await sent(upstream, wishing({})) == {}
    assert await sent(upstream, wishing(None)) == {}
    assert await sent(upstream, wishing({"sort": None})) == {}


async def test_the_wishes_of_a_message_are_told_in_openrouters_words(upstream: Upstream) -> None:
    wishes = {
        "providers": ["anthropic", "together"],
        "allow_fallbacks": False,
        "sort": "latency",
        "ignore": ["azure"],
        "max_price": {"prompt": 1, "completion": 2.5},
    }
    told = {name: value for name, value in wishes.items() if name != "providers"}
    assert await sent(upstream, wishing(wishes)) == {"provider": {"order": ["anthropic", "together"], **told}}


async def test_the_auto_router_is_told_which_models(upstream: Upstream) -> None:
    wishes = {"allowed_models": ["anthropic/*"], "excluded_models": ["openai/gpt-4o"], "cost_tier": "low"}
    assert await sent(upstream, wishing(wishes, "openrouter/auto")) == {"plugins": [{"id": "auto-router", **wishes}]}
    fixed = [{"id": "context-compression"}, {"id": "auto-router", "cost_tier": "high"}]
    assert await sent(upstream, wishing(wishes), model="openrouter/auto", plugins=fixed) == {
        "plugins": [{"id": "context-compression"}, {"id": "auto-router", **wishes, "cost_tier": "high"}]
    }
    assert await sent(upstream, wishing({}), plugins=fixed) == {"plugins": fixed}


async def test_the_wishes_of_one_message_are_not_those_of_the_next(upstream: Upstream) -> None:
    fixed = {"routing": {"zdr": True}, "plugins": [{"id": "auto-router", "enabled": True}]}
    settings = OpenRouterSchema().load({"model": "openrouter/auto", "base_url": upstream.base_url, **fixed})
    async with open_openai(settings) as provider:
        await collect(provider, wishing({"allowed_models": ["a/*"], "ignore": ["azure"]}))
        await collect(provider, ask("hi"))
    assert upstream.bodies[0]["plugins"] == [{"id": "auto-router", "enabled": True, "allowed_models": ["a/*"]}]
    assert upstream.bodies[1]["plugins"] == fixed["plugins"]
    assert upstream.bodies[1]["provider"] == fixed["routing"]


async def test_what_is_configured_comes_over_what_a_message_wishes(upstream: Upstream) -> None:
    fixed = {"sort": "price", "order": ["groq"], "data_collection": "deny", "only": ["groq"], "zdr": True}
    wishes = {"sort": "latency", "providers": ["azure"], "ignore": ["x"]}
    assert await sent(upstream, wishing(wishes), routing=fixed) == {"provider": {**fixed, "ignore": ["x"]}}
    assert await sent(upstream, ask("hi"), routing=fixed) == {"provider": fixed}


async def test_the_fallbacks_are_those_of_the_configured_model(upstream: Upstream) -> None:
    assert await sent(upstream, ask("hi"), models=["m-2", "m-3"]) == {"models": ["m-2", "m-3"]}
    assert await sent(upstream, wishing({}, "m-9"), models=["m-2", "m-3"]) == {}


@pytest.mark.parametrize(
    ("wishes", "field"),
    [
        (["x"], "openrouter"),
        ("price", "openrouter"),
        ({"model": "secret"}, "openrouter"),
        ({"provider": {"only": ["secret"]}}, "openrouter"),
        ({"providers": "secret"}, "openrouter.providers"),
        ({"providers": []}, "openrouter.providers"),
        ({"providers": [7]}, "openrouter.providers"),
        ({"providers": [""]}, "openrouter.providers"),
        ({"ignore": ["x" * 201]}, "openrouter.ignore"),
        ({"allow_fallbacks": "yes"}, "openrouter.allow_fallbacks"),
        ({"sort": "secret"}, "openrouter.sort"),
        ({"max_price": 7}, "openrouter.max_price"),
        ({"max_price": {"secret": 7}}, "openrouter.max_price"),
        ({"max_price": {"prompt": -1}}, "openrouter.max_price"),
        ({"max_price": {"prompt": float("nan")}}, "openrouter.max_price"),
        ({"cost_tier": "SECRET tier"}, "openrouter.cost_tier"),
        ({"cost_tier": "low"}, "openrouter.cost_tier"),  # of a model that is not openrouter/auto
        ({"allowed_models": ["secret"]}, "openrouter.allowed_models"),
    ],
)
async def test_wishes_that_are_none_are_refused(upstream: Upstream, wishes: object, field: str) -> None:
    with pytest.raises(ProviderRejected) as caught:
        await answer(upstream, wishing(wishes))
    assert caught.value.field == field
    assert field in str(caught.value)
    assert "secret" not in str(caught.value).lower()
    assert upstream.bodies == []


async def test_other_services_do_not_hear_of_them(upstream: Upstream) -> None:
    upstream.service = "openai"
    for schema in (SettingsSchema(OPENAI), GroqSchema()):
        settings = schema.load({"model": "m-1", "base_url": upstream.base_url})
        async with open_openai(settings) as provider:
            await collect(provider, ask("hi"))
            await collect(provider, wishing({"sort": "price", "nonsense": 7}))
    assert upstream.bodies[0] == upstream.bodies[1]
    assert upstream.bodies[2] == upstream.bodies[3]


@pytest.mark.parametrize(
    "section",
    [
        {"routing": {"order": []}},
        {"routing": {"sort": "secret"}},
        {"routing": {"provider": ["secret"]}},
        {"routing": {"max_price": {"tokens": 1}}},
        {"routing": {"data_collection": "secret"}},
        {"models": [""]},
        {"plugins": [{"enabled": "secret"}]},
        {"extra_body": {"provider": {"sort": "secret"}}},
        {"reasoning_format": "secret"},
    ],
)
def test_refuses_bad_settings_without_repeating_them(section: Mapping[str, Any]) -> None:
    with pytest.raises(ValidationError) as caught:
        OpenRouterSchema().load({"model": "m", **section})
    assert "secret" not in str(caught.value.messages)


# ---- reasoning details


def details(*found: Mapping[str, Any], **delta: Any) -> Step:
    return chunk(reasoning_details=list(found), **delta)


TEXT = {"type": "reasoning.text", "index": 0, "format": "anthropic-claude-v1"}


async def test_the_details_of_the_thinking_are_sealed_and_come_back(upstream: Upstream) -> None:
    upstream.play(
        details(TEXT | {"text": "I "}, reasoning="I ", role="assistant", content=""),
        details(TEXT | {"text": "think."}, reasoning="think."),
        details(TEXT | {"signature": "sig", "text": None}),
        chunk(content="So ", role="assistant"),
        chunk(content="be it.", role="assistant"),
        details(
            {"type": "reasoning.encrypted", "index": 1, "id": "c1", "data": "xyz"},
            tool_calls=[{"index": 0, "id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
        ),
        chunk("tool_calls"),
        "[DONE]",
    )
    events = await answer(upstream, ask("hi"))
    thinking = [e for e in events if isinstance(e, ReasoningDelta)]
    assert "".join(e.text for e in thinking) == "I think."
    seals = [e.seal for e in events if isinstance(e, ReasoningSealed)]
    assert [seal.maker for seal in seals] == ["openrouter", "openrouter"]
    order = [type(e) for e in events]
    assert order.index(ReasoningSealed) > order.index(ReasoningDelta)
    assert order.index(ReasoningSealed) < order.index(TextDelta)
    assert order[-3:] == [ReasoningSealed, ToolCall, Finish]
    parts = (Reasoning("I think.", seals[0]), Reasoning("", seals[1]), Text("So be it."), ToolCall("c1", "f", "{}"))
    history = [PromptMessage("assistant", parts), PromptMessage("tool", (ToolResult("c1", "done"),))]
    await answer(upstream, ModelRequest(messages=history))
    assert upstream.bodies[1]["messages"][0]["reasoning_details"] == [
        TEXT | {"text": "I think.", "signature": "sig"},
        {"type": "reasoning.encrypted", "index": 1, "id": "c1", "data": "xyz"},
    ]


def test_the_seal_comes_before_the_text_whatever_came_in_one_read() -> None:
    made: list[Step] = [
        details(TEXT | {"text": "hm"}, reasoning="hm"),
        chunk(content="a"),
        details({"type": "reasoning.encrypted", "data": "x"}),
        chunk(content="b"),
    ]
    kinds = [ReasoningDelta, ReasoningSealed, TextDelta, ReasoningSealed, TextDelta]
    frames = [orjson.dumps(step) for step in made]
    together, apart = Answer(Failures(()), "openrouter"), Answer(Failures(()), "openrouter")
    assert [type(event) for event in together.read(frames)] == kinds
    assert [type(event) for frame in frames for event in apart.read([frame])] == kinds


async def test_thinking_that_is_only_in_the_details_is_shown(upstream: Upstream) -> None:
    summary = {"type": "reasoning.summary", "index": 0}
    upstream.play(
        details(summary | {"summary": "In "}),
        details(summary | {"summary": "short"}, summary | {"index": 1, "summary": "."}),
        chunk("stop", content="a"),
    )
    events = await answer(upstream, ask("hi"))
    assert "".join(e.text for e in events if isinstance(e, ReasoningDelta)) == "In short."
    (seal,) = [e.seal for e in events if isinstance(e, ReasoningSealed)]
    assert orjson.loads(seal.data)["items"] == [
        summary | {"summary": "In short"},
        summary | {"index": 1, "summary": "."},
    ]


async def test_details_of_others_and_for_others_stay_out(upstream: Upstream) -> None:
    mine = sealed_details([{"type": "reasoning.text", "text": "hm"}], "openrouter", signer(upstream.base_url, "m-1"))
    for seal in (replace(mine, maker="openai"), replace(mine, data="nonsense"), replace(mine, data="[]")):
        said = PromptMessage("assistant", (Reasoning("hm", seal), Text("a")))
        await answer(upstream, ModelRequest(messages=[said, *ask("hi").messages]))
    said = PromptMessage("assistant", (Reasoning("hm", mine), Text("a")))
    await answer(upstream, replace(ModelRequest(messages=[said, *ask("hi").messages]), model="m-2"))
    upstream.service = "openai"
    async with open_openai(SettingsSchema(OPENAI).load({"model": "m", "base_url": upstream.base_url})) as provider:
        said = PromptMessage("assistant", (Reasoning("hm", mine), Text("a")))
        await collect(provider, ModelRequest(messages=[said, *ask("hi").messages]))
    assert [body["messages"][0] for body in upstream.bodies] == [{"role": "assistant", "content": "a"}] * 5
    upstream.service = "openrouter"
    await answer(upstream, ModelRequest(messages=[said, *ask("hi").messages]))
    assert upstream.bodies[-1]["messages"][0]["reasoning_details"] == [{"type": "reasoning.text", "text": "hm"}]


@pytest.mark.parametrize("found", [7, [7], [{}], [{"type": ["reasoning.text"]}], [TEXT | {"text": 7}]])
async def test_garbage_in_the_details(upstream: Upstream, found: Any) -> None:
    upstream.play(chunk(reasoning_details=found), chunk("stop"))
    with pytest.raises(ProviderError):
        await answer(upstream, ask("hi"))


async def test_details_without_end(upstream: Upstream, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "LIMIT", 5000)
    for found in (TEXT | {"text": "x" * 900}, {"type": "reasoning.encrypted", "data": "x" * 900}):
        upstream.play(*[details(found)] * 6, chunk("stop"))
        with pytest.raises(ProviderError, match="too long"):
            await answer(upstream, ask("hi"))
