"""An adopted entry is a conversation like every other, in every dialect; in the vault nothing has changed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import pytest

from backchat.testing.conformance.drivers import DRIVERS
from backchat.testing.plugin import Serve
from backchat.testing.provider import ScriptedProvider
from backchat.testing.server import Box
from convos_box import Convos
from vault_http import Caller, caller, said

TALK = said("How do I join quuxbarian tables?", "With JOIN.", "And outer ones?", "With LEFT JOIN.")
READ = [(m["role"], m["content"]) for m in TALK]
DETAILS = {"title": "SQL help", "category": "coding", "topic": "databases", "model": "qwen-3", "tags": ["work", "sql"]}
ALL = [*DRIVERS, "vault"]


async def opened(serve: Serve, *turns: str) -> tuple[Caller, ScriptedProvider]:
    provider = ScriptedProvider(*[[turn] for turn in turns or ("ok",)])
    box = await serve({"providers": {"scripted": {"use": "scripted"}}, "dialects": ALL}, [provider])
    return await caller(box), provider


async def pushed(ann: Caller, messages: Sequence[Mapping[str, Any]] = TALK, **more: Any) -> int:
    """Two versions; the number of the entry."""
    await ann.push("c1", messages[:1], **{**DETAILS, **more})
    number: int = (await ann.push("c1", messages))["entryId"]
    return number


async def adopted(ann: Caller, number: int, messages: Sequence[Mapping[str, Any]] = TALK) -> str:
    status, told = await ann.ask("POST", f"/entries/{number}/adopt", json={"messages": messages})
    assert (status, told["success"], told["entryId"]) == (201, True, number)
    id: str = told["conversationId"]
    return id


async def vaulted(ann: Caller, number: int) -> list[bytes]:
    """Everything that the vault tells, byte for byte."""
    one = f"/entries/{number}"
    paths = ["/pull", one, f"{one}/versions", f"{one}/versions/1", f"{one}/versions/2"]
    return [await (await ann.raw("GET", path)).read() for path in paths]


def prompted(provider: ScriptedProvider) -> list[tuple[str, str]]:
    return [(m.role, "".join([getattr(p, "text", "?") for p in m.parts])) for m in provider.requests[-1].messages]


# ---- renaming, where it can be done ---------------------------------------------------------------------------------


async def rename_in_convos(box: Box, ann: Caller, id: str) -> None:
    body = {"arg": {"conversationId": id, "title": "Joins"}}
    answer = await box.client.post("/api/convos/update", json=body, headers=ann.headers)
    assert answer.status == 201, await answer.text()


async def rename_in_workspaces(box: Box, ann: Caller, id: str) -> None:
    workspaces = await (await box.client.get("/api/workspaces/", headers=ann.headers)).json()
    path = f"/api/workspaces/{workspaces['results'][0]['id']}/chats/{id}/"
    answer = await box.client.patch(path, json={"name": "Joins"}, headers=ann.headers)
    assert answer.status == 200, await answer.text()


RENAMES: Mapping[str, Callable[[Box, Caller, str], Awaitable[None]]] = {
    "convos": rename_in_convos,
    "workspaces": rename_in_workspaces,
}


async def titles(box: Box, ann: Caller) -> set[str]:
    """What those dialects call the one conversation that show a title."""
    chats = await (await box.client.get("/api/chat/conversations", headers=ann.headers)).json()
    convos = await (await box.client.get("/api/convos", headers=ann.headers)).json()
    workspaces = await (await box.client.get("/api/workspaces/", headers=ann.headers)).json()
    path = f"/api/workspaces/{workspaces['results'][0]['id']}/chats/"
    sessions = await (await box.client.get(path, headers=ann.headers)).json()
    (chat,), (convo,), (session,) = chats["conversations"], convos["conversations"], sessions["results"]
    return {chat["title"], convo["title"], session["name"]}


# ---- the tests ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", DRIVERS)
async def test_it_is_read_continued_and_deleted_in(serve: Serve, name: str) -> None:
    ann, provider = await opened(serve, "one", "two")
    box, driver = ann.box, DRIVERS[name]
    number = await pushed(ann)
    assert await driver.browse(box, ann.headers) == []
    before = await vaulted(ann, number)
    id = await adopted(ann, number)
    for each in DRIVERS.values():
        assert await each.browse(box, ann.headers) == [id]
        assert await each.read(box, ann.headers, id) == READ
    assert await driver.say(box, ann.headers, "Thanks.", id) == (id, "one")
    assert prompted(provider) == [*READ, ("user", "Thanks.")]
    assert provider.requests[-1].model in (None, provider.model), "the entry's is not asked for"
    assert await driver.stream(box, ann.headers, "Bye.", id) == (id, "two")
    whole = [*READ, ("user", "Thanks."), ("assistant", "one"), ("user", "Bye."), ("assistant", "two")]
    for each in DRIVERS.values():
        assert await each.read(box, ann.headers, id) == whole
    assert await vaulted(ann, number) == before
    await driver.delete(box, ann.headers, id)
    for each in DRIVERS.values():
        assert await each.browse(box, ann.headers) == []
    assert await vaulted(ann, number) == before
    again = await adopted(ann, number)
    assert again != id
    assert await driver.read(box, ann.headers, again) == READ


@pytest.mark.parametrize("name", RENAMES)
async def test_it_is_renamed_in(serve: Serve, name: str) -> None:
    ann, _ = await opened(serve)
    number = await pushed(ann)
    before = await vaulted(ann, number)
    id = await adopted(ann, number)
    assert await titles(ann.box, ann) == {"SQL help"}
    await RENAMES[name](ann.box, ann, id)
    assert await titles(ann.box, ann) == {"Joins"}
    assert await vaulted(ann, number) == before


async def test_its_details_are_shown(serve: Serve) -> None:
    ann, _ = await opened(serve)
    id = await adopted(ann, await pushed(ann, platform="Ollama"))
    convos = Convos(ann.box, ann.headers)
    convo = await convos.ok("GET", f"/api/convos/{id}")
    assert [convo[name] for name in ("title", "endpoint", "model")] == ["SQL help", "ollama", "qwen-3"]
    assert convo["tags"] == ["work", "sql"]
    assert {t["tag"]: t["count"] for t in await convos.ok("GET", "/api/tags")} == {"work": 1, "sql": 1}
    assert await convos.listed(tags="sql") == ["SQL help"]
    assert [m["sender"] for m in await convos.messages(id)] == ["User", "qwen-3"] * 2
    thread = await (await ann.box.client.get(f"/api/threads/{id}", headers=ann.headers)).json()
    assert thread["metadata_"] == {"platform": "ollama", "category": "coding"}
    chats = await ann.box.client.get("/api/chat/conversations", params={"channel": "vault"}, headers=ann.headers)
    assert [c["id"] for c in (await chats.json())["conversations"]] == [id]


async def test_it_is_searched(serve: Serve) -> None:
    ann, _ = await opened(serve)
    number = await pushed(ann)
    convos = Convos(ann.box, ann.headers)
    assert await convos.listed(search="quuxbarian") == await convos.listed(search="SQL") == []
    id = await adopted(ann, number)
    assert await convos.listed(search="quuxbarian") == await convos.listed(search="SQL") == ["SQL help"]
    _, found = await convos.get("/api/messages", search="quuxbarian")
    assert [m["conversationId"] for m in found["messages"]] == [id]
    assert await ann.chats("search=quuxbarian") == []


async def test_what_tools_and_instructions_said(serve: Serve) -> None:
    """A tool's words stand there as the model's, for they answer no call: every dialect can show them, every service
    takes them.
    """
    talk = [
        {"role": "system", "content": "Be short."},
        {"role": "user", "content": "How many?", "timestamp": "2024-05-06T07:08:09+02:00"},
        {"role": "tool", "content": '{"rows": 3}'},
        {"role": "assistant", "content": "Three."},
        {"role": "tool", "content": ""},
    ]
    ann, provider = await opened(serve)
    id = await adopted(ann, await pushed(ann, talk), talk)
    for name in ("threads", "workspaces"):
        assert await DRIVERS[name].read(ann.box, ann.headers, id) == [
            ("system", "Be short."),
            ("user", "How many?"),
            ("assistant", '{"rows": 3}'),
            ("assistant", "Three."),
            ("assistant", ""),
        ]
    shown = await Convos(ann.box, ann.headers).messages(id)
    assert [m["sender"] for m in shown] == ["system", "User", "tool", "qwen-3", "tool"]
    assert shown[1]["createdAt"] == "2024-05-06T05:08:09.000Z"
    for name in DRIVERS:
        await DRIVERS[name].say(ann.box, ann.headers, "Thanks.", id)
        told = [m for m in prompted(provider) if m != ("user", "Thanks.") and m != ("assistant", "ok")]
        assert told == [
            ("system", "Be short."),
            ("user", "How many?"),
            ("assistant", '{"rows": 3}'),
            ("assistant", "Three."),
        ]


async def test_it_is_its_owners_alone(serve: Serve) -> None:
    ann, _ = await opened(serve)
    id = await adopted(ann, await pushed(ann))
    bob = await caller(ann.box, "bob")
    assert [await driver.browse(ann.box, bob.headers) for driver in DRIVERS.values()] == [[]] * len(DRIVERS)
    assert (await Convos(ann.box, bob.headers).get(f"/api/convos/{id}"))[0] == 404


# ---- refused --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "messages"),
        ({"messages": None}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "user", "content": "x"}] * 10_001}, "messages"),
        ({"messages": [{"role": "nobody", "content": "x"}]}, "messages.0.role"),
        ({"messages": [{"role": "user", "content": "x"}, {"role": "user"}]}, "messages.1.content"),
        ({"messages": [{"role": "user", "content": "x", "timestamp": "yesterday"}]}, "messages.0.timestamp"),
    ],
)
async def test_what_is_no_conversation(serve: Serve, body: Mapping[str, Any], field: str) -> None:
    ann, _ = await opened(serve)
    number = await pushed(ann)
    status, told = await ann.ask("POST", f"/entries/{number}/adopt", json=body)
    assert (status, told["error"], list(told["details"])) == (422, "validation_error", [field])
    assert await DRIVERS["chat"].browse(ann.box, ann.headers) == []


async def test_who_may_adopt(serve: Serve) -> None:
    ann, _ = await opened(serve)
    number = await pushed(ann)
    bob, reader = await caller(ann.box, "bob"), await caller(ann.box, scopes=["pull"])
    body = {"messages": TALK}
    assert [(await who.ask("POST", f"/entries/{number}/adopt", json=body))[0] for who in (bob, reader)] == [404, 403]
    missing = (str(number + 1), "0", "-1", "x", "9" * 30)
    assert {(await ann.ask("POST", f"/entries/{n}/adopt", json=body))[0] for n in missing} == {404}
    assert (await ann.ask("DELETE", f"/entries/{number}"))[0] == 204
    assert (await ann.ask("POST", f"/entries/{number}/adopt", json=body))[0] == 404
    assert await DRIVERS["chat"].browse(ann.box, ann.headers) == []
    writer = await caller(ann.box, scopes=["push"])
    await ann.pull()  # which leaves the other token the vault key
    again = (await writer.push("c1", TALK))["entryId"]
    assert again != number
    id = await adopted(writer, again)
    assert await DRIVERS["chat"].browse(ann.box, ann.headers) == [id]
