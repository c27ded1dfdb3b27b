"""Thousands of made-up requests on the routes of the threads dialect: no 5xx, and a refusal leaves nothing behind."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import orjson
import pytest
from aiohttp import FormData
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backchat.plugins import Plugins
from backchat.ports.storage import Query
from backchat.testing.server import Box, running
from backchat.web.body import FORM, JSON, MULTIPART
from backchat.web.dialect import Route
from backchat.web.logs import set_up_logs
from sizes import many
from test_fuzz_chat import _json, _query, texts, values
from threads_box import THREADS, WEATHER

KINDS = ("assistant", "conversation", "message", "run", "document", "file")
ROUTES = [r for r in Plugins(from_entry_points=True).dialects["threads"].routes if not r.public]
EXAMPLES = many(6_000) // len(ROUTES) + 1
IDS = ("assistant_id", "thread_id", "run_id", "memory_id", "document_id", "operation_id")


def _some(*likely: Any) -> st.SearchStrategy[Any]:
    return st.one_of(st.sampled_from(likely), values)


LIKELY: dict[str, st.SearchStrategy[Any]] = {
    "name": st.one_of(texts, values),
    "content": st.one_of(texts, texts, values),
    "tools": st.one_of(st.just([WEATHER]), st.just([]), st.lists(values, max_size=2), values),
    "tok_k": _some(1, 100, 101),
    "stream": _some(True, False, "true", "maybe"),
    "send_to_llm": _some("true", "false", "", False),
    "memory": _some("Auto", "off", "readonly", None),
    "memory_pro": _some(None, "Auto"),
    "web_search": _some("Auto", "off"),
    "operation": _some(None, "chat", "generate_image"),
    "image_generation": _some(None, "off", "auto"),
    "video_generation": _some(None, "off", "auto"),
    "voice": _some(None, {}),
    "system_one": _some(None),
    "thinking": _some(None, {}, {"effort": "low"}, {"budget_tokens": 10**30}, {"exclude_reasoning": "x"}),
    "metadata": _some(None, {}, {"custom_timestamp": "2026-01-01"}, {"a": {"b": [1]}}),
    "metadata_": _some(None, {}, {"a": 1}),
    "llm_provider": _some("echo", "Echo", None, "openai"),
    "model_name": _some(None, "gpt-4o"),
    "tool_outputs": st.lists(
        st.one_of(st.fixed_dictionaries({"tool_call_id": texts, "output": values}), values), max_size=2
    ),
    "limit": _some(1, 50, 200, 10**30),
    "skip": _some(0, 10**9, 10**30),
    "page": _some(1, 10**9, 10**30),
    "page_size": _some(1, 100),
    "query": st.one_of(texts, values),
}


class Rig:
    """A server on a loop that stands still between requests, so that hypothesis can drive it."""

    def __init__(self, runner: asyncio.Runner, box: Box, who: dict[str, str], ids: dict[str, str]) -> None:
        self.runner, self.box, self.who, self.ids = runner, box, who, ids
        self.standing: list[int] = []

    def field(self, name: str) -> st.SearchStrategy[Any]:
        if name in self.ids:
            return st.one_of(st.just(self.ids[name]), st.sampled_from([*self.ids.values(), "none", "../x", "%"]))
        return LIKELY[name] if name in LIKELY else st.one_of(values, st.none(), st.none())

    async def counts(self) -> list[int]:
        store = self.box.services.runs.store
        return [await store.count(Query(kind=kind)) for kind in KINDS]

    def ask(self, route: Route, path: str, query: Any, body: Any, headers: dict[str, str]) -> None:
        async def send() -> None:
            answer = await self.box.client.request(
                route.method, f"/api{path}", params=query, data=body, headers={**headers, **self.who}
            )
            said = await answer.read()
            assert answer.status < 500, (answer.status, said)
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
            sqlite = {"use": "sqlite", "path": {"$data": "backchat.db"}, "synchronous": "NORMAL"}
            box = await stack.enter_async_context(running(data, {**THREADS, "storage": sqlite}))
            who = await box.key()
            said: dict[str, str] = {}
            for path, body in (
                ("/threads/messages", {"content": "My name is Ann.", "memory": "Auto"}),
                ("/assistants/{assistant_id}/memories", {"content": "Likes tea."}),
            ):
                answer = await box.client.post("/api" + path.format(**said), json=body, headers=who)
                assert answer.status == 200
                said |= await answer.json()
            file = FormData()
            file.add_field("file", b"words", filename="a.txt")
            path = f"/api/threads/{said['thread_id']}/documents"
            said |= await (await box.client.post(path, data=file, headers=who)).json()
            ids = {name: said[name] for name in IDS if name in said}
            rig = Rig(runner, box, who, {**ids, "operation_id": said["memory_operation_id"]})
            rig.standing = await rig.counts()
            return rig

        yield runner.run(start())
        runner.run(stack.aclose())


def _body(kind: str, fields: Any) -> tuple[Any, dict[str, str]]:
    if kind == JSON or not isinstance(fields, dict):
        return (fields if isinstance(fields, bytes) else _json(fields)), {"Content-Type": kind}
    if kind == FORM:
        pairs = {name: _query(value) for name, value in fields.items()}
        return urlencode(pairs, errors="replace"), {"Content-Type": kind}
    data = FormData(default_to_multipart=True)
    for name, value in fields.items():
        text = _query(value).encode("utf-8", "replace").decode()
        if name in ("file", "files", "audio_file"):
            data.add_field(name, text.encode(), filename=re.sub(r"[\x00-\x1f\x7f]", "_", text[:9]) + ".txt")
        else:
            data.add_field(name, text)
    return data, {}


@pytest.mark.parametrize("route", ROUTES, ids=lambda r: f"{r.method} {r.path}")
def test_made_up_requests(rig: Rig, route: Route) -> None:
    names = re.findall(r"{(\w+)", route.path)
    paths = st.fixed_dictionaries({n: rig.field(n) if n in rig.ids else texts for n in names})
    fields = {n: rig.field(n) for n in route.query.fields} if route.query else {}
    queries = st.fixed_dictionaries({}, optional=fields)
    wanted = {f.data_key or n: rig.field(f.data_key or n) for n, f in route.body.fields.items()} if route.body else {}
    need = {n: s for n, s in wanted.items() if n == "content" or (route.body and n in _required(route)) or n == "file"}
    objects = st.fixed_dictionaries(need, optional={n: s for n, s in wanted.items() if n not in need})
    sparse = st.fixed_dictionaries(need)
    bodies = st.one_of(objects, sparse, sparse, st.binary(max_size=30)) if route.body else st.none()
    kinds = st.sampled_from([k for k in (JSON, FORM, MULTIPART) if k in route.accepts])

    set_up_logs("json", "warning")

    @settings(max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(path=paths, query=queries, body=bodies, kind=kinds)
    def ask(path: dict[str, Any], query: dict[str, Any], body: Any, kind: str) -> None:
        filled = re.sub(r"{(\w+)[^}]*}", lambda n: quote(str(path[n[1]]), safe=""), route.path)
        pairs = {n: _query(v).encode("utf-8", "replace").decode()[:300] for n, v in query.items()}
        data, headers = _body(kind, body) if body is not None else (None, {})
        rig.ask(route, filled, pairs, data, headers)

    ask()


def _required(route: Route) -> set[str]:
    assert route.body is not None
    return {name for name, field in route.body.fields.items() if field.required}
