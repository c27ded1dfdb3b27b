"""What the ``anthropic`` provider asks: thinking, sampling, the cache."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from anthropic_events import done, redacted_block, start, thinking_block
from anthropic_trials import CALL, RESULT, asked, kinds, question, settings
from anthropic_upstream import Upstream, serve
from backchat.domain.message import Reasoning, Seal, Text
from backchat.domain.recipe import Effort
from backchat.domain.run import ReasoningDelta, ReasoningSealed
from backchat.domain.settings import Sampling
from backchat.errors import ProviderRejected
from backchat.ports.providers import Citation, ModelRequest, PromptMessage
from backchat.testing.provider import WEATHER, ask, collect
from backchat.upstream.seals import signer
from backchat_anthropic.body import BINDING
from backchat_anthropic.provider import open_anthropic


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with serve() as upstream:
        yield upstream
        assert upstream.problems == []


async def thinking_of(upstream: Upstream, model: str, **section: Any) -> list[Reasoning]:
    """Thinking as it is kept, with its seals."""
    upstream.play(start(), *thinking_block("hm", signature="sig"), *redacted_block("veil", index=1), *done("end_turn"))
    async with open_anthropic(settings(upstream, model=model, **section)) as provider:
        events = await collect(provider, ask("?"))
    thought = [e.text for e in events if isinstance(e, ReasoningDelta)]
    seals = [e.seal for e in events if isinstance(e, ReasoningSealed)]
    return [Reasoning("".join(thought), seals[0]), Reasoning("", seals[1])]


async def test_asks_for_a_stream(upstream: Upstream) -> None:
    sent = await asked(upstream, replace(ask("hi"), system="Be brief."), cache=False)
    assert sent == {
        "model": "claude-sonnet-4-5",
        "max_tokens": 32_000,
        "stream": True,
        "system": [{"type": "text", "text": "Be brief."}],
        "messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}],
    }
    assert upstream.paths == ["/v1/messages"]
    headers = {name.lower(): value for name, value in upstream.requests[0].items()}
    assert headers["anthropic-version"] == "2023-06-01"
    assert headers["x-api-key"].startswith("sk-ant-")
    assert "authorization" not in headers


async def test_other_servers_have_a_path_a_query_and_headers(upstream: Upstream) -> None:
    await asked(
        upstream,
        ask("hi"),
        base_url=f"{upstream.base_url}/proxy/?team=7",
        headers={"Anthropic-Version": "2099-01-01", "X-Title": "backchat"},
    )
    assert upstream.paths == ["/proxy/v1/messages?team=7"]
    sent = {name.lower(): value for name, value in upstream.requests[0].items()}
    assert (sent["anthropic-version"], sent["x-title"]) == ("2099-01-01", "backchat")


# ---- thinking


@pytest.mark.parametrize(
    ("model", "adaptive"),
    [
        ("claude-3-7-sonnet-latest", False),
        ("claude-sonnet-4-20250514", False),
        ("claude-4-opus", False),
        ("claude-opus-4-1@20250805", False),
        ("claude-haiku-4-5-20251001", False),
        ("anthropic/claude-sonnet-4.5", False),
        ("kimi-k3", False),
        ("claude-opus-4-6", True),
        ("us.anthropic.claude-opus-4-6-v1:0", True),
        ("claude-opus-5-20260901", True),
        ("claude-mythos-preview", True),
        ("claude-fable-5-2", True),
    ],
)
async def test_the_form_of_thinking_goes_by_the_model(upstream: Upstream, model: str, adaptive: bool) -> None:
    sent = await asked(upstream, replace(ask("hi"), reasoning="medium"), model=model)
    if adaptive:
        assert sent["thinking"] == {"type": "adaptive", "display": "summarized"}
        assert sent["output_config"] == {"effort": "medium"}
    else:
        assert sent["thinking"] == {"type": "enabled", "budget_tokens": 12_288}
        assert "output_config" not in sent


async def test_what_is_configured_holds_before_the_name(upstream: Upstream) -> None:
    request = replace(ask("hi"), reasoning="low", sampling=Sampling(parameters={"top_k": 3}))
    form = {"type": "json_schema", "schema": {"type": "object"}}
    sent = await asked(
        upstream, request, model="my-own", thinking="adaptive", extra_body={"output_config": {"format": form}}
    )
    assert sent["thinking"]["type"] == "adaptive"
    assert sent["output_config"] == {"format": form, "effort": "low"}
    sent = await asked(upstream, replace(request, reasoning=None), model="claude-opus-5", sampling="always")
    assert sent["top_k"] == 3
    sent = await asked(upstream, replace(request, reasoning=None), model="claude-3-7-sonnet", sampling="never")
    assert "top_k" not in sent


async def test_no_effort_leaves_thinking_to_the_model(upstream: Upstream) -> None:
    for model in ("claude-haiku-4-5", "claude-opus-5-5"):
        sent = await asked(upstream, ask("hi"), model=model)
        assert not {"thinking", "output_config"} & sent.keys()


@pytest.mark.parametrize(
    ("limit", "effort", "budget"),
    [
        (None, "low", 4_096),
        (None, "high", 16_000),
        (4_000, "low", 2_000),
        (1_500, "high", 1_024),
        (1_025, "low", 1_024),
    ],
)
async def test_the_budget_leaves_room(upstream: Upstream, limit: int | None, effort: Effort, budget: int) -> None:
    sent = await asked(upstream, replace(ask("hi"), reasoning=effort, sampling=Sampling(max_tokens=limit)))
    assert sent["thinking"]["budget_tokens"] == budget
    assert sent["max_tokens"] == (limit or 32_000)


async def test_thinking_without_room_is_refused(upstream: Upstream) -> None:
    request = replace(ask("hi"), reasoning="low", sampling=Sampling(max_tokens=1024))
    with pytest.raises(ProviderRejected, match="max_tokens"):
        await asked(upstream, request)
    assert upstream.bodies == []
    await asked(upstream, request, model="claude-opus-5")


@pytest.mark.parametrize("model", ["claude-haiku-4-5", "claude-fable-5-1"])
async def test_only_the_answer_that_goes_on_has_its_thinking(upstream: Upstream, model: str) -> None:
    thoughts = await thinking_of(upstream, model)
    before = [question(), PromptMessage("assistant", (*thoughts, CALL)), RESULT]
    on = await asked(upstream, ModelRequest(messages=before, tools=[WEATHER]), model=model)
    assert kinds(on)[1] == ["thinking", "redacted_thinking", "tool_use"]
    added = [*before, question(Text("and?"))]  # goes into the turn of the results
    on = await asked(upstream, ModelRequest(messages=added, tools=[WEATHER]), model=model)
    assert kinds(on)[1] == ["thinking", "redacted_thinking", "tool_use"]
    over = [*before, PromptMessage("assistant", (*thoughts, Text("Sunny."))), question()]
    sent = await asked(upstream, ModelRequest(messages=over, tools=[WEATHER]), model=model)
    assert kinds(sent) == [["text"], ["tool_use"], ["tool_result"], ["text"], ["text"]]


@pytest.mark.parametrize(
    "seal",
    [
        None,
        Seal("google", '{"signer": "HERE", "at": 0, "signature": "x"}'),
        Seal("anthropic", '{"signer": "PLACE claude-opus-4-1", "at": 0, "signature": "x"}'),
        Seal("anthropic", '{"signer": "elsewhere.test claude-sonnet-4-5", "at": 0, "signature": "x"}'),
        Seal("anthropic", '{"signer": "HERE", "at": 0}'),
        Seal("anthropic", '{"signer": "HERE", "signature": "x"}'),
        Seal("anthropic", "[]"),
        Seal("anthropic", "nonsense"),
    ],
)
async def test_what_others_thought_is_left_out(upstream: Upstream, seal: Seal | None) -> None:
    if seal is not None:
        here = signer(upstream.base_url, "claude-sonnet-4-5")
        seal = replace(seal, data=seal.data.replace("HERE", here).replace("PLACE", here.partition(" ")[0]))
    messages = [question(), PromptMessage("assistant", (Reasoning("hm", seal), CALL)), RESULT]
    request = ModelRequest(messages=messages, tools=[WEATHER], reasoning="low")
    sent = await asked(upstream, request)
    assert kinds(sent)[1] == ["tool_use"]
    assert "thinking" not in sent  # refused where the answer that goes on did not begin with it
    assert (await asked(upstream, request, model="claude-opus-5"))["thinking"]["type"] == "adaptive"


async def test_thinking_that_is_bound_is_passed_over_rather_than_refused(upstream: Upstream) -> None:
    section: dict[str, Any] = {"headers": {"Anthropic-Beta": "a,b"}}
    thoughts = await thinking_of(upstream, "claude-opus-5-5", **section)
    messages = [question(), PromptMessage("assistant", (*thoughts, CALL)), RESULT]
    request = ModelRequest(messages=messages, tools=[WEATHER])
    sent = await asked(upstream, request, model="claude-opus-5-5", **section)
    assert sent["thinking"] == {"type": "adaptive", "block_binding": {"prefix_mismatch_behavior": "drop_block"}}
    await asked(upstream, request, model="claude-opus-5", **section)
    assert "thinking" not in upstream.bodies[-1]
    betas = [{k.lower(): v for k, v in r.items()}["anthropic-beta"] for r in upstream.requests]
    assert betas == ["a,b", f"a,b,{BINDING}", "a,b"]


# ---- sampling


@pytest.mark.parametrize(
    ("model", "effort", "sampling", "expected"),
    [
        ("claude-haiku-4-5", None, Sampling(temperature=0.0, top_p=0.5), {"temperature": 0.0}),
        ("claude-haiku-4-5", None, Sampling(temperature=1.7), {"temperature": 1.0}),
        ("claude-haiku-4-5", None, Sampling(top_p=0.0), {"top_p": 0.0}),
        ("claude-opus-4-6", "low", Sampling(temperature=0.2, top_p=0.5, parameters={"top_k": 3}), {}),
        ("claude-opus-4-6", "low", Sampling(temperature=0.2, top_p=0.97), {"top_p": 0.97}),
        ("claude-opus-4-7", None, Sampling(temperature=0.2, top_p=0.97, parameters={"top_k": 3}), {}),
        ("claude-opus-4-7", None, Sampling(parameters={"stop_sequences": ["x"]}), {"stop_sequences": ["x"]}),
        ("kimi-k3", None, Sampling(temperature=0.2, top_p=0.5), {"temperature": 0.2, "top_p": 0.5}),
        ("claude-haiku-4-5", None, Sampling(frequency_penalty=1.0, presence_penalty=1.0), {}),
    ],
)
async def test_sends_of_the_sampling_what_the_model_takes(
    upstream: Upstream, model: str, effort: Effort | None, sampling: Sampling, expected: dict[str, Any]
) -> None:
    sent = await asked(upstream, replace(ask("hi"), reasoning=effort, sampling=sampling), model=model, cache=False)
    own = {"model", "max_tokens", "stream", "messages", "thinking", "output_config"}
    assert {name: value for name, value in sent.items() if name not in own} == expected


async def test_no_parameter_changes_what_the_server_relies_on(upstream: Upstream) -> None:
    taken: dict[str, Any] = {
        "model": "expensive-1",
        "messages": [],
        "stream": False,
        "system": "x",
        "tools": [],
        "tool_choice": {"type": "any"},
        "thinking": {"type": "disabled"},
        "max_tokens": 1,
        "temperature": 9,
        "service_tier": "auto",
        "container": "c",
        "mcp_servers": [],
    }
    await asked(upstream, ask("hi"))
    await asked(upstream, replace(ask("hi"), sampling=Sampling(parameters=taken)))
    assert upstream.bodies[1] == upstream.bodies[0]


async def test_what_the_configuration_fixes_holds(upstream: Upstream) -> None:
    sampling = Sampling(temperature=0.5, max_tokens=7, parameters={"top_k": 1})
    sent = await asked(
        upstream,
        replace(ask("hi"), model="claude-sonnet-4", sampling=sampling),
        extra_body={"temperature": 1, "service_tier": "standard_only"},
        max_tokens=9,
    )
    wanted = {
        "model": "claude-sonnet-4",
        "temperature": 1,
        "top_k": 1,
        "max_tokens": 7,
        "service_tier": "standard_only",
    }
    assert {name: sent[name] for name in wanted} == wanted


# ---- the cache


def marks(sent: dict[str, Any]) -> list[Any]:
    """Where marks are, in the order in which the service reads: a tool's name, a text or a type."""
    blocks = [*sent.get("tools", []), *sent.get("system", []), *[b for t in sent["messages"] for b in t["content"]]]
    return [b.get("name") or b.get("text") or b["type"] for b in blocks if "cache_control" in b]


async def test_what_turns_have_in_common_and_their_end_are_marked(upstream: Upstream) -> None:
    request = replace(ask("hi", WEATHER, replace(WEATHER, name="last")), system="Be brief.", summary="We met.")
    assert marks(await asked(upstream, request)) == ["Be brief.", "hi"]
    assert marks(await asked(upstream, replace(request, system=""))) == ["last", "hi"]
    assert marks(await asked(upstream, replace(request, system="", tools=()))) == ["hi"]
    results = [question(), PromptMessage("assistant", (CALL,)), RESULT]
    assert marks(await asked(upstream, ModelRequest(messages=results, tools=[WEATHER]))) == [
        "get_weather",
        "tool_result",
    ]
    assert marks(await asked(upstream, request, cache=False)) == []


async def test_how_long_it_is_kept(upstream: Upstream) -> None:
    ends = [(await asked(upstream, ask("hi"), cache_ttl=ttl))["messages"][0]["content"][0] for ttl in ("5m", "1h")]
    assert [end["cache_control"] for end in ends] == [{"type": "ephemeral"}, {"type": "ephemeral", "ttl": "1h"}]


async def test_what_changes_from_turn_to_turn_comes_after_the_mark(upstream: Upstream) -> None:
    request = replace(ask("hi"), system="Be brief.", citations=[Citation("notes", "tea")], summary="We met.")
    first, second = (await asked(upstream, request))["system"]
    assert first["text"] == "Be brief."
    assert "We met." in second["text"]
    assert "[1] (notes) tea" in second["text"]
