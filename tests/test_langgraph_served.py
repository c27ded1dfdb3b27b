"""A reply of two tools, made by a real graph in a whole server, in front of a model service; then others go on."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest
from langgraph.graph.state import CompiledStateGraph

from backchat.domain.message import Usage
from backchat.errors import Cancelled
from backchat.testing.conformance.drivers import DRIVERS
from backchat.testing.plugin import Serve
from backchat.testing.server import Box, events
from openai_upstream import Hang, Step, Upstream, chunk, text
from openai_upstream import serve as upstream_server
from workspaces_box import FREE, Person, person

TOOLS = [{"use": "clock", "zone": "UTC"}, {"use": "calculator"}]
QUESTION = "How many seconds are 1234.5 weeks, and what day is it?"
WEEKS = {"expression": "1234.5 * 7 * 24 * 3600"}
SECONDS = "746625600"


def calls(*wanted: tuple[str, str, Mapping[str, Any]], said: str = "") -> list[Step]:
    """A whole answer that calls these tools."""
    made: list[Step] = [chunk(content=said)] if said else []
    for n, (id, name, arguments) in enumerate(wanted):
        function = {"name": name, "arguments": json.dumps(arguments)}
        made.append(chunk(tool_calls=[{"index": n, "id": id, "type": "function", "function": function}]))
    return [*made, chunk("tool_calls"), used(10, 5), "[DONE]"]


def used(prompt: int, answer: int) -> Step:
    return chunk(usage={"prompt_tokens": prompt, "completion_tokens": answer, "total_tokens": prompt + answer})


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with upstream_server() as upstream:
        yield upstream
        assert upstream.problems == []


@pytest.fixture
async def box(serve: Serve, upstream: Upstream) -> Box:
    provider = {"use": "openai", "model": "m-1", "base_url": upstream.base_url, "api_key": "sk-1"}
    agents = [{"use": "langgraph"}]
    return await serve({**FREE, "providers": {"openai": provider}, "tools": TOOLS, "agents": agents})


@pytest.fixture
async def ann(box: Box) -> Person:
    return await person(box)


async def two_tools(ann: Person, upstream: Upstream, session: str) -> list[tuple[str, dict[str, Any]]]:
    """Two rounds of tools and an answer, streamed in the chat dialect; the events."""
    upstream.play(*calls(("call_a", "calculate", WEEKS), said="First the sum."))
    upstream.play(*calls(("call_b", "current_time", {"zone": "UTC"})))
    upstream.play(chunk(content="It is "), chunk(content="so many."), chunk("stop"), used(30, 6), "[DONE]")
    body = {"text": QUESTION, "conversation_id": session}
    answer = await ann.box.client.post("/api/chat/stream", json=body, headers=ann.headers)
    return [(name, data) for name, _, data in await events(answer)]


def said(reply: Mapping[str, Any]) -> list[str]:
    return [message["content"] for message in reply["ai_messages"]]


def sent(upstream: Upstream) -> list[tuple[str, str]]:
    """(role, text or names of the calls) of the messages of a request; each dialect has instructions of its own."""
    return [
        (m["role"], m["content"] or ", ".join(c["function"]["name"] for c in m["tool_calls"]))
        for m in upstream.bodies[-1]["messages"]
        if m["role"] != "system"
    ]


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of messages that each run of a compiled graph of LangGraph came to."""
    invoke, found = CompiledStateGraph.ainvoke, []

    async def watched(graph: Any, *args: Any, **more: Any) -> Any:
        state = await invoke(graph, *args, **more)
        found.append(len(state["messages"]))
        return state

    monkeypatch.setattr(CompiledStateGraph, "ainvoke", watched)
    return found


async def test_two_tools_in_a_graph_and_then_everywhere(ann: Person, upstream: Upstream, graphs: list[int]) -> None:
    session = await ann.session(agent_framework="langgraph", system_prompt="Be exact.")
    seen = await two_tools(ann, upstream, session)
    names = [name for name, _ in seen]
    assert names.count("tool_start") == names.count("tool_end") == 2
    assert [data["name"] for name, data in seen if name == "tool_end"] == ["calculate", "current_time"]
    first_end = names.index("tool_end")
    assert "".join(d["delta"] for n, d in seen[:first_end] if n == "assistant") == "First the sum."
    assert [d["delta"] for n, d in seen[names.index("tool_end", first_end + 1) :] if n == "assistant"] != []
    assert names[-1] == "done"

    # What the model was asked: the tools each time, and what has happened so far.
    assert [[t["function"]["name"] for t in b["tools"]] for b in upstream.bodies] == [["current_time", "calculate"]] * 3
    asked = upstream.bodies[2]["messages"]
    assert [m["role"] for m in asked] == ["system", "user", "assistant", "tool", "assistant", "tool"]
    assert asked[2]["content"] == "First the sum."
    assert asked[2]["tool_calls"][0]["function"] == {"name": "calculate", "arguments": json.dumps(WEEKS)}
    assert (asked[3]["content"], asked[3]["tool_call_id"]) == (SECONDS, asked[2]["tool_calls"][0]["id"])
    assert asked[5]["content"].endswith("+00:00 (UTC)")

    rows = await ann.messages(session)
    roles = [row["role"] for row in rows]
    assert roles == ["user", "assistant", "tool", "assistant", "tool", "assistant"]
    assert rows[1]["tool_calls"] == [{"id": rows[2]["tool_call_id"], "name": "calculate", "args": WEEKS}]
    assert [rows[n]["content"] for n in (1, 2, 5)] == ["First the sum.", SECONDS, "It is so many."]
    run = await ann.box.services.runs.open(ann.identity, seen[0][1]["run_id"])
    assert run.usage == Usage(input_tokens=50, output_tokens=16)

    assert graphs == [6]

    # Without the graph, and then in the other dialects, the history is the same.
    history = [*sent(upstream), ("assistant", "It is so many.")]
    await ann.ok("PUT", f"chats/{session}/", json={"agent_framework": "none"})
    upstream.play(*calls(("call_a", "calculate", {"expression": "6*7"})))
    upstream.play(*text("Forty-two."))
    assert said(await ann.send(session, "And 6*7?")) == ["", "42", "Forty-two."]
    assert graphs == [6]
    history += [("user", "And 6*7?"), ("assistant", "calculate"), ("tool", "42")]
    assert sent(upstream) == history
    history.append(("assistant", "Forty-two."))
    for name, driver in DRIVERS.items():
        upstream.play(*text(f"Hello {name}."))
        answered = await driver.say(ann.box, ann.headers, f"I am in {name}.", session)
        assert answered == (session, f"Hello {name}.")
        history.append(("user", f"I am in {name}."))
        assert sent(upstream) == history
        history.append(("assistant", f"Hello {name}."))
        shown = await driver.read(ann.box, ann.headers, session)
        assert shown[0] == ("user", QUESTION)
        assert shown[-1] == ("assistant", f"Hello {name}.")


async def test_a_reply_of_a_graph_is_cancelled_in_the_middle(ann: Person, upstream: Upstream) -> None:
    session = await ann.session(agent_framework="langgraph")
    upstream.play(*calls(("call_a", "calculate", WEEKS)))
    upstream.play(chunk(content="It "), Hang)
    task = await ann.ok(
        "POST", f"chats/{session}/messages/", json={"content": QUESTION}, headers={"Prefer": "respond-async"}
    )
    run = await ann.box.services.runs.open(ann.identity, task["task_id"])
    async with asyncio.timeout(20):
        while len(upstream.bodies) < 2:
            upstream.arrived.clear()
            await upstream.arrived.wait()
        await ann.box.services.runs.cancel(ann.identity, run.id)
        await upstream.left.wait()
        with pytest.raises(Cancelled):
            await ann.box.services.runs.result(ann.identity, run.id)
    # What the model said and did until then is kept, and the conversation goes on.
    assert [row["role"] for row in await ann.messages(session)][:3] == ["user", "assistant", "tool"]
    upstream.play(*text("Again."))
    assert said(await ann.send(session, "So?")) == ["Again."]


async def test_what_the_service_refuses_is_told_as_such(ann: Person, upstream: Upstream) -> None:
    session = await ann.session(agent_framework="langgraph")
    upstream.play(*calls(("call_a", "calculate", WEEKS)))
    upstream.play('{"error": {"message": "no"}}', status=429, headers={"Content-Type": "application/json"})
    status, body = await ann.ask("POST", f"chats/{session}/messages/", json={"content": QUESTION})
    assert (status, body["code"]) == (502, "provider_error")


async def test_a_model_that_never_ends_is_stopped(ann: Person, upstream: Upstream) -> None:
    session = await ann.session(agent_framework="langgraph")
    for n in range(20):
        upstream.play(*calls((f"call_{n}", "calculate", {"expression": f"{n}+1"})))
    status, body = await ann.ask("POST", f"chats/{session}/messages/", json={"content": QUESTION})
    assert (status, body["code"]) == (502, "provider_error")
    assert 8 <= len(upstream.bodies) <= 9


async def test_failing_tools_are_the_models_to_mend(ann: Person, upstream: Upstream) -> None:
    session = await ann.session(agent_framework="langgraph")
    upstream.play(*calls(("a", "calculate", {"expression": "9**9**9"}), ("b", "current_time", {"zone": "Mars"})))
    upstream.play(*text("Sorry."))
    assert said(await ann.send(session, QUESTION))[-1] == "Sorry."
    results = [text for role, text in sent(upstream) if role == "tool"]
    assert "too large" in results[0]
    assert "IANA" in results[1]


async def test_without_an_agent_there_are_no_tools(ann: Person, upstream: Upstream) -> None:
    await DRIVERS["chat"].say(ann.box, ann.headers, "Hello", None)
    assert "tools" not in upstream.bodies[0]
