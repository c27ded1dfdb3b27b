"""Who may do what: every route of the dialect, and everybody who may stand to a session in some way.

The table is the specification. A route without a row in it fails, and so does a row without a route.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import pytest
from aiohttp import FormData

from backchat.plugins import Plugins
from backchat.ports.storage import Query
from backchat.services.saying import Say
from backchat.services.workspace_conversations import Change
from backchat.testing.server import Box, running
from backchat.web.body import MULTIPART
from backchat.web.dialect import Route
from backchat.web.logs import set_up_logs
from workspaces_box import FREE, Person, person

STANDINGS = ("owner", "edit", "view", "chief", "admin", "member", "stranger", "nobody", "revoked", "left")
"""Of the session: its owner, a plain member of the workspace; with whom it is shared, to edit and to view.

Of the workspace: its owner, an admin, another member. Then a user who is in neither; somebody who is not logged in; one
whose share, to edit, was taken back a moment ago; and one who had such a share and has left the workspace a moment ago.
"""
FREE_FOR_USERS = "ok  ok  ok  ok  ok  ok  ok  401 ok  ok"
MEMBERS = "       ok  ok  ok  ok  ok  ok  404 401 ok  404"
MANAGERS = "      403 403 403 ok  ok  403 404 401 403 404"
CHIEF = "         403 403 403 ok  403 403 404 401 403 404"
READERS = "       ok  ok  ok  404 404 404 404 401 404 404"
WRITERS = "       ok  ok  403 404 404 404 404 401 404 404"
OWNER = "         ok  403 403 404 404 404 404 401 404 404"
ANYBODY = "       any any any any any any any any any any"
"""It makes no difference who asks: all get the same answer."""
WS = "/api/workspaces/{workspace_id}/"
SESSION = f"{WS}chats/{{session_id}}/"
RIGHTS: Mapping[str, str] = {
    "GET /api/workspaces/": FREE_FOR_USERS,
    "POST /api/workspaces/": FREE_FOR_USERS,
    f"GET {WS}": MEMBERS,
    f"PUT {WS}": MANAGERS,
    f"PATCH {WS}": MANAGERS,
    f"DELETE {WS}": CHIEF,
    f"GET {WS}members/": MEMBERS,
    f"POST {WS}members/": MANAGERS,
    f"DELETE {WS}members/{{user_id}}/": MANAGERS,
    f"GET {WS}chats/": MEMBERS,
    f"POST {WS}chats/": MEMBERS,
    f"GET {SESSION}": READERS,
    f"PUT {SESSION}": OWNER,
    f"PATCH {SESSION}": OWNER,
    f"DELETE {SESSION}": OWNER,
    f"POST {SESSION}toggle-public/": OWNER,
    f"POST {SESSION}share/": OWNER,
    f"GET {SESSION}shares/": OWNER,
    f"POST {SESSION}revoke-share/": OWNER,
    f"GET {SESSION}messages/": READERS,
    f"POST {SESSION}messages/": WRITERS,
    f"POST {SESSION}messages/regenerate/": WRITERS,
    f"GET {SESSION}messages/agent-task-status/{{task_id}}/": READERS,
    f"GET {SESSION}messages/{{message_id}}/": READERS,
    f"DELETE {SESSION}messages/{{message_id}}/": OWNER,
    "GET /api/chats/shared/{link_uuid}/": ANYBODY,
    "POST /api/transcribe-audio/": MEMBERS,
    f"GET {WS}translate/": MEMBERS,
    f"POST {WS}translate/": MEMBERS,
    "GET /api/users/credit-usage/": FREE_FOR_USERS,
    "POST /auth/jwt/create/": ANYBODY,
    "POST /auth/jwt/refresh/": ANYBODY,
    "POST /auth/jwt/verify/": ANYBODY,
}
MISSING_HERE = (503,)
"""What is allowed and yet not to be had: this server has no model that transcribes or translates."""
BY_BODY = ("POST /api/transcribe-audio/", f"POST {SESSION}revoke-share/")
"""Here the body says what it is about: there is nothing to refuse before it is read."""
KINDS = ("conversation", "message", "workspace", "membership", "run", "public_link", "session")
ROUTES = Plugins(from_entry_points=True).dialects["workspaces"].routes


def named(route: Route) -> str:
    return f"{route.method} {re.sub(r':[^{}]+}', '}', route.path)}"


def test_the_table_has_every_route_once() -> None:
    assert sorted(RIGHTS) == sorted(named(r) for r in ROUTES)


@dataclass(frozen=True)
class Place:
    """A workspace with a session in it; ``bodies`` and ``query`` that fit the routes, by the names of their fields."""

    ids: Mapping[str, str]
    fields: Mapping[str, Any]


class Rig:
    """A server on a loop that stands still between tests, and the same people in every one of them."""

    def __init__(self, runner: asyncio.Runner, box: Box, people: Mapping[str, Person]) -> None:
        self.runner, self.box, self.people = runner, box, people

    async def place(self) -> Place:
        """A new one, so that nothing that was done before plays a part."""
        services, who = self.box.services, {n: p.identity for n, p in self.people.items()}
        ws = (await services.workspaces.create(who["chief"], "Team")).id
        for name, one in self.people.items():
            if name not in ("chief", "stranger", "new"):
                await services.workspaces.add(who["chief"], ws, "admin" if name == "admin" else "member", user=one.id)
        begin = services.workspace_conversations.create
        session = (await begin(who["owner"], ws, Change(title="Plans"), channel="workspaces")).id
        share = services.grants.give
        for name in ("edit", "revoked", "left", "view", "other"):
            await share(who["owner"], session, "view" if name == "view" else "edit", user=self.people[name].id)
        run = await services.turns.say(who["owner"], Say(text="hello", conversation=session))
        await services.runs.result(who["owner"], run.id)
        link = (await services.publishing.toggle(who["owner"], session)).link
        await services.grants.revoke(who["owner"], session, user=self.people["revoked"].id)
        await services.workspaces.remove(who["left"], ws, self.people["left"].id)
        return Place(
            {
                "workspace_id": ws,
                "session_id": session,
                "message_id": run.input,
                "task_id": run.id,
                "user_id": self.people["other"].id,
                "link_uuid": link,
            },
            {
                "name": "New name",
                "content": "hello",
                "text": "hello",
                "target": "de",
            },
        )

    def body(self, route: Route, place: Place) -> dict[str, Any]:
        """What makes the route succeed."""
        if MULTIPART in route.accepts:
            form = FormData()
            form.add_field("workspace_id", place.ids["workspace_id"])
            form.add_field("audio_file", b"RIFF----WAVEfmt ", filename="a.wav", content_type="audio/wav")
            return {"data": form}
        if route.body is None:
            return {}
        if named(route).endswith(("revoke-share/", "share/", "members/")):
            to = "new" if route.path.endswith("members/") else "admin" if route.path.endswith("/share/") else "other"
            return {"json": {"user_id": self.people[to].id}}
        return {"json": {n: place.fields[n] for n in route.body.fields if n in place.fields}}

    async def ask(self, route: Route, place: Place, standing: str, **body: Any) -> tuple[int, bytes]:
        path = re.sub(r"{(\w+)[^}]*}", lambda name: place.ids[name[1]], route.path)
        query = {n: place.fields[n] for n in route.query.fields if n in place.fields} if route.query else {}
        headers = self.people[standing].headers if standing != "nobody" else {}
        answer = await self.box.client.request(route.method, path, params=query, headers=headers, **body)
        return answer.status, await answer.read()

    async def standing(self, place: Place) -> list[Any]:
        """What there is."""
        store = self.box.services.runs.store
        ids = place.ids
        records = [
            await store.get("conversation", ids["session_id"]),
            await store.get("workspace", ids["workspace_id"]),
            await store.get("message", ids["message_id"]),
            await store.get("membership", f"{ids['workspace_id']}.{ids['user_id']}"),
        ]
        assert None not in records
        return [records, [await store.count(Query(kind=kind)) for kind in KINDS]]


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    data = tmp_path_factory.mktemp("rights")
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()

        async def start() -> Rig:
            set_up_logs("json", "warning")
            sqlite = {"use": "sqlite", "path": {"$data": "backchat.db"}, "synchronous": "NORMAL"}
            box = await stack.enter_async_context(running(data, {**FREE, "storage": sqlite}))
            names = [name for name in STANDINGS if name != "nobody"]
            people = {name: await person(box, name) for name in (*names, "other", "new")}
            for one in people.values():
                await one.page("/api/workspaces/")
            return Rig(runner, box, people)

        yield runner.run(start())
        runner.run(stack.aclose())


@pytest.mark.parametrize("route", ROUTES, ids=named)
def test_who_may(rig: Rig, route: Route) -> None:
    set_up_logs("json", "warning")
    expected = dict(zip(STANDINGS, RIGHTS[named(route)].split(), strict=True))

    async def everybody() -> None:
        place = await rig.place()
        before = await rig.standing(place)
        same = {await rig.ask(route, place, s, **rig.body(route, place)) for s in STANDINGS if expected[s] == "any"}
        assert len(same) == ("any" in expected.values()), same
        assert {status for status, _ in same} <= {200, 400}, "who asks was looked at"
        for standing, wanted in expected.items():
            if wanted in ("ok", "any"):
                continue
            bodies = [rig.body(route, place)]
            if route.body is not None and named(route) not in BY_BODY:
                bodies.append({"data": b"{"})  # the right comes first, so that an unfit body tells nobody more
            for body in bodies:
                status, said = await rig.ask(route, place, standing, **body)
                assert str(status) == wanted, (standing, status, said)
                assert await rig.standing(place) == before, f"{standing} changed something"
        for standing, wanted in expected.items():
            if wanted == "ok":
                place = place if route.method == "GET" else await rig.place()
                status, said = await rig.ask(route, place, standing, **rig.body(route, place))
                assert 200 <= status < 300 or status in MISSING_HERE, (standing, status, said)

    rig.runner.run(everybody())


def test_everybody_may_leave(rig: Rig) -> None:
    """A member the workspace, a recipient the session: nobody has to ask for that."""

    async def leave() -> None:
        place = await rig.place()
        ws, session = place.ids["workspace_id"], place.ids["session_id"]
        for standing in ("edit", "view"):
            one = rig.people[standing]
            revoke = f"/api/workspaces/{ws}/chats/{session}/revoke-share/"
            assert (await one.ask("POST", revoke, json={"user_id": one.id}))[0] == 204
            assert (await one.ask("GET", f"/api/workspaces/{ws}/chats/{session}/"))[0] == 404
        for standing in ("owner", "edit", "view", "admin", "member", "revoked"):
            one = rig.people[standing]
            assert (await one.ask("DELETE", f"/api/workspaces/{ws}/members/{one.id}/"))[0] == 204
            assert (await one.ask("GET", f"/api/workspaces/{ws}/"))[0] == 404

    rig.runner.run(leave())
