"""Asking the user, searching the web, and other choices, at the HTTP faces of the dialects."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from aiohttp import ClientResponse
from marshmallow import Schema

from backchat.domain.message import Text, ToolCall, ToolResult
from backchat.domain.recipe import Recipe
from backchat.domain.run import Run, RunEvent, RunPaused, ToolCalled, ToolReturned
from backchat.domain.tool import ToolDefinition
from backchat.errors import ProviderError
from backchat.hookspecs import hookimpl
from backchat.ports.component import Component
from backchat.ports.providers import Abilities
from backchat.ports.tools import Tool, ToolBackend
from backchat.services.providers import Configured, Providers
from backchat.testing.plugin import Serve
from backchat.testing.provider import ScriptedProvider
from backchat.testing.server import Box, events, parse_events
from backchat.testing.tool import ScriptedTool
from backchat_dialect_chat.shapes import WAITS, Frames
from backchat_dialect_threads.handlers_runs import decision_of
from threads_box import WEATHER, ask, drain, exceptions, models, sdk
from tools_made import tell
from workspaces_box import FREE, person

SEND = ToolCall("c1", "send_mail", '{"what": "a"}')
ALSO = ToolCall("c2", "send_mail", '{"what": "b"}')
OSLO = ToolCall("w1", "get_current_weather", '{"location": "Oslo"}')
A = {"id": "c1", "name": "send_mail", "label": "send mail", "arguments": {"what": "a"}}
B = {**A, "id": "c2", "arguments": {"what": "b"}}

RUN = Run(
    id="r",
    conversation="c",
    owner="ann",
    author="ann",
    workspace="w",
    input="i",
    seq=1,
    answer="m",
    parent="i",
    provider="p",
    model="m",
    worker="w",
    created_at=datetime(2026, 1, 1, tzinfo=UTC),
    recipe=Recipe(providers=("p",)),
)


class Tools:
    """A tool that sends mail, and one that searches the web; the components ``mailer`` and ``searcher`` offer them."""

    def __init__(self) -> None:
        self.mail, self.web = ScriptedTool("send_mail", tell), ScriptedTool("web_search")
        self.web.definition = replace(self.web.definition, web=True)

    @hookimpl
    def backchat_tools(self) -> Sequence[ToolBackend]:
        return [self._backend("mailer", self.mail), self._backend("searcher", self.web)]

    @staticmethod
    def _backend(name: str, tool: ScriptedTool) -> ToolBackend:
        @asynccontextmanager
        async def opened(_: object) -> AsyncIterator[Sequence[Tool]]:
            yield [tool]

        return Component(name=name, schema=Schema(), open=opened)


async def careful(serve: Serve, provider: ScriptedProvider, **more: Any) -> tuple[Box, Tools]:
    """A server whose mail is sent when it is allowed only."""
    tools = Tools()
    offered = [{"use": "mailer", "always": True, "confirm": True}, {"use": "searcher"}]
    config = {**FREE, "providers": {provider.name: {"use": provider.name}}, "tools": offered, **more}
    return await serve(config, [provider, tools]), tools


def results(provider: ScriptedProvider) -> list[tuple[str, str]]:
    """The tool results of the latest prompt."""
    parts = [p for m in provider.requests[-1].messages for p in m.parts if isinstance(p, ToolResult)]
    return [(p.call, p.content) for p in parts]


async def post(box: Box, path: str, who: Mapping[str, str], body: object) -> ClientResponse:
    return await box.client.post(f"/api/chat{path}", json=body, headers=who)


async def waiting(box: Box, who: Mapping[str, str], **more: Any) -> dict[str, Any]:
    """What a blocking message is answered whose reply waits for the user."""
    answer = await post(box, "", who, {"text": "Tell them", **more})
    assert answer.status == 200
    found: dict[str, Any] = await answer.json()
    return found


async def messages(box: Box, who: Mapping[str, str], conversation: str) -> list[dict[str, Any]]:
    answer = await box.client.get("/api/chat/messages", params={"conversation_id": conversation}, headers=who)
    found: list[dict[str, Any]] = (await answer.json())["messages"]
    return found


# ---- chat -----------------------------------------------------------------------------------------------------------


async def test_a_stream_asks_stays_open_and_goes_on(serve: Serve) -> None:
    provider = ScriptedProvider(["Well. ", SEND, ALSO], ["Done."])
    box, tools = await careful(serve, provider)
    ann = await box.key()
    answer = await post(box, "/stream", ann, {"text": "Tell them"})
    so_far = b""
    async with asyncio.timeout(10):
        while b"event: confirm" not in so_far:
            so_far += await answer.content.readany()
    assert tools.mail.calls == []
    run = answer_run(so_far)
    told = await post(box, f"/stream/{run}/confirm", ann, {"allow": False, "calls": ["c2"], "reason": "too late"})
    assert (told.status, await told.json()) == (200, {"ok": True, "run_id": run, "status": "waiting"})
    told = await post(box, f"/stream/{run}/confirm", ann, {"allow": True})
    assert await told.json() == {"ok": True, "run_id": run, "status": "running"}
    body = so_far + await answer.read()
    names = [line.split()[1].decode() for line in body.splitlines() if line.startswith(b"event: ")]
    again = await box.client.get(f"/api/chat/stream/{run}", headers=ann)
    found = await events(again)
    assert [name for name, _, _ in found] == names
    assert names == [
        *("meta", "assistant", "tool_start", "tool_start", "status", "confirm"),
        *("tool_end", "status", "tool_end", "assistant", "done"),
    ]
    assert next(data for name, _, data in found if name == "confirm") == {
        "type": "confirm",
        "run_id": run,
        "calls": [A, B],
    }
    assert [data["text"] for name, _, data in found if name == "status"] == [
        "Waiting for you to allow: send mail",
        "Using send mail",
    ]
    assert found[-1][2]["reply"] == "Well. Done."
    assert tools.mail.calls == [{"what": "a"}]
    assert sorted(results(provider)) == [
        ("c1", "told a"),
        ("c2", "The user did not allow this call. They said: too late"),
    ]


def statuses(*events: RunEvent, tools: Sequence[str] = (WEATHER["function"]["name"],)) -> list[str]:
    """What a chat's reader is told by the events of a run whose client has these tools."""
    definitions = tuple([ToolDefinition(name, "", {}) for name in tools])
    recipe = Recipe(providers=("p",), tools=definitions, server_tools=("send_mail", "web_search"))
    frames = Frames(replace(RUN, recipe=recipe), 0, lambda name: name == "send_mail")
    found = parse_events(frames(list(enumerate(events, 1))))
    return [data["text"] for name, _, data in found if name == "status"]


def test_for_whom_a_reply_waits() -> None:
    search = ToolCall("s1", "web_search", '{"what": "x"}')
    answered = ToolReturned(ToolResult("s1", "told"))
    asks, paused = "Waiting for you to allow: send mail", RunPaused("m", "p", "m", ("c1",))
    assert statuses(ToolCalled(search), ToolCalled(SEND), answered, paused) == ["Using web search", asks]
    both: list[RunEvent] = [ToolCalled(OSLO), ToolCalled(SEND), paused]
    assert statuses(*both) == ["Using get current weather", WAITS, asks]
    told = ToolReturned(ToolResult("c1", "told a"))
    later: list[RunEvent] = [told, ToolCalled(ALSO), RunPaused("m", "p", "m", ("c2",))]
    assert statuses(*both, *later)[3:] == [asks], "the outputs are in by then"
    assert statuses(ToolCalled(SEND), RunPaused("m", "p", "m"), tools=["send_mail"]) == ["Using send mail", WAITS]


def answer_run(body: bytes) -> str:
    """The run's id, as the first event has it."""
    line = next(line for line in body.splitlines() if line.startswith(b"data: "))
    found: str = json.loads(line.removeprefix(b"data: "))["run_id"]
    return found


async def test_a_blocking_message_is_told_what_waits(serve: Serve) -> None:
    box, tools = await careful(serve, ScriptedProvider([SEND, ALSO], ["Done."]))
    ann = await box.key()
    told = await waiting(box, ann)
    id, run = told["conversation_id"], told["run_id"]
    assert told == {
        "reply": "",
        "conversation_id": id,
        "provider": "scripted",
        "status": "waiting",
        "run_id": run,
        "confirm": [A, B],
    }
    shown = await messages(box, ann, id)
    assert [(m["role"], m["content"], m["status"]) for m in shown] == [
        ("user", "Tell them", "complete"),
        ("assistant", "", "waiting"),
    ]
    assert (shown[1]["run_id"], shown[1]["confirm"]) == (run, [A, B])
    assert "confirm" not in shown[0]
    await post(box, f"/stream/{run}/confirm", ann, {"allow": True, "calls": ["c1"]})
    assert (await messages(box, ann, id))[1]["confirm"] == [B]
    await post(box, f"/stream/{run}/confirm", ann, {"allow": True, "calls": ["c2"]})
    stream = await events(await box.client.get(f"/api/chat/stream/{run}", headers=ann))
    assert stream[-1][2]["reply"] == "Done."
    shown = await messages(box, ann, id)
    assert [(m["role"], m["content"], m["status"]) for m in shown] == [
        ("user", "Tell them", "complete"),
        ("assistant", "Done.", "complete"),
    ]
    assert len(tools.mail.calls) == 2


async def test_what_confirm_refuses(serve: Serve) -> None:
    box, tools = await careful(serve, ScriptedProvider([SEND], ["Done."]))
    ann, bob = await box.key(), await box.key("bob")
    run = (await waiting(box, ann))["run_id"]
    place = f"/stream/{run}/confirm"
    for body, loc in (
        ({}, ["body", "allow"]),
        ({"allow": "yes"}, ["body", "allow"]),
        ({"allow": None}, ["body", "allow"]),
        ({"allow": True, "calls": []}, ["body", "calls"]),
        ({"allow": True, "calls": "c1"}, ["body", "calls"]),
        ({"allow": True, "calls": ["c9"]}, ["body", "calls"]),
        ({"allow": False, "reason": "x" * 2001}, ["body", "reason"]),
    ):
        answer = await post(box, place, ann, body)
        assert (answer.status, (await answer.json())["detail"][0]["loc"]) == (422, loc), body
    assert (await post(box, place, bob, {"allow": True})).status in (403, 404)
    assert (await post(box, "/stream/nothing/confirm", ann, {"allow": True})).status == 404
    assert tools.mail.calls == []
    assert (await post(box, place, ann, {"allow": True})).status == 200
    for again in ({"allow": True}, {"allow": False, "calls": ["c1"]}):
        late = await post(box, place, ann, again)
        assert late.status == 409
        assert (await late.json())["detail"].startswith("this run does not wait for a decision: it is ")


async def test_who_decides_second_is_told_so(serve: Serve) -> None:
    box, tools = await careful(serve, ScriptedProvider([SEND, ALSO], ["Done."]))
    ann = await box.key()
    run = (await waiting(box, ann))["run_id"]
    place = f"/stream/{run}/confirm"
    assert (await post(box, place, ann, {"allow": False, "calls": ["c1"]})).status == 200
    late = await post(box, place, ann, {"allow": True, "calls": ["c2", "c1"]})
    assert (late.status, (await late.json())["detail"]) == (409, "this has been decided already")
    assert (await post(box, place, ann, {"allow": True, "calls": ["c9"]})).status == 422
    assert (await post(box, place, ann, {"allow": True})).status == 200
    await events(await box.client.get(f"/api/chat/stream/{run}", headers=ann))
    assert tools.mail.calls == [{"what": "b"}]


async def test_a_new_message_ends_what_waits(serve: Serve) -> None:
    box, tools = await careful(serve, ScriptedProvider([SEND], ["Never mind."]))
    ann = await box.key()
    told = await waiting(box, ann)
    answer = await post(box, "", ann, {"text": "No", "conversation_id": told["conversation_id"]})
    assert (await answer.json())["reply"] == "Never mind."
    stream = await events(await box.client.get(f"/api/chat/stream/{told['run_id']}", headers=ann))
    assert (stream[-1][0], stream[-1][2]["code"]) == ("error", "cancelled")
    assert tools.mail.calls == []


async def with_anthropic(serve: Serve, **others: ScriptedProvider) -> Box:
    """A server of which ``mine`` is a provider of Anthropic's models, and which asks its echo by default."""
    box = await serve(FREE)
    there = box.services.providers
    mine = Configured("mine", "anthropic", ScriptedProvider(["I am."]))
    named = {name: Configured(name, "other", provider) for name, provider in others.items()}
    there.become(Providers({**there.configured, "mine": mine, **named}, there.default))
    return box


@pytest.mark.any_storage
@pytest.mark.parametrize("word", ["claude", "anthropic", "mine"])
async def test_claude_is_who_speaks_for_it(serve: Serve, word: str) -> None:
    box = await with_anthropic(serve)
    ann = await box.key()
    answer = await post(box, "", ann, {"text": "Who?", "provider": word})
    told = await answer.json()
    assert (told["reply"], told["provider"]) == ("I am.", "mine")
    _, told = await ask(box, "POST", "/threads/messages", ann, json={"content": "Who?", "llm_provider": word})
    assert told["model_provider"] == "mine"
    saved = await box.client.put("/api/settings/default-ai", json={"provider": word}, headers=ann)
    assert await saved.json() == {"provider": word}
    assert (await (await post(box, "", ann, {"text": "Who?"})).json())["provider"] == "mine"
    _, told = await ask(box, "POST", "/threads/messages", ann, json={"content": "Who?"})
    assert told["model_provider"] == "mine"


@pytest.mark.any_storage
async def test_a_provider_that_is_called_claude_goes_first(serve: Serve) -> None:
    box = await with_anthropic(serve, claude=ScriptedProvider(["Me."]))
    answer = await post(box, "", await box.key(), {"text": "Who?", "provider": "claude"})
    assert (await answer.json())["reply"] == "Me."


# ---- threads --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("output", "allow", "reason"),
    [
        ('{"approve": true}', True, ""),
        ({"approve": True, "reason": "fine"}, True, ""),
        ("approve", True, ""),
        (" Approved\n", True, ""),
        ("YES", True, ""),
        ('"allow"', True, ""),
        ('{"approve": false}', False, ""),
        ({"approve": False, "reason": "too late"}, False, "too late"),
        ({"approve": False, "reason": {"a": 1}}, False, '{"a":1}'),
        ({"approve": "true"}, False, '{"approve":"true"}'),
        ({"approve": 1}, False, '{"approve":1}'),
        ("yes, but tomorrow", False, "yes, but tomorrow"),
        ("no", False, "no"),
        ("", False, ""),
        ("true", False, "true"),
        (True, False, "true"),
        (None, False, "null"),
        ("[" * 200, False, "[" * 200),
        ("x" * 3000, False, "x" * 2000),
    ],
)
def test_what_allows_a_call(output: Any, allow: bool, reason: str) -> None:
    decision = decision_of(output)
    assert (decision.allow, decision.reason) == (allow, reason)


async def test_outputs_decide(serve: Serve) -> None:
    provider = ScriptedProvider(["Well. ", SEND, OSLO, ALSO], [ToolCall("s1", "web_search", "{}"), SEND], ["Done."])
    box, tools = await careful(serve, provider)
    async with sdk(box) as client:
        asked = await client.send_message("Tell them", tools=[WEATHER], web_search="Auto")
        assert asked.status == "REQUIRES_ACTION"
        assert [(c.id, c.function.name) for c in asked.tool_calls] == [
            ("c1", "send_mail"),
            ("w1", "get_current_weather"),
            ("c2", "send_mail"),
        ]
        outputs = [
            {"tool_call_id": "c2", "output": json.dumps({"approve": False, "reason": "too late"})},
            {"tool_call_id": "w1", "output": "cold"},
        ]
        with pytest.raises(exceptions.BackboardValidationError, match="no output for the tool call 'c1'"):
            await client.submit_tool_outputs(asked.thread_id, asked.run_id, outputs)
        allowed = {"tool_call_id": "c1", "output": "approve"}
        with pytest.raises(exceptions.BackboardValidationError, match="two outputs"):
            await client.submit_tool_outputs(asked.thread_id, asked.run_id, [*outputs, allowed, allowed])
        assert tools.mail.calls == []
        again = await client.submit_tool_outputs(asked.thread_id, asked.run_id, [*outputs, allowed])
        assert results(provider) == [
            ("c1", "told a"),
            ("w1", "cold"),
            ("c2", "The user did not allow this call. They said: too late"),
        ]
        [third] = again.tool_calls
        assert (again.status, third.function.name) == ("REQUIRES_ACTION", "send_mail")
        done = await client.submit_tool_outputs_simple(again.thread_id, [{"tool_call_id": third.id, "output": "no"}])
        assert (done.status, done.content, done.tool_calls) == ("COMPLETED", "Done.", None)
        thread = await client.get_thread(asked.thread_id)
    assert tools.mail.calls == [{"what": "a"}]
    assert [(m.role, m.status) for m in thread.messages] == [
        *(("user", "COMPLETED"), ("assistant", "COMPLETED")),
        *[("tool", "COMPLETED")] * 3,
        ("assistant", "COMPLETED"),
        *[("tool", "COMPLETED")] * 2,
        ("assistant", "COMPLETED"),
    ]


async def test_a_stream_of_a_thread_asks(serve: Serve) -> None:
    box, tools = await careful(serve, ScriptedProvider([SEND], ["Done."]))
    async with sdk(box) as client:
        first = await drain(client.send_message("Tell them", stream=True))
        assert first[-1]["type"] == "tool_submit_required"
        assert [(c["id"], c["function"]["name"]) for c in first[-1]["tool_calls"]] == [("c1", "send_mail")]
        outputs = [{"tool_call_id": "c1", "output": '{"approve": true}'}]
        thread, run = first[-1]["thread_id"], first[-1]["run_id"]
        rest = await drain(client.submit_tool_outputs(thread, run, outputs, stream=True))
    assert {"type": "status", "message": "Using send mail"}.items() <= rest[1].items()
    assert rest[-1]["final_content"] == "Done."
    assert tools.mail.calls == [{"what": "a"}]


async def test_what_was_decided_in_another_dialect_is_not_asked_for(serve: Serve) -> None:
    provider = ScriptedProvider([SEND, OSLO, ALSO], ["Done."])
    box, tools = await careful(serve, provider)
    ann = await box.key()
    body = {"content": "Tell them", "tools": [WEATHER], "stream": False}
    _, asked = await ask(box, "POST", "/threads/messages", ann, json=body)
    run, thread = asked["run_id"], asked["thread_id"]
    assert (await messages(box, ann, thread))[-1]["confirm"] == [A, B]
    told = await post(box, f"/stream/{run}/confirm", ann, {"allow": True, "calls": ["c2"]})
    assert (await told.json())["status"] == "waiting"
    stream = box.client.get(f"/api/chat/stream/{run}", headers=ann)
    outputs = [{"tool_call_id": "c1", "output": "no"}, {"tool_call_id": "w1", "output": "cold"}]
    path = f"/threads/{thread}/runs/{run}/submit-tool-outputs"
    late = {"tool_call_id": "c2", "output": "no"}
    status, refused = await ask(box, "POST", path, ann, json={"tool_outputs": [*outputs, late]})
    assert (status, refused["detail"]) == (400, "tool_outputs: no tool call with the id 'c2' waits for a decision")
    status, done = await ask(box, "POST", path, ann, json={"tool_outputs": outputs})
    assert (status, done["content"]) == (200, "Done.")
    assert tools.mail.calls == [{"what": "b"}]
    found = await events(await stream)
    assert [data["text"] for name, _, data in found if name == "status"][1:3] == [
        "Waiting for the outputs of tools that another client runs",
        "Waiting for you to allow: send mail",
    ]


async def test_no_asking_where_nobody_can_answer(serve: Serve) -> None:
    provider = ScriptedProvider(["ok"])
    box, _ = await careful(serve, provider)
    ann = await person(box)
    session = await ann.session()
    await ann.send(session, "Tell them")
    await ann.ok("POST", f"chats/{session}/messages/regenerate/")
    assert [[t.name for t in r.tools] for r in provider.requests] == [["web_search"]] * 2
    await box.client.post("/api/chat", json={"text": "a", "conversation_id": session}, headers=ann.headers)
    assert [t.name for t in provider.requests[2].tools] == ["send_mail", "web_search"]


# ---- the web --------------------------------------------------------------------------------------------------------


async def test_the_web_is_searched_where_it_is_asked_for(serve: Serve) -> None:
    search = ToolCall("s1", "web_search", '{"what": "tides"}')
    provider = ScriptedProvider(["ok"], [search], ["At nine."], ["ok"], [search], ["At ten."])
    box, tools = await careful(serve, provider)
    ann = await box.key()
    await post(box, "", ann, {"text": "a"})
    found = await events(await post(box, "/stream", ann, {"text": "When?", "web": True}))
    assert [name for name, _, _ in found] == ["meta", "status", "tool_start", "tool_end", "assistant", "done"]
    assert found[1][2]["text"] == "Using web search"
    assert found[-1][2]["reply"] == "At nine."
    async with sdk(box) as client:
        await client.send_message("a", web_search="off")
        assert (await client.send_message("When?", web_search="Auto")).content == "At ten."
    web = [["web_search" in [t.name for t in r.tools]] for r in provider.requests]
    assert web == [[False], [True], [True], [False], [True], [True]]
    assert tools.web.calls == [{"what": "tides"}] * 2


# ---- other choices --------------------------------------------------------------------------------------------------


async def test_strategies_of_assistants_and_sessions(serve: Serve) -> None:
    provider = ScriptedProvider(["ok"])
    box, _ = await careful(serve, provider, strategies={"short": {"use": "window", "size": 1}})
    ann = await box.key()
    status, refused = await ask(box, "POST", "/assistants", ann, json={"name": "A", "memory_strategy": "long"})
    assert (status, refused["detail"]) == (400, "memory_strategy: must be one of: default, short")
    status, made = await ask(box, "POST", "/assistants", ann, json={"name": "A", "memory_strategy": "short"})
    assert (status, made["memory_strategy"]) == (200, "short")
    models.Assistant.model_validate(made)
    one = f"/assistants/{made['assistant_id']}"
    assert (await ask(box, "GET", one, ann))[1]["memory_strategy"] == "short"
    body = {"content": "a", "assistant_id": made["assistant_id"]}
    _, first = await ask(box, "POST", "/threads/messages", ann, json=body)
    thread = {"content": "b", "thread_id": first["thread_id"]}
    await ask(box, "POST", "/threads/messages", ann, json=thread)
    assert (await ask(box, "PUT", one, ann, json={"memory_strategy": None}))[1]["memory_strategy"] is None
    await ask(box, "POST", "/threads/messages", ann, json=thread)
    assert [len(r.messages) for r in provider.requests] == [1, 1, 5]
    mine = await person(box)
    path = f"chats/{first['thread_id']}/"
    status, refused = await mine.ask("PATCH", path, json={"memory_strategy": "long"})
    assert (status, refused) == (400, {"memory_strategy": ["Must be one of: default, short."]})
    assert (await mine.ok("PATCH", path, json={"memory_strategy": "short"}))["memory_strategy"] == "short"
    await ask(box, "POST", "/threads/messages", ann, json=thread)
    assert (await mine.ok("PATCH", path, json={"memory_strategy": None}))["memory_strategy"] is None
    await ask(box, "POST", "/threads/messages", ann, json=thread)
    assert [len(r.messages) for r in provider.requests[3:]] == [1, 9]


async def test_json_of_a_model_that_cannot(serve: Serve) -> None:
    provider = ScriptedProvider(["{}"], abilities=Abilities(json_output=False))
    box, _ = await careful(serve, provider)
    body = {"content": "a", "json_output": True}
    status, refused = await ask(box, "POST", "/threads/messages", await box.key(), json=body)
    assert (status, refused["detail"]) == (
        400,
        "json_output: the model of provider 'scripted' cannot be held to JSON",
    )


async def test_json_reaches_the_model(serve: Serve) -> None:
    provider = ScriptedProvider(["{}"])
    box, _ = await careful(serve, provider)
    await ask(box, "POST", "/threads/messages", await box.key(), json={"content": "a", "json_output": True})
    assert provider.requests[0].json_output


async def test_who_was_asked_before_is_in_the_metadata(serve: Serve) -> None:
    down, up = ScriptedProvider([ProviderError("down")], name="down"), ScriptedProvider(["ok"], name="up")
    limits = {"retries": 0}
    providers = {"a": {"use": "down", "limits": limits}, "b": {"use": "up", "limits": limits}}
    config = {**FREE, "providers": providers, "default_provider": "a", "fallback": ["b"]}
    box = await serve(config, [down, up])
    ann = await person(box)
    body = {"content": "Hello"}
    status, told = await ask(box, "POST", "/threads/messages", ann.headers, json=body)
    assert (status, told["content"], told["model_provider"]) == (200, "ok", "b")
    _, thread = await ask(box, "GET", f"/threads/{told['thread_id']}", ann.headers)
    tried = {"tried": [{"provider": "a", "code": "provider_error"}]}
    assert thread["messages"][-1]["metadata_"] == tried
    answer = await box.client.get(f"/api/messages/{told['thread_id']}", headers=ann.headers)
    assert (await answer.json())[-1]["metadata"] == tried
    assert (await messages(box, ann.headers, told["thread_id"]))[-1]["content"] == "ok"
    assert (await ann.messages(told["thread_id"]))[-1]["content"] == "ok"
    assert up.requests[0].messages[-1].parts == (Text("Hello"),)
