"""Made-up requests to the vault dialect: no fault of the server, and what is refused leaves nothing behind."""

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
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backchat.plugins import Plugins
from backchat.ports.storage import Query
from backchat.testing.server import running
from backchat.web.dialect import Route
from backchat.web.logs import set_up_logs
from sizes import many
from test_fuzz_chat import _json, _query, texts, values
from vault_http import HI, Caller, caller, sealed

VAULT = ("vault_entry", "vault_version", "vault_content", "vault_nonce", "vault_counter", "vault_keyring")
KINDS = (*VAULT, "api_key", "conversation", "message", "tag")
ROUTES = sorted(
    Plugins(from_entry_points=True).dialects["vault"].routes,
    key=lambda r: r.method == "DELETE",  # last, for they leave little for the others
)
EXAMPLES = many(3200) // len(ROUTES) + 1
ENDLESS = {"use": "vault", "keys_per_user": "off"}
BY_STATUS = {
    400: "bad_request",
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    409: "conflict",
    413: "payload_too_large",
    422: "validation_error",
}
NUMBERS = st.one_of(st.integers(-2, 4), st.integers(-(2**70), 2**70), values)
MESSAGES = st.fixed_dictionaries(
    {},
    optional={
        "role": st.one_of(st.sampled_from(["user", "assistant", "system", "tool"]), values),
        "content": st.one_of(texts, texts, values),
        "timestamp": st.one_of(
            st.datetimes(timezones=st.timezones()).map(lambda t: t.isoformat()),
            st.sampled_from(["2016-12-31T23:59:60Z", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-12:00"]),
            values,
        ),
    },
)
BASE64 = st.one_of(
    st.sampled_from([sealed("a")["iv"], sealed("a")["encryptedContent"], "A" * 22 + "=="]), texts, values
)
LIKELY: dict[str, st.SearchStrategy[Any]] = {
    "chatId": st.one_of(st.sampled_from(["c1", "c2"]), texts, values),
    "messages": st.one_of(st.lists(st.one_of(st.just(HI), MESSAGES), max_size=4), st.just([HI]), values),
    **dict.fromkeys(("title", "category", "topic", "model", "name", "search"), st.one_of(texts, values)),
    "platform": st.one_of(st.just("ollama"), texts, values),
    "tags": st.one_of(st.lists(st.one_of(texts, values), max_size=4), values),
    "tag": st.one_of(st.just("a"), texts),
    **dict.fromkeys(("baseVersion", "messageCount", "limit", "offset"), NUMBERS),
    **dict.fromkeys(("iv", "encryptedContent"), BASE64),
    "contentHash": st.one_of(st.sampled_from(["a" * 64, "A" * 64]), values),
    "scopes": st.one_of(st.lists(st.sampled_from(["push", "pull", "vault", "x", ""]), max_size=3), values),
    "expiresAt": st.one_of(
        st.sampled_from(["2099-01-01T00:00:00Z", "9999-12-31T23:59:59-23:59", "2001-01-01T00:00:00Z"]), values
    ),
    "abandon": st.one_of(st.booleans(), values),
}


class Rig:
    """A server on a loop that stands still between requests, so that hypothesis can drive it."""

    def __init__(self, runner: asyncio.Runner, ann: Caller, ids: dict[str, Any]) -> None:
        self.runner, self.ann, self.ids = runner, ann, ids
        self.standing: list[Any] = []

    def field(self, name: str) -> st.SearchStrategy[Any]:
        if name in self.ids:
            others = st.sampled_from([*self.ids.values(), 0, 99, 2**53, "%", ".."])
            return st.one_of(st.just(self.ids[name]), st.just(self.ids[name]), others, texts)
        return LIKELY[name]

    async def stands(self) -> list[Any]:
        """All that there is of the vault, with its versions, and how much of what hangs on it."""
        store = self.ann.box.services.runs.store
        found: list[Any] = []
        for kind in KINDS:
            if kind in VAULT:
                records = await store.find(Query(kind=kind, limit=10_000))
                found.append([(r.id, r.version) for r in records])
            else:
                found.append(await store.count(Query(kind=kind)))
        return found

    def ask(self, route: Route, path: str, query: Any, body: bytes | None) -> None:
        async def send() -> None:
            answer = await self.ann.raw(route.method, path, params=query, data=body)
            said = await answer.read()
            assert answer.status < 500, (answer.status, said)
            assert answer.headers["Cache-Control"] == "no-store"
            before, self.standing = self.standing, await self.stands()
            if answer.status < 400:
                return
            assert self.standing == before, said
            told = orjson.loads(said)
            expected = {"success", "error", "message"}
            if answer.status == 422:
                expected.add("details")
                assert told["details"]
                assert all(isinstance(text, str) for texts in told["details"].values() for text in texts), told
            assert (told["success"], told["error"]) == (False, BY_STATUS[answer.status])
            assert set(told) - {"version"} == expected

        self.runner.run(send())


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    data: Path = tmp_path_factory.mktemp("fuzz")
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()

        async def start() -> Rig:
            sqlite = {"use": "sqlite", "path": {"$data": "backchat.db"}, "synchronous": "NORMAL"}
            box = await stack.enter_async_context(running(data, {"storage": sqlite, "dialects": ["convos", ENDLESS]}))
            ann = await caller(box)
            entry = (await ann.push("c1", title="Plans", tags=["a"]))["entryId"]
            token = await ann.ok("POST", "/vault/tokens", json={"name": "other"})
            recovery = (await ann.ok("POST", "/vault/recovery"))["recoveryKey"]
            key = (await ann.key()).id
            ids = {"entryId": entry, "version": 1, "tokenId": token["id"], "recoveryKey": recovery, "keyId": key}
            rig = Rig(runner, ann, ids)
            rig.standing = await rig.stands()
            return rig

        yield runner.run(start())
        runner.run(stack.aclose())


@pytest.mark.parametrize("route", ROUTES, ids=lambda r: f"{r.method} {r.path}")
def test_made_up_requests(rig: Rig, route: Route) -> None:
    named = re.findall(r"{(\w+)", route.path)
    paths = st.fixed_dictionaries({n: rig.field(n) for n in named})
    if named == ["tokenId"]:  # the one that asks stays
        mine = rig.ann.token.split("_")[1]
        paths = paths.filter(lambda path: path["tokenId"] != mine)
    queries = st.fixed_dictionaries({}, optional={n: rig.field(n) for n in route.query.fields} if route.query else {})
    wanted = {n: rig.field(n) for n in route.body.fields} if route.body else {}
    needed = {n: LIKELY[n] for n in ("chatId", "platform", "messages") if n in wanted}
    objects = st.one_of(
        st.fixed_dictionaries({}, optional=wanted),
        st.fixed_dictionaries(wanted),
        st.fixed_dictionaries(needed, optional={n: s for n, s in wanted.items() if n not in needed}),
    )
    bodies = st.one_of(objects, objects, objects, values).map(_json) | st.binary(max_size=30)
    set_up_logs("json", "warning")

    @settings(max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(path=paths, query=queries, body=bodies if route.body else st.none())
    def ask(path: dict[str, Any], query: dict[str, Any], body: bytes | None) -> None:
        filled = re.sub(r"{(\w+)}", lambda n: quote(str(path[n[1]])[:99] or "-", safe=""), route.path)
        pairs = {n: _query(v).encode("utf-8", "replace").decode()[:300] for n, v in query.items()}
        rig.ask(route, filled, pairs, body)

    ask()


def test_afterwards_everything_adds_up(rig: Rig) -> None:
    """Every entry has the versions that it says, without gaps, and each has its content."""

    async def check() -> None:
        store, ann = rig.ann.box.services.runs.store, rig.ann
        found, offset = list[Any](), 0
        while page := (await ann.pull(f"limit=100&offset={offset}"))["entries"]:
            found += page
            offset += len(page)
        assert len({e["id"] for e in found}) == len(found) == await store.count(Query(kind="vault_entry"))
        versions = 0
        for entry in found:
            listed = (await ann.ok("GET", f"/entries/{entry['id']}/versions"))["versions"]
            assert [v["version"] for v in listed] == list(range(1, entry["version"] + 1))
            versions += len(listed)
        assert (
            versions == await store.count(Query(kind="vault_version")) == await store.count(Query(kind="vault_content"))
        )

    rig.runner.run(check())
