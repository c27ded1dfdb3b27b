"""Made-up requests to the workspaces dialect: no fault of the server, and what is refused leaves nothing behind."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any
from urllib.parse import quote

import orjson
import pytest
from aiohttp import FormData
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backchat.plugins import Plugins
from backchat.ports.storage import Query
from backchat.testing.server import Box, running
from backchat.web.body import MULTIPART
from backchat.web.dialect import Route
from backchat.web.logs import set_up_logs
from test_fuzz_chat import _json, _query, texts, values
from workspaces_box import FREE, MISSING, Person, person, team

KINDS = ("conversation", "message", "workspace", "membership", "run", "public_link", "session", "usage")
ROUTES = sorted(
    Plugins(from_entry_points=True).dialects["workspaces"].routes,
    key=lambda r: r.method == "DELETE",  # last, for they leave little for the others
)
EXAMPLES = 800 // len(ROUTES) + 1
UNAVAILABLE = 503
"""No model transcribes or translates here."""
NUMBERS = st.one_of(st.integers(-3, 3), st.floats(allow_nan=False, allow_infinity=False), values)
LIKELY: dict[str, st.SearchStrategy[Any]] = {
    **dict.fromkeys(("name", "content", "text", "system_prompt", "ai_model"), st.one_of(texts, texts, values)),
    **dict.fromkeys(
        ("temperature", "max_tokens", "top_p", "frequency_penalty", "presence_penalty", "page", "page_size"), NUMBERS
    ),
    "role": st.one_of(st.sampled_from(["user", "member", "admin", "owner", "tool"]), values),
    "status": st.one_of(st.sampled_from(["active", "completed", "archived", ""]), values),
    "permission": st.one_of(st.sampled_from(["view", "edit"]), values),
    "ai_provider": st.one_of(st.just("echo"), texts, values),
    "agent_framework": st.one_of(st.just("none"), texts, values),
    "model_parameters": st.one_of(st.dictionaries(texts, values, max_size=3), values),
    "stream": st.one_of(st.booleans(), values),
    "search": st.one_of(st.sampled_from(["%", "_", '"']), texts),
    "ordering": st.sampled_from(["name", "-updated_at", "id", ""]),
    "target": st.one_of(st.just("de"), texts),
    "audio_file": st.binary(max_size=50),
}


class Rig:
    """A server on a loop that stands still between requests, so that hypothesis can drive it."""

    def __init__(self, runner: asyncio.Runner, box: Box, ann: Person, ids: dict[str, str]) -> None:
        self.runner, self.box, self.ann, self.ids = runner, box, ann, ids
        self.standing: list[int] = []

    def field(self, name: str) -> st.SearchStrategy[Any]:
        if name in self.ids:
            others = st.sampled_from([*self.ids.values(), MISSING, "regenerate", "%"])
            return st.one_of(st.just(self.ids[name]), st.just(self.ids[name]), others, texts)
        return LIKELY[name] if name in LIKELY else st.one_of(values, st.none())

    async def counts(self) -> list[int]:
        store = self.box.services.runs.store
        return [await store.count(Query(kind=kind)) for kind in KINDS]

    def ask(self, route: Route, path: str, query: Any, body: Any) -> None:
        async def send() -> None:
            answer = await self.ann.raw(route.method, path, params=query, data=body)
            said = await answer.read()
            assert answer.status < 500 or answer.status == UNAVAILABLE, (answer.status, said)
            before, self.standing = self.standing, await self.counts()
            if answer.status < 400:
                return
            assert self.standing == before, said
            told = orjson.loads(said)
            if answer.status == 400:
                assert all(isinstance(text, str) for texts in told.values() for text in texts), told
            else:
                assert set(told) == {"detail", "code"}

        self.runner.run(send())


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    data: Path = tmp_path_factory.mktemp("fuzz")
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()

        async def start() -> Rig:
            sqlite = {"use": "sqlite", "path": {"$data": "backchat.db"}, "synchronous": "NORMAL"}
            box = await stack.enter_async_context(running(data, {**FREE, "storage": sqlite}))
            ann, bob = await person(box), await person(box, "bob")
            ws = await team(ann, bob)
            session = await ann.session(name="Plans")
            said = await ann.send(session, "hello")
            shared = await ann.ok("POST", f"chats/{session}/share/", json={"user_id": bob.id})
            link = await ann.ok("POST", f"chats/{session}/toggle-public/")
            ids = {"workspace_id": ws, "session_id": session, "message_id": said["user_message"]["id"]}
            ids |= {"user_id": bob.id, "email": "bob@example.org", "share_id": shared["id"]}
            run = (await box.services.runs.store.find(Query(kind="run", limit=1)))[0].id
            rig = Rig(runner, box, ann, {**ids, "link_uuid": link["shareable_link_id"], "task_id": run})
            rig.standing = await rig.counts()
            return rig

        yield runner.run(start())
        runner.run(stack.aclose())


def _form(body: dict[str, Any]) -> FormData:
    data = FormData(default_to_multipart=True)
    for name, value in body.items():
        if isinstance(value, bytes):
            data.add_field(name, value, filename="a.wav", content_type="audio/wav")
        else:
            data.add_field(name, _query(value).encode("utf-8", "replace").decode())
    return data


@pytest.mark.parametrize("route", ROUTES, ids=lambda r: f"{r.method} {r.path}")
def test_made_up_requests(rig: Rig, route: Route) -> None:
    named = re.findall(r"{(\w+)", route.path)
    paths = st.fixed_dictionaries({n: rig.field(n) for n in named})
    if (route.method, named) == ("DELETE", ["workspace_id"]):  # what is in it goes later, while others are counted
        paths = st.fixed_dictionaries({"workspace_id": texts})
    queries = st.fixed_dictionaries({}, optional={n: rig.field(n) for n in route.query.fields} if route.query else {})
    wanted = {n: rig.field(n) for n in route.body.fields} if route.body else {}
    objects = st.one_of(st.fixed_dictionaries({}, optional=wanted), st.fixed_dictionaries(wanted))
    others = st.one_of(values.map(_json), st.binary(max_size=30))
    bodies = st.one_of(objects, objects, objects, others) if route.body else st.none()
    set_up_logs("json", "warning")

    @settings(max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(path=paths, query=queries, body=bodies)
    def ask(path: dict[str, Any], query: dict[str, Any], body: Any) -> None:
        filled = re.sub(r"{(\w+)[^}]*}", lambda n: quote(str(path[n[1]])[:99] or "-", safe=""), route.path)
        pairs = {n: _query(v).encode("utf-8", "replace").decode()[:300] for n, v in query.items()}
        data = body
        if isinstance(body, dict):
            data = _form(body) if MULTIPART in route.accepts else _json(body)
        rig.ask(route, filled, pairs, data)

    ask()
