"""Sessions: what they are made of, lists of them, and changes."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from backchat.services.workspace_conversations import Change
from backchat.testing.plugin import Serve
from backchat.testing.provider import ScriptedProvider
from workspaces_box import FREE, MISSING, Person, person, scripted, team

NEW: dict[str, Any] = {
    "name": None,
    "status": "active",
    "ai_provider": "echo",
    "system_prompt": "",
    "temperature": None,
    "max_tokens": None,
    "top_p": None,
    "frequency_penalty": None,
    "presence_penalty": None,
    "stream": False,
    "model_parameters": {},
    "agent_framework": "none",
    "memory_strategy": None,
    "is_shared": False,
    "is_public": False,
    "permission": "owner",
}
CHOSEN = {
    "name": "Plans",
    "ai_provider": "echo",
    "ai_model": "echo-9",
    "system_prompt": "Be brief.\n",
    "temperature": 0.3,
    "max_tokens": 500,
    "top_p": 1.0,
    "frequency_penalty": -2.0,
    "presence_penalty": 2.0,
    "stream": True,
    "model_parameters": {"seed": 7, "stop": ["\n"], "deep": {"a": None}},
    "agent_framework": "none",
    "memory_strategy": "default",
    "status": "completed",
}


@pytest.fixture
async def ann(serve: Serve) -> Person:
    return await person(await serve(FREE))


async def test_a_session_with_nothing_chosen(ann: Person) -> None:
    status, made = await ann.ask("POST", "chats/", json={})
    assert status == 201
    rest = {n: v for n, v in made.items() if n not in NEW}
    assert {n: made[n] for n in NEW} == NEW
    assert set(rest) == {"id", "workspace", "user", "ai_model", "shareable_link_id", "created_at", "updated_at"}
    assert (rest["workspace"], rest["user"]) == (ann.home, ann.id)
    assert rest["ai_model"], "the model that would answer"
    assert UUID(rest["shareable_link_id"]).version == 4
    assert rest["created_at"] == rest["updated_at"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", rest["created_at"])
    assert await ann.ask("GET", f"chats/{made['id']}/") == (200, made)
    assert (await ann.ask("POST", "chats/"))[0] == 201, "without a body, too"


async def test_everything_that_can_be_chosen(ann: Person) -> None:
    ignored = {"id": MISSING, "workspace": "w", "user": "u", "is_public": True, "is_shared": True, "color": "red"}
    ignored |= {"shareable_link_id": MISSING, "created_at": "now", "permission": "view"}
    made = await ann.ok("POST", "chats/", json={**CHOSEN, **ignored})
    assert {n: made[n] for n in CHOSEN} == CHOSEN
    assert (made["workspace"], made["user"], made["is_public"], made["is_shared"]) == (ann.home, ann.id, False, False)
    assert MISSING not in (made["id"], made["shareable_link_id"])
    assert await ann.ok("GET", f"chats/{made['id']}/") == made


async def test_changes(ann: Person) -> None:
    for method in ("PUT", "PATCH"):
        await change(ann, method)


async def change(ann: Person, method: str) -> None:
    made = await ann.ok("POST", "chats/", json=CHOSEN)
    path = f"chats/{made['id']}/"
    status, told = await ann.ask(method, path, json={})
    assert (status, told) == (200, made), "what is missing stays"
    for name, value in {**{n: NEW[n] for n in CHOSEN if n in NEW}, "ai_model": "echo-1", "status": "archived"}.items():
        before = await ann.ok("GET", path)
        after = await ann.ok(method, path, json={name: value})
        assert after == {**before, name: value, "updated_at": after["updated_at"]}, name
        assert await ann.ok("GET", path) == after
    ignored = {"shareable_link_id": MISSING, "is_public": True, "user": "bob", "created_at": "x", "id": "y"}
    assert await ann.ok(method, path, json=ignored) == after


async def test_changes_at_once_lose_nothing(ann: Person) -> None:
    session = await ann.session()
    fields = {"name": "n", "temperature": 1.5, "top_p": 0.5, "max_tokens": 9, "system_prompt": "s", "stream": True}
    await asyncio.gather(*[ann.ok("PATCH", f"chats/{session}/", json={n: v}) for n, v in fields.items()])
    found = await ann.ok("GET", f"chats/{session}/")
    assert {n: found[n] for n in fields} == fields


BAD: dict[str, list[Any]] = {
    "name": ["x" * 256, 7, True, [], "a\0b"],
    "status": ["done", None, 1, [], "Active"],
    "ai_provider": ["", "nobody", 7, "x" * 101, "ec\0ho"],
    "ai_model": ["", "  ", 7, "x" * 101, "a\0"],
    "system_prompt": ["x" * 32_001, None, 7, "\0"],
    "temperature": [-0.1, 2.1, "1", True, [], 10**30, 1e300],
    "max_tokens": [0, -1, 1.5, "7", True, 2**31, 10**30],
    "top_p": [-0.01, 1.01, "1", False],
    "frequency_penalty": [-2.01, 2.01, "x", {}],
    "presence_penalty": [-2.01, 2.01, "x", 1e300],
    "stream": ["true", 1, None, 0],
    "model_parameters": [None, [], "x", 7, {"a": "x" * 16_384}, {"a\0": 1}, {"a": [{"b": "\0"}]}],
    "agent_framework": ["langchain", None, 7, "", "x" * 101],
}


async def test_values_that_are_refused(ann: Person) -> None:
    session = await ann.session(name="before")
    before = await ann.ok("GET", f"chats/{session}/")
    deep: Any = 1
    for _ in range(40):
        deep = [deep]
    refused = [(name, value) for name, values in BAD.items() for value in values]
    for name, value in [*refused, ("model_parameters", {"a": deep})]:
        for method, path in (("POST", "chats/"), ("PUT", f"chats/{session}/"), ("PATCH", f"chats/{session}/")):
            status, told = await ann.ask(method, path, json={"name": "after", name: value})
            assert (status, list(told)) == (400, [name]), (value, told)
            assert len(told[name]) == 1
    assert await ann.page("chats/") == [before]


async def test_values_at_their_limits(ann: Person) -> None:
    limits: dict[str, list[Any]] = {
        "name": ["x" * 255, "é" * 255, ""],
        "ai_model": ["x" * 100],
        "system_prompt": ["x" * 32_000, ""],
        "temperature": [0, 2, 0.0, 2.0],
        "max_tokens": [1, 2**31 - 1],
        "top_p": [0, 1],
        "frequency_penalty": [-2, 2],
        "presence_penalty": [-2, 2],
        "model_parameters": [{"a": "x" * (16_384 - 8)}],
    }
    for name, values in limits.items():
        for value in values:
            made = await ann.ok("POST", "chats/", json={name: value})
            assert made[name] == (value or None if name == "name" else value)
    assert (await ann.ok("POST", "chats/", json={"name": "  a  "}))["name"] == "a"


async def test_several_fields_are_refused_together(ann: Person) -> None:
    status, told = await ann.ask("POST", "chats/", json={"temperature": 3, "top_p": "x", "stream": 1, "name": "ok"})
    assert (status, set(told)) == (400, {"temperature", "top_p", "stream"})


async def test_providers_and_frameworks(serve: Serve) -> None:
    config, plugins = scripted(ScriptedProvider(model="scripted-7"))
    config["providers"] = {"main": {"use": "echo"}, "other": {"use": "scripted"}}
    ann = await person(await serve({**config, "default_provider": "other"}, plugins))
    made = await ann.ok("POST", "chats/", json={})
    assert (made["ai_provider"], made["ai_model"]) == ("other", "scripted-7")
    for word in ("main", "other", "echo", "scripted"):
        made = await ann.ok("POST", "chats/", json={"ai_provider": word})
        assert made["ai_provider"] == word
    status, told = await ann.ask("POST", "chats/", json={"ai_provider": "third"})
    assert (status, told) == (400, {"ai_provider": ["Must be one of: main, other."]})
    status, told = await ann.ask("POST", "chats/", json={"agent_framework": "third"})
    assert (status, told) == (400, {"agent_framework": [f"Must be one of: {', '.join(ann.box.services.agents)}."]})
    assert "none" in ann.box.services.agents


OTHER = ScriptedProvider(model="o-1")
TWO: dict[str, Any] = {
    "providers": {"main": {"use": "echo"}, "other": {"use": "scripted"}},
    "default_provider": "main",
    "dialects": ["chat", "convos", "workspaces"],
}


@pytest.fixture
async def two(serve: Serve) -> Person:
    """Somebody on a server with two providers, ``main`` and ``other``."""
    return await person(await serve(TWO, [OTHER]))


async def test_another_provider_answers_with_its_own_model(two: Person) -> None:
    path = f"chats/{await two.session(ai_model='chosen')}/"

    async def after(**fields: Any) -> tuple[str, str]:
        shown = await two.ok("PATCH", path, json=fields)
        return shown["ai_provider"], shown["ai_model"]

    assert await after(ai_provider="main") == ("main", "chosen"), "which it was before"
    assert await after(ai_provider="other") == ("other", "o-1")
    assert await after(ai_model="o-2") == ("other", "o-2")
    assert await after(name="x", ai_provider="other") == ("other", "o-2")
    assert await after(ai_model=None) == ("other", "o-1")
    assert await after(ai_provider="main", ai_model="o-1") == ("main", "o-1"), "what is said holds"
    assert await after(ai_provider="other", ai_model="o-3") == ("other", "o-3")
    assert await after(ai_provider=None) == ("main", "echo-1")
    assert await after(ai_provider=None, ai_model="m") == ("main", "m")
    assert await after(ai_provider=None) == ("main", "m"), "no other provider than before"
    made = await two.ok("POST", "chats/", json={"ai_provider": None, "ai_model": None})
    assert (made["ai_provider"], made["ai_model"]) == ("main", "echo-1")


async def test_what_is_put_as_it_is_shown_chooses_nothing(two: Person) -> None:
    said = await two.ok("POST", "/api/chat", json={"text": "from elsewhere"})
    own, elsewhere = await two.session(), said["conversation_id"]
    await two.ok("POST", "/api/convos/update", json={"arg": {"conversationId": elsewhere, "title": "t" * 600}})
    stored = two.box.services.conversations
    for id in (own, elsewhere, await two.session(**{**CHOSEN, "ai_provider": "main"})):
        before, shown = await stored.open(two.identity, id), await two.ok("GET", f"chats/{id}/")
        for method in ("PUT", "PATCH"):
            assert await two.ok(method, f"chats/{id}/", json=shown) == shown
            assert await stored.open(two.identity, id) == before
    status, told = await two.ask("PUT", f"chats/{elsewhere}/", json={"name": "t" * 601})
    assert (status, told) == (400, {"name": ["Ensure this field has no more than 255 characters."]})


async def test_who_is_gone_from_the_server_stays_chosen(serve: Serve, two: Person) -> None:
    id = await two.session(ai_provider="other", ai_model="m")
    home = two.box.services.workspace_conversations
    agent = Change(settings=lambda there: replace(there, agent="gone"))
    await home.update(two.identity, id, agent)
    two = await person(await serve({**TWO, "providers": {"main": {"use": "echo"}}}))
    shown = await two.ok("GET", f"chats/{id}/")
    assert (shown["ai_provider"], shown["ai_model"], shown["agent_framework"]) == ("other", "m", "gone")
    assert await two.ok("PUT", f"chats/{id}/", json=shown) == shown
    changed = await two.ok("PUT", f"chats/{id}/", json={**shown, "temperature": 1})
    assert changed == {**shown, "temperature": 1.0, "updated_at": changed["updated_at"]}
    assert (await two.ask("POST", "chats/", json=shown))[0] == 400, "a new one cannot begin with it"
    changed = await two.ok("PUT", f"chats/{id}/", json={"ai_provider": "main", "agent_framework": "none"})
    assert (changed["ai_provider"], changed["ai_model"], changed["agent_framework"]) == ("main", "echo-1", "none")
    assert (await two.ask("PUT", f"chats/{id}/", json={"ai_provider": "other"}))[0] == 400


# ---- lists ----------------------------------------------------------------------------------------------------------


async def test_a_list(ann: Person) -> None:
    bob = await person(ann.box, "bob")
    await team(ann, bob)
    for name in ("b 100%", "A_z", "c", "d"):
        await ann.session(name=name)
    shared = await bob.session(name="e, of Bob")
    await bob.session(name="f, of Bob alone")
    await bob.ok("POST", f"chats/{shared}/share/", json={"user_id": ann.id})

    async def names(**query: str) -> list[str]:
        return [s["name"] for s in await ann.page("chats/", **query)]

    assert await names() == ["e, of Bob", "d", "c", "A_z", "b 100%"], "the newest first"
    assert await names(ordering="updated_at") == ["b 100%", "A_z", "c", "d", "e, of Bob"]
    assert await names(ordering="created_at") == ["b 100%", "A_z", "c", "d", "e, of Bob"]
    assert await names(ordering="-created_at") == ["e, of Bob", "d", "c", "A_z", "b 100%"]
    assert await names(ordering="name") == list(reversed(await names(ordering="-name")))
    assert await names(search="BOB") == ["e, of Bob"]
    assert await names(search="%") == ["b 100%"]
    assert await names(search="_") == ["A_z"]
    assert await names(search="a_Z") == ["A_z"]
    assert await names(page_size="2", page="2", ordering="created_at") == ["c", "d"]
    whole = await ann.ok("GET", "chats/", params={"page_size": "2", "ordering": "created_at", "search": ""})
    assert (whole["count"], whole["previous"]) == (5, None)
    assert whole["next"].endswith("?page_size=2&ordering=created_at&search=&page=2")
    (row,) = await ann.page("chats/", search="e, of")
    assert row == await ann.ok("GET", f"chats/{shared}/")
    assert (row["permission"], row["shareable_link_id"], row["user"], row["is_shared"]) == ("view", None, bob.id, True)
    ann.ws = ann.home
    assert await names() == [], "of this workspace only"


async def test_lists_by_status(ann: Person) -> None:
    made = {status: await ann.session(name=status, status=status) for status in ("active", "completed", "archived")}
    for status, id in made.items():
        assert [s["id"] for s in await ann.page("chats/", status=status)] == [id]
    assert len(await ann.page("chats/")) == 3
    await ann.ok("PATCH", f"chats/{made['archived']}/", json={"status": "active"})
    assert await ann.page("chats/", status="archived") == []


async def test_lists_that_are_refused(ann: Person) -> None:
    for name, value in (
        *(("status", "x"), ("status", ""), ("ordering", "id"), ("ordering", "--name")),
        *(("page", "a"), ("page_size", "101")),
    ):
        status, told = await ann.ask("GET", "chats/", params={name: value})
        assert (status, list(told)) == (400, [name])


# ---- together with the other dialects -------------------------------------------------------------------------------


async def test_sessions_and_conversations_are_the_same(ann: Person) -> None:
    said = await ann.ok("POST", "/api/chat", json={"text": "from elsewhere"})
    (row,) = await ann.page("chats/")
    assert (row["id"], row["name"]) == (said["conversation_id"], "from elsewhere")
    assert (row["agent_framework"], row["workspace"], row["permission"]) == ("none", ann.home, "owner")
    await ann.ok("PATCH", f"chats/{row['id']}/", json={"name": "Renamed", "status": "archived"})
    (listed,) = (await ann.ok("GET", "/api/convos?isArchived=true"))["conversations"]
    assert (listed["title"], listed["isArchived"]) == ("Renamed", True)
    await team(ann)
    session = await ann.session(name="Of the team")
    titles = [c["title"] for c in (await ann.ok("GET", "/api/convos"))["conversations"]]
    assert titles == ["Of the team"]
    assert await ann.ask("DELETE", f"chats/{session}/") == (204, None)
    assert (await ann.ask("GET", f"chats/{session}/"))[0] == 404
    assert (await ann.ask("DELETE", f"chats/{session}/"))[0] == 404
    assert (await ann.ok("GET", "/api/convos"))["conversations"] == []
