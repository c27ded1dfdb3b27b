"""Made-up requests on the routes of the convos dialect: no fault of the server, and a refusal leaves nothing behind."""

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
from marshmallow import fields

from backchat.plugins import Plugins
from backchat.ports.storage import Query
from backchat.testing.server import Box, running
from backchat.web.body import MULTIPART
from backchat.web.dialect import Route
from backchat.web.logs import set_up_logs
from convos_box import FREE, MISSING, ROOT, convos, tree
from test_fuzz_chat import _json, _query, texts, values

KINDS = ("conversation", "message", "tag", "share", "file")
ROUTES = sorted(
    [r for r in Plugins(from_entry_points=True).dialects["convos"].routes if not r.public],
    key=lambda r: r.method == "DELETE",  # last, for they leave little for the others
)
EXAMPLES = 800 // len(ROUTES) + 1
PART = st.one_of(
    st.fixed_dictionaries({"type": st.just("text"), "text": texts}),
    st.fixed_dictionaries({"type": st.just("tool_call"), "tool_call": values}),
    st.fixed_dictionaries({"type": texts}),
)
LIKELY: dict[str, st.SearchStrategy[Any]] = {
    "title": st.one_of(texts, values),
    "isArchived": st.one_of(st.booleans(), values),
    "pinned": st.one_of(st.booleans(), values),
    "option": st.one_of(st.sampled_from(["directPath", "branch", "targetLevel", "", None]), values),
    "splitAtTarget": st.one_of(st.booleans(), values),
    "text": st.one_of(texts, texts, values),
    "content": st.one_of(st.lists(PART, max_size=3), values),
    "metadata": st.one_of(st.just({"a": 1}), values),
    "index": st.one_of(st.integers(-1, 3), values),
    "tag": st.one_of(st.just("red"), texts, values),
    "tags": st.one_of(st.lists(texts, max_size=3), values),
    "position": st.one_of(st.integers(-(10**30), 10**30), values),
    "targetMessageIndex": st.one_of(st.integers(-2, 20), values),
    "sortBy": st.sampled_from(["updatedAt", "createdAt", "title", "archivedAt", "endpoint", ""]),
    "sortDirection": st.sampled_from(["asc", "desc"]),
    "format": st.sampled_from(["librechat", "markdown", "backchat", "zip", "jsonl"]),
    "search": st.one_of(st.sampled_from(["root", "U0 ", '"', "* -", "a:b"]), texts),
    "cursor": st.one_of(st.sampled_from(["e30=", "eyJvZiI6W10sImlkIjoxfQ=="]), texts),
    "file": st.one_of(values.map(_json), st.binary(max_size=50)),
}


class Rig:
    """A server on a loop that stands still between requests, so that hypothesis can drive it."""

    def __init__(self, runner: asyncio.Runner, box: Box, who: dict[str, str], ids: dict[str, str]) -> None:
        self.runner, self.box, self.who, self.ids = runner, box, who, ids
        self.standing: list[int] = []

    def field(self, name: str, field: fields.Field[Any] | None = None) -> st.SearchStrategy[Any]:
        if isinstance(field, fields.Nested):
            inner = {n: self.field(n) for n in field.schema.fields}
            return st.one_of(st.fixed_dictionaries({}, optional=inner), st.fixed_dictionaries(inner), values)
        if name in self.ids:
            return st.one_of(st.just(self.ids[name]), st.sampled_from([*self.ids.values(), MISSING, ROOT, "new", "%"]))
        return LIKELY[name] if name in LIKELY else st.one_of(values, st.none())

    async def counts(self) -> list[int]:
        store = self.box.services.runs.store
        return [await store.count(Query(kind=kind)) for kind in KINDS]

    def ask(self, route: Route, path: str, query: Any, body: Any) -> None:
        async def send() -> None:
            answer = await self.box.client.request(route.method, path, params=query, data=body, headers=self.who)
            said = await answer.read()
            told: Any = orjson.loads(said) if answer.content_type == "application/json" else None
            refused_file = answer.status == 500 and told is not None and told.get("imported") == 0
            assert answer.status < 500 or refused_file, (answer.status, said)
            before, self.standing = self.standing, await self.counts()
            if answer.status >= 400:
                assert self.standing == before, said
                assert not said or refused_file or set(told) == {"error"} or "message" in told

        self.runner.run(send())


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    data: Path = tmp_path_factory.mktemp("fuzz")
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()

        async def start() -> Rig:
            sqlite = {"use": "sqlite", "path": {"$data": "backchat.db"}, "synchronous": "NORMAL"}
            free = {"use": "convos", **dict.fromkeys(("fork_per_user", "fork_per_address"), "off")}
            free |= dict.fromkeys(("import_per_user", "import_per_address"), "off")
            box = await stack.enter_async_context(running(data, {**FREE, "storage": sqlite, "dialects": [free]}))
            ann = await convos(box)
            made = await tree(ann)
            link = await ann.ok("POST", f"/api/share/{made['id']}", json={})
            _, job = await ann.upload(b"[]", query="?background=true")
            message, other = made["U2"]["messageId"], made["A5"]["messageId"]
            ids = {"conversationId": made["id"], "messageId": message, "parentMessageId": message}
            ids |= {"targetMessageId": message, "latestMessageId": other, "shareId": link["shareId"]}
            rig = Rig(runner, box, dict(ann.who), {**ids, "job": job["jobId"]})
            rig.standing = await rig.counts()
            return rig

        yield runner.run(start())
        runner.run(stack.aclose())


def _form(body: dict[str, Any]) -> FormData:
    data = FormData(default_to_multipart=True)
    for name, value in body.items():
        data.add_field(name, value, filename="a.json")
    return data


@pytest.mark.parametrize("route", ROUTES, ids=lambda r: f"{r.method} {r.path}")
def test_made_up_requests(rig: Rig, route: Route) -> None:
    paths = st.fixed_dictionaries(
        {n: rig.field(n) if n in rig.ids else texts for n in re.findall(r"{(\w+)", route.path)}
    )
    queries = st.fixed_dictionaries({}, optional={n: rig.field(n) for n in route.query.fields} if route.query else {})
    wanted = {n: rig.field(n, f) for n, f in route.body.fields.items()} if route.body else {}
    objects = st.one_of(st.fixed_dictionaries({}, optional=wanted), st.fixed_dictionaries(wanted))
    others = st.one_of(values.map(_json), st.binary(max_size=30))
    bodies = st.one_of(objects, objects, objects, others) if route.body else st.none()
    set_up_logs("json", "warning")

    @settings(max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(path=paths, query=queries, body=bodies)
    def ask(path: dict[str, Any], query: dict[str, Any], body: Any) -> None:
        filled = re.sub(r"{(\w+)}", lambda n: quote(str(path[n[1]]), safe=""), route.path)
        pairs = {n: _query(v).encode("utf-8", "replace").decode()[:300] for n, v in query.items()}
        data = body
        if isinstance(body, dict):
            data = _form(body) if MULTIPART in route.accepts else _json(body)
        rig.ask(route, filled, pairs, data)

    ask()
