"""Ten thousand made-up requests on the routes of the chat dialect: no 5xx, and a refusal leaves nothing behind."""

from __future__ import annotations

import asyncio
import json
import string
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any
from urllib.parse import quote

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backchat.plugins import Plugins
from backchat.ports.storage import Query
from backchat.testing.server import Box, running
from backchat.web.dialect import Route
from backchat.web.logs import set_up_logs
from sizes import many

KINDS = ("conversation", "message", "run", "file", "file_chunk", "idempotency")
ROUTES = Plugins(from_entry_points=True).dialects["chat"].routes
EXAMPLES = many(10_000) // len(ROUTES) + 1

texts = st.one_of(
    st.text(max_size=40), st.sampled_from(["", " ", "\x00", "'; DROP TABLE message; --", "a" * 5000, "\u2028"])
)
scalars = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(allow_nan=False, allow_infinity=False), texts
)
values = st.recursive(scalars, lambda v: st.lists(v, max_size=3) | st.dictionaries(texts, v, max_size=3), max_leaves=6)
LIKELY: dict[str, st.SearchStrategy[Any]] = {
    "text": st.one_of(texts, values),
    "provider": st.one_of(st.sampled_from(["default", "echo", "groq", "claude", "x"]), values),
    "mood": st.one_of(st.sampled_from(["serious", "friendly", "normal", None]), values),
    "web": st.one_of(st.booleans(), values),
    "image_base64": st.one_of(st.sampled_from(["aGk=", "aGk", "====", ""]), values),
    "image_mime": st.one_of(st.sampled_from(["image/png", "text/html", "image/"]), values),
    "allow": st.one_of(st.booleans(), values),
    "calls": st.one_of(st.lists(st.sampled_from(["c1", ""]), max_size=2), values),
    "reason": st.one_of(texts, values),
    "keep_count": st.one_of(st.integers(-2, 5), values),
    "limit": st.one_of(st.integers(-2, 120), values),
    "after": st.one_of(st.integers(-2, 9), values),
    "channel": texts,
}
HEADERS = st.fixed_dictionaries(
    {},
    optional={
        "Idempotency-Key": st.text(string.printable[:94], max_size=8),
        "Last-Event-ID": st.one_of(st.integers(-1, 99).map(str), st.text(string.printable[:94], max_size=5)),
        "Accept": st.sampled_from(["text/event-stream", "application/json", "*/*"]),
        "X-Request-ID": st.text(string.printable[:94], max_size=5),
    },
)


class Rig:
    """A server on a loop that stands still between requests, so that hypothesis can drive it."""

    def __init__(self, runner: asyncio.Runner, box: Box, who: dict[str, str], ids: dict[str, str]) -> None:
        self.runner, self.box, self.who, self.ids = runner, box, who, ids
        self.standing: list[int] = []

    def ids_for(self, name: str) -> st.SearchStrategy[Any]:
        return st.one_of(st.just(self.ids[name]), st.sampled_from([*self.ids.values(), "none", "../x", "%"]))

    def field(self, name: str) -> st.SearchStrategy[Any]:
        return st.one_of(self.ids_for(name), values) if name in self.ids else LIKELY[name]

    async def counts(self) -> list[int]:
        store = self.box.services.runs.store
        return [await store.count(Query(kind=kind)) for kind in KINDS]

    def ask(self, route: Route, path: str, query: Any, body: bytes | None, headers: dict[str, str]) -> None:
        async def send() -> None:
            answer = await self.box.client.request(
                route.method, f"/api{path}", params=query, data=body, headers={**headers, **self.who}
            )
            said = await answer.read()
            assert answer.status < 500 or (answer.status == 503 and b"not configured" in said), (answer.status, said)
            before, self.standing = self.standing, await self.counts()
            if answer.status >= 400:
                assert self.standing == before, said
                assert set(orjson.loads(said)) == {"detail"}

        self.runner.run(send())


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    data: Path = tmp_path_factory.mktemp("fuzz")
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()

        async def start() -> Rig:
            config = {"storage": {"use": "sqlite", "path": {"$data": "backchat.db"}, "synchronous": "NORMAL"}}
            box = await stack.enter_async_context(running(data, config))
            who = await box.key()
            answer = await box.client.post("/api/chat/stream", json={"text": "hi"}, headers=who)
            meta = orjson.loads((await answer.read()).split(b"data: ")[1].split(b"\n")[0])
            rig = Rig(runner, box, who, {n: meta[n] for n in ("conversation_id", "run_id")})
            rig.standing = await rig.counts()
            return rig

        yield runner.run(start())
        runner.run(stack.aclose())


def _query(value: Any) -> str:
    return value if isinstance(value, str) else _json(value).decode("utf-8", "replace")


def _json(value: Any) -> bytes:
    try:
        return orjson.dumps(value)
    except TypeError:  # an integer past 64 bits, which JSON itself allows
        return json.dumps(value).encode("utf-8", "surrogatepass")


@pytest.mark.parametrize("route", ROUTES, ids=lambda r: f"{r.method} {r.path}")
def test_made_up_requests(rig: Rig, route: Route) -> None:
    names = [part[1:-1] for part in route.path.split("/") if part.startswith("{")]
    paths = st.fixed_dictionaries({n: rig.ids_for(n) for n in names})
    fields = {n: rig.field(n) for n in route.query.fields} if route.query else {}
    queries = st.fixed_dictionaries({}, optional=fields)
    wanted = {n: rig.field(n) for n in route.body.fields} if route.body else {}
    required = {n: s for n, s in wanted.items() if route.body and route.body.fields[n].required}
    optional = {n: s for n, s in wanted.items() if n not in required}
    objects = st.one_of(st.fixed_dictionaries(required, optional=optional), st.fixed_dictionaries({}, optional=wanted))
    bodies = (
        st.one_of(objects, objects, objects, values).map(_json) | st.binary(max_size=30) if route.body else st.none()
    )

    set_up_logs("json", "warning")

    @settings(max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(path=paths, query=queries, body=bodies, headers=HEADERS)
    def ask(path: dict[str, str], query: dict[str, Any], body: bytes | None, headers: dict[str, str]) -> None:
        filled = route.path.format(**{n: quote(v, safe="") for n, v in path.items()})
        pairs = {n: _query(v).encode("utf-8", "replace").decode()[:300] for n, v in query.items()}
        rig.ask(route, filled, pairs, body, headers)

    ask()


def test_afterwards_everything_adds_up(rig: Rig) -> None:
    async def check() -> None:
        store = rig.box.services.runs.store
        last: tuple[str] | None = None
        while page := await store.find(Query(kind="conversation", after=last, limit=500)):
            for record in page:
                assert record.doc["active_run"] is None
                mine = Query(kind="message", where=(("conversation", (record.id,)),), limit=10_000)
                messages = await store.find(mine)
                assert record.doc["messages"] == len(messages)
                assert record.doc["characters"] == sum(len(m.doc["text"]) for m in messages)
            last = (page[-1].id,)
        assert await store.count(Query(kind="run", where=(("status", ("running",)),))) == 0

    rig.runner.run(check())
