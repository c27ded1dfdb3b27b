"""Messages, replies that are waited for or polled, answers made again, and deletions."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from marshmallow import Schema

from backchat.domain.message import Text, ToolCall, ToolResult
from backchat.domain.tool import ToolDefinition
from backchat.errors import ProviderError, ProviderTimeout
from backchat.hookspecs import hookimpl
from backchat.ports.component import Component
from backchat.ports.providers import Finish
from backchat.ports.tools import Tool, ToolBackend
from backchat.services.trees import NewMessage
from backchat.testing.plugin import Serve
from backchat.testing.provider import ScriptedProvider
from workspaces_box import FREE, MISSING, Person, person, scripted, team

BUSY = {"detail": "A reply of this conversation is still running.", "code": "generation_in_progress"}
LATER = {"Prefer": "respond-async"}


@pytest.fixture
async def ann(serve: Serve) -> Person:
    return await person(await serve(FREE))


async def with_model(serve: Serve, provider: ScriptedProvider, **more: Any) -> Person:
    """Somebody on a server with this model; ``more`` are settings of the dialect."""
    config, plugins = scripted(provider, **more)
    return await person(await serve(config, plugins))


async def ended(one: Person, path: str) -> Any:
    """What a task says in the end."""
    while True:
        answer = await one.raw("GET", path)
        told = await answer.json()
        if told["status"] != "processing":
            assert "Retry-After" not in answer.headers
            return told
        assert set(told) == {"task_id", "status"}
        assert answer.headers["Retry-After"] == "1"
        await asyncio.sleep(0.01)


# ---- sending --------------------------------------------------------------------------------------------------------


async def test_a_message_and_its_reply(ann: Person) -> None:
    session = await ann.session(name="Plans")
    status, told = await ann.ask("POST", f"chats/{session}/messages/", json={"content": " hello\n", "role": "user"})
    assert status == 201
    asked, (answer,) = told["user_message"], told["ai_messages"]
    assert set(told) == {"user_message", "ai_messages"}
    assert asked == {
        "id": asked["id"],
        "session": session,
        "user": ann.id,
        "parent_message": None,
        "sequence_number": 1,
        "role": "user",
        "content": " hello\n",
        "tool_calls": None,
        "tool_call_id": None,
        "created_at": asked["created_at"],
        "updated_at": asked["created_at"],
    }
    assert (answer["role"], answer["user"], answer["parent_message"]) == ("assistant", None, asked["id"])
    assert answer["sequence_number"] > 1
    assert "hello" in answer["content"]
    assert await ann.messages(session) == [asked, answer]
    for one in (asked, answer):
        assert await ann.ask("GET", f"chats/{session}/messages/{one['id']}/") == (200, one)
    assert (await ann.ask("GET", f"chats/{session}/messages/{MISSING}/"))[0] == 404
    other = await ann.session()
    assert (await ann.ask("GET", f"chats/{other}/messages/{asked['id']}/"))[0] == 404


async def test_messages_that_are_refused(ann: Person) -> None:
    session = await ann.session()
    path = f"chats/{session}/messages/"
    contents: list[Any] = ["", " \n", None, 7, [], True, "x" * 100_001, "a\0b"]
    roles: list[Any] = ["assistant", "system", "tool", "", None, 7]
    refused: list[tuple[Any, str]] = [({"content": value}, "content") for value in contents]
    refused += [({"content": "hi", "role": value}, "role") for value in roles]
    for body, name in [*refused, ({}, "content")]:
        status, told = await ann.ask("POST", path, json=body)
        assert (status, list(told)) == (400, [name]), body
    for status_word in ("completed", "archived"):
        await ann.ok("PATCH", f"chats/{session}/", json={"status": status_word})
        told = {"non_field_errors": [f"This session is {status_word}: it takes no messages."]}
        assert await ann.ask("POST", path, json={"content": "hi"}) == (400, told)
        assert await ann.ask("POST", f"{path}regenerate/") == (400, told)
    assert await ann.messages(session) == []
    await ann.ok("PATCH", f"chats/{session}/", json={"status": "active"})
    assert (await ann.ask("POST", path, json={"content": "x" * 100_000, "id": MISSING}))[0] == 201


async def test_what_was_chosen_is_what_the_model_is_asked_with(serve: Serve) -> None:
    provider = ScriptedProvider(["ok"])
    ann = await with_model(serve, provider)
    chosen = {"system_prompt": "Be brief.", "temperature": 0.5, "max_tokens": 9, "top_p": 0.1, "ai_model": "scripted-2"}
    penalties = {"frequency_penalty": 1, "presence_penalty": -1, "model_parameters": {"seed": 7}}
    session = await ann.session(**chosen, **penalties)
    await ann.send(session, "one")
    await ann.ok("PUT", f"chats/{session}/", json={"temperature": None, "system_prompt": "", "ai_model": "scripted-3"})
    await ann.send(session, "two")
    first, second = [r for r in provider.requests if r.model]
    assert (first.model, first.system) == ("scripted-2", "Be brief.")
    s = first.sampling
    assert (s.temperature, s.max_tokens, s.top_p, s.frequency_penalty, s.presence_penalty) == (0.5, 9, 0.1, 1, -1)
    assert s.parameters == {"seed": 7}
    assert (second.model, second.system, second.sampling.temperature) == ("scripted-3", "", None)
    assert second.sampling.top_p == 0.1
    assert [p.text for m in second.messages for p in m.parts if isinstance(p, Text)] == ["one", "ok", "two"]


async def test_lists_of_messages(ann: Person) -> None:
    session = await ann.session()
    for text in ("a", "b", "c"):
        await ann.send(session, text)
    rows = await ann.messages(session)
    assert [m["role"] for m in rows] == ["user", "assistant"] * 3
    numbers = [m["sequence_number"] for m in rows]
    assert numbers == sorted(set(numbers))
    assert [m["content"] for m in await ann.messages(session, role="user")] == ["a", "b", "c"]
    page = await ann.ok("GET", f"chats/{session}/messages/", params={"page_size": "2", "page": "2", "role": "user"})
    assert (page["count"], page["next"], [m["content"] for m in page["results"]]) == (3, None, ["c"])
    page = await ann.ok("GET", f"chats/{session}/messages/", params={"page_size": "4", "page": "2"})
    assert page["results"] == rows[4:]
    assert [m["parent_message"] for m in page["results"]] == [None, rows[4]["id"]]
    for name, value in (("role", "x"), ("page", "0"), ("page_size", "101")):
        status, told = await ann.ask("GET", f"chats/{session}/messages/", params={name: value})
        assert (status, list(told)) == (400, [name])
    assert (await ann.ask("GET", f"chats/{session}/messages/", params={"page": "2"}))[0] == 404


async def test_parents_are_the_messages_that_were_answered(ann: Person) -> None:
    session = await ann.session()
    trees = ann.box.services.trees

    async def put(role: Any, *parts: Any, parent: str | None = None) -> str:
        new = NewMessage(parent=parent, role=role, parts=parts)
        return (await trees.put(ann.identity, session, new)).id

    asked = await put("user", Text("q"))
    working = await put("assistant", ToolCall("c1", "look", '{"a": 1}'), ToolCall("c2", "look", "[1]"), parent=asked)
    one = await put("tool", ToolResult("c1", "found"), parent=working)
    two = await put("tool", ToolResult("c2", ""), parent=one)
    again = await put("assistant", Text("more"), ToolCall("c3", "look", "{bad"), parent=two)
    three = await put("tool", ToolResult("c3", "it"), parent=again)
    answer = await put("assistant", Text("a"), parent=three)
    stray = await put("assistant", Text("b"), parent=answer)
    system = await put("system", Text("s"), parent=stray)
    late = await put("assistant", Text("c"), parent=system)
    rows = await ann.messages(session)
    assert {m["id"]: m["parent_message"] for m in rows} == {
        **dict.fromkeys((working, one, two, again, three, answer), asked),
        **dict.fromkeys((asked, stray, system, late)),
    }
    calls = {"id": "c1", "name": "look", "args": {"a": 1}}, {"id": "c2", "name": "look", "args": "[1]"}
    assert rows[1]["tool_calls"] == list(calls)
    assert (rows[1]["content"], rows[2]["content"], rows[2]["tool_call_id"]) == ("", "found", "c1")
    assert rows[4]["tool_calls"] == [{"id": "c3", "name": "look", "args": "{bad"}]


async def test_the_server_s_tools(serve: Serve) -> None:
    class Tools:
        @hookimpl
        def backchat_tools(self) -> Sequence[ToolBackend]:
            @asynccontextmanager
            async def opened(_: object) -> AsyncIterator[Sequence[Tool]]:
                yield [Adder()]

            return [Component(name="adder", schema=Schema(), open=opened)]

    class Adder:
        definition = ToolDefinition("add", "Adds.", {"type": "object", "properties": {"a": {"type": "integer"}}})

        async def run(self, arguments: Any) -> str:
            return f"it is {arguments['a'] + 1}"

    provider = ScriptedProvider([ToolCall("c1", "add", '{"a": 1}'), Finish("tool_calls")], ["Two."])
    config, plugins = scripted(provider)
    ann = await person(await serve({**config, "tools": ["adder"]}, [*plugins, Tools()]))
    session = await ann.session()
    told = await ann.send(session, "1 + 1?")
    asked = told["user_message"]["id"]
    assert [(m["role"], m["content"], m["parent_message"]) for m in told["ai_messages"]] == [
        ("assistant", "", asked),
        ("tool", "it is 2", asked),
        ("assistant", "Two.", asked),
    ]
    assert told["ai_messages"][0]["tool_calls"] == [{"id": "c1", "name": "add", "args": {"a": 1}}]
    assert told["ai_messages"][1]["tool_call_id"] == "c1"
    assert await ann.messages(session) == [told["user_message"], *told["ai_messages"]]


# ---- failures -------------------------------------------------------------------------------------------------------


async def test_a_model_that_fails(serve: Serve) -> None:
    broken, slow = ProviderError("the model broke"), ProviderTimeout("the model took too long")
    provider = ScriptedProvider([broken], [slow], ["late"], [broken])
    ann = await with_model(serve, provider)
    session = await ann.session()
    for status, code in ((502, "provider_error"), (504, "timeout")):
        got, told = await ann.ask("POST", f"chats/{session}/messages/", json={"content": code})
        assert (got, told["code"], set(told)) == (status, code, {"detail", "code", "user_message"})
        assert (await ann.messages(session))[-1] == told["user_message"]
    assert (await ann.ok("GET", f"chats/{session}/messages/"))["count"] == 2
    told = await ann.ok("POST", f"chats/{session}/messages/regenerate/")
    assert (told["user_message"]["content"], told["ai_messages"][0]["content"]) == ("timeout", "late")
    before = await ann.messages(session)
    got, told = await ann.ask("POST", f"chats/{session}/messages/regenerate/")
    assert (got, told["user_message"]) == (502, before[-2])
    assert await ann.messages(session) == before, "the old answer stays"


async def test_one_reply_at_a_time(serve: Serve) -> None:
    gate = asyncio.Event()
    ann = await with_model(serve, ScriptedProvider(["slow", gate]))
    session = await ann.session()
    _, task = await ann.ask("POST", f"chats/{session}/messages/", json={"content": "one"}, headers=LATER)
    path = f"chats/{session}/messages/"
    assert await ann.ask("POST", path, json={"content": "two"}) == (409, BUSY)
    assert await ann.ask("POST", path, json={"content": "two"}, headers=LATER) == (409, BUSY)
    assert await ann.ask("POST", f"{path}regenerate/") == (409, BUSY)
    status, told = await ann.ask("DELETE", f"{path}{task['user_message']['id']}/")
    assert (status, told["code"]) == (409, "generation_in_progress")
    assert (await ann.ask("POST", path, json={"content": ""}))[0] == 400, "the body comes first"
    gate.set()
    assert (await ended(ann, f"{path}agent-task-status/{task['task_id']}/"))["status"] == "completed"
    assert await ann.texts(session) == [("user", "one"), ("assistant", "slow")]


# ---- tasks ----------------------------------------------------------------------------------------------------------


async def test_a_task(serve: Serve) -> None:
    gate = asyncio.Event()
    ann = await with_model(serve, ScriptedProvider(["an ", gate, "answer"]))
    bob = await person(ann.box, "bob")
    await team(ann, bob)
    session, other = await ann.session(), await ann.session()
    await ann.ok("POST", f"chats/{session}/share/", json={"user_id": bob.id})
    path = f"chats/{session}/messages/"
    answer = await ann.raw("POST", path, json={"content": "one"}, headers={"Prefer": "respond-ASYNC; x, wait=9"})
    assert (answer.status, answer.headers["Preference-Applied"]) == (202, "respond-async")
    told = await answer.json()
    asked = told["user_message"]
    assert told == {"task_id": told["task_id"], "status": "processing", "user_message": asked}
    assert await ann.messages(session) == [asked], "stored before the answer"
    poll = answer.headers["Location"]
    assert poll == f"/api/workspaces/{ann.ws}/{path}agent-task-status/{told['task_id']}/"
    for reader in (ann, bob):
        assert await reader.ask("GET", poll) == (200, {"task_id": told["task_id"], "status": "processing"})
    gate.set()
    done = await ended(bob, poll)
    assert set(done) == {"task_id", "status", "user_message", "ai_messages"}
    assert (done["status"], done["user_message"], done["ai_messages"][0]["content"]) == (
        "completed",
        asked,
        "an answer",
    )
    assert await ann.messages(session) == [asked, *done["ai_messages"]]
    assert (await ann.ask("GET", f"chats/{other}/messages/agent-task-status/{told['task_id']}/"))[0] == 404
    assert (await ann.ask("GET", f"{path}agent-task-status/{MISSING}/"))[0] == 404
    again = await ann.ok("POST", f"{path}regenerate/")
    assert await ended(ann, poll) == done, "final states do not change"
    assert again["ai_messages"][0]["id"] != done["ai_messages"][0]["id"]
    await ann.ok("DELETE", f"chats/{session}/")
    assert (await ann.ask("GET", poll))[0] == 404


async def test_tasks_that_fail(serve: Serve) -> None:
    gate = asyncio.Event()
    turns: list[list[Any]] = [[ProviderError("broke")], [ProviderTimeout("late")], [ValueError("SECRET")], ["x", gate]]
    ann = await with_model(serve, ScriptedProvider(*turns), async_agents=True)
    for code in ("provider_error", "timeout", "internal", "cancelled"):
        session = await ann.session()
        answer = await ann.raw("POST", f"chats/{session}/messages/", json={"content": "hi"})
        assert (answer.status, "Preference-Applied" in answer.headers) == (202, False)
        if code == "cancelled":
            task = (await answer.json())["task_id"]
            await ann.ok("POST", f"/api/chat/stream/{task}/cancel")
        told = await ended(ann, answer.headers["Location"])
        assert set(told) == {"task_id", "status", "error", "code"}
        assert (told["status"], told["code"]) == ("failed", code)
        assert told["error"]
        assert "SECRET" not in told["error"]


async def test_whoever_would_rather_wait(serve: Serve) -> None:
    ann = await with_model(serve, ScriptedProvider(["ok"]), async_agents=True)
    session = await ann.session()
    path = f"chats/{session}/messages/"
    for headers, status in (({"Prefer": "wait=20"}, 201), ({"Prefer": "handling=lenient"}, 202)):
        answer = await ann.raw("POST", path, json={"content": "hi"}, headers=headers)
        assert answer.status == status
    assert (await ended(ann, answer.headers["Location"]))["status"] == "completed"
    answer = await ann.raw("POST", f"{path}regenerate/")
    assert answer.status == 202
    assert (await ended(ann, answer.headers["Location"]))["status"] == "completed"


async def test_tasks_are_forgotten(serve: Serve) -> None:
    config, plugins = scripted(ScriptedProvider(["ok"]))
    ann = await person(await serve({**config, "replies": {"keep": 0}}, plugins))
    session = await ann.session()
    answer = await ann.raw("POST", f"chats/{session}/messages/", json={"content": "hi"}, headers=LATER)
    await ann.box.services.runs.result(ann.identity, (await answer.json())["task_id"])
    assert (await ann.ask("GET", answer.headers["Location"]))[0] == 404


# ---- again ----------------------------------------------------------------------------------------------------------


async def test_an_answer_made_again(serve: Serve) -> None:
    provider = ScriptedProvider(["first"], ["second"], ["third"])
    ann = await with_model(serve, provider)
    session = await ann.session()
    path = f"chats/{session}/messages/"
    status, told = await ann.ask("POST", f"{path}regenerate/")
    assert (status, list(told)) == (400, ["non_field_errors"]), "there is nothing to answer"
    before = await ann.send(session, "question")
    old = before["ai_messages"][0]
    status, told = await ann.ask("POST", f"{path}regenerate/")
    assert (status, told["user_message"]) == (200, before["user_message"])
    (new,) = told["ai_messages"]
    assert (new["content"], new["parent_message"]) == ("second", before["user_message"]["id"])
    assert new["sequence_number"] > old["sequence_number"]
    assert await ann.messages(session) == [before["user_message"], new]
    assert (await ann.ask("GET", f"{path}{old['id']}/"))[0] == 404
    assert (await ann.ask("DELETE", f"{path}{old['id']}/"))[0] == 404
    shown = await ann.ok("GET", f"/api/messages/{session}")
    assert [m["text"] for m in shown] == ["question", "first", "second"], "both are in the tree"
    asked = provider.requests[-1].messages
    assert [(m.role, p.text) for m in asked for p in m.parts if isinstance(p, Text)] == [("user", "question")]
    await ann.send(session, "and then?")
    assert await ann.texts(session) == [
        ("user", "question"),
        ("assistant", "second"),
        ("user", "and then?"),
        ("assistant", "third"),
    ]


# ---- deleting -------------------------------------------------------------------------------------------------------


async def test_deleting_a_message(ann: Person) -> None:
    session = await ann.session()
    for text in ("a", "b"):
        await ann.send(session, text)
    first, answer, second, last = await ann.messages(session)
    path = f"chats/{session}/messages/"
    assert await ann.ask("DELETE", f"{path}{second['id']}/") == (204, None)
    assert (await ann.ask("GET", f"{path}{second['id']}/"))[0] == 404
    assert (await ann.ask("DELETE", f"{path}{second['id']}/"))[0] == 404
    assert await ann.messages(session) == [first, answer, {**last, "parent_message": None}]
    assert await ann.ask("DELETE", f"{path}{first['id']}/") == (204, None)
    left = await ann.messages(session)
    assert [m["id"] for m in left] == [answer["id"], last["id"]]
    made = await ann.send(session, "c")
    assert made["user_message"]["sequence_number"] > last["sequence_number"], "never used again"


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
async def test_replaced_answers_do_not_come_back(serve: Serve, order: Sequence[int]) -> None:
    ann = await with_model(serve, ScriptedProvider(["first"], ["second"], ["third"]))
    session = await ann.session()
    path = f"chats/{session}/messages/"
    await ann.send(session, "question")
    await ann.ok("POST", f"{path}regenerate/")
    link = (await ann.ok("POST", f"chats/{session}/toggle-public/"))["public_path"]
    shown = await ann.messages(session)
    for which in order:
        await ann.ok("DELETE", f"{path}{shown[which]['id']}/")
    assert await ann.messages(session) == []
    assert (await ann.ok("GET", link))["messages"] == []
    assert (await ann.ask("POST", f"{path}regenerate/"))[0] == 400
    await ann.send(session, "again")
    assert await ann.texts(session) == [("user", "again"), ("assistant", "third")]


async def test_shares_say_and_take_back_their_own(ann: Person) -> None:
    bob = await person(ann.box, "bob")
    await team(ann, bob)
    session = await ann.session()
    path = f"chats/{session}/messages/"
    mine = await ann.send(session, "mine")
    await ann.ok("POST", f"chats/{session}/share/", json={"user_id": bob.id})
    assert (await bob.ask("POST", path, json={"content": "hi"}))[0] == 403
    assert (await bob.ask("POST", f"{path}regenerate/"))[0] == 403
    assert (await bob.ask("DELETE", f"{path}{mine['user_message']['id']}/"))[0] == 403
    await ann.ok("POST", f"chats/{session}/share/", json={"user_id": bob.id, "permission": "edit"})
    his = await bob.send(session, "his")
    assert his["user_message"]["user"] == bob.id
    for one in (mine["user_message"], mine["ai_messages"][0], his["ai_messages"][0]):
        assert (await bob.ask("DELETE", f"{path}{one['id']}/"))[0] == 403
    assert await bob.ask("DELETE", f"{path}{his['user_message']['id']}/") == (204, None)
    assert len(await ann.messages(session)) == 3
    assert (await bob.ask("POST", f"{path}regenerate/"))[0] == 200
