"""Two users, every route: nobody sees, changes, streams, cancels or counts what is somebody else's.

Generated from the mounted routes. A route with a parameter that this file does not know fails here until it is taught.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import orjson
import pytest
from marshmallow import Schema

from backchat.plugins import Plugins
from backchat.ports.storage import Query
from backchat.testing.plugin import Serve
from backchat.testing.provider import ScriptedProvider
from backchat.web.dialect import Dialect, Route

MARKER = "xylophone"
HARMLESS: dict[str, Any] = {"text": "hello", "keep_count": 0, "provider": "default", "mood": "normal"}


def _routes() -> Sequence[Any]:
    dialects = Plugins(from_entry_points=True).dialects.values()
    return [pytest.param(d, r, id=f"{r.method} {d.mount}{r.path}") for d in dialects for r in d.routes]


class Anns:
    """What belongs to Ann, by the names under which routes ask for it."""

    def __init__(self, conversation: str, run: str) -> None:
        self.ids = {"conversation_id": conversation, "run_id": run}

    def fill(self, names: Sequence[str]) -> dict[str, Any]:
        return {n: self.ids[n] if n in self.ids else HARMLESS[n] for n in names}

    def asks(self, route: Route) -> tuple[str, dict[str, str], dict[str, Any] | None, bool]:
        """Path, query and body that aim at Ann's things wherever the route can take an id; whether it takes any."""
        names = [part[1:-1] for part in route.path.split("/") if part.startswith("{")]
        path = route.path.format(**self.fill(names))
        query = self.fill(self._wanted(route.query))
        body = self.fill(self._wanted(route.body)) if route.body else None
        aimed = any(n in self.ids for n in (*names, *query, *(body or {})))
        return path, query, body, aimed

    def _wanted(self, schema: Schema | None) -> list[str]:
        fields = schema.fields if schema else {}
        return [name for name, field in fields.items() if field.required or name in self.ids]


@pytest.mark.parametrize(("dialect", "route"), _routes())
async def test_a_stranger(serve: Serve, dialect: Dialect, route: Route) -> None:
    provider = ScriptedProvider([f"{MARKER} ", asyncio.Event()], ["ok"])
    box = await serve({"providers": {"scripted": {"use": "scripted"}}, "dialects": [dialect.name]}, [provider])
    ann, bob = await box.key("ann"), await box.key("bob")
    stream = await box.client.post("/api/chat/stream", json={"text": MARKER}, headers=ann)
    head = b""
    while MARKER.encode() not in head:
        head += await stream.content.readany()
    meta = orjson.loads(head.split(b"data: ")[1].split(b"\n")[0])
    anns = Anns(meta["conversation_id"], meta["run_id"])
    path, query, body, aimed = anns.asks(route)

    store = box.services.runs.store

    async def standing() -> dict[str, Any]:
        mine = {
            k: await store.get(k, id)
            for k, id in (("conversation", anns.ids["conversation_id"]), ("run", anns.ids["run_id"]))
        }
        messages = Query(kind="message", where=(("conversation", (anns.ids["conversation_id"],)),))
        return {**mine, "messages": list(await store.find(messages))}

    before = await standing()

    async def ask(who: dict[str, str]) -> tuple[int, bytes]:
        answer = await box.client.request(route.method, dialect.mount + path, params=query, json=body, headers=who)
        return answer.status, await answer.read()

    status, said = await ask({})
    assert status == 401, said
    status, said = await ask({"Authorization": "Bearer bsk_" + "0" * 12 + "_" + "0" * 43})
    assert status == 401, said
    status, said = await ask(bob)
    if aimed:
        assert status in (403, 404), said
    else:
        assert status == 200, said
    for secret in (MARKER, *anns.ids.values()):
        assert secret.encode() not in said
    assert await standing() == before
