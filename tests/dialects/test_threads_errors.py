"""What goes wrong, and how it is told."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from aiohttp import WSMsgType

from backchat.plugins import Plugins
from backchat.testing.plugin import Serve
from backchat.testing.server import Box
from backchat.web.dialect import Route
from threads_box import THREADS, address, ask, exceptions, sdk

ROUTES = Plugins(from_entry_points=True).dialects["threads"].routes
BODIES: dict[str, Any] = {
    "POST /assistants/{assistant_id}/memories": {"content": "a"},
    "PUT /assistants/{assistant_id}/memories/{memory_id}": {"content": "a"},
    "POST /assistants/{assistant_id}/memories/search": {"query": "a"},
    "POST /threads/{thread_id}/messages": {"content": "a"},
    "POST /threads/{thread_id}/runs/{run_id}/submit-tool-outputs": {"tool_outputs": []},
}


def aimed(route: Route) -> bool:
    return ("_id}" in route.path and "/documents" not in route.path.partition("_id}")[2]) or "_id}/status" in route.path


async def test_ids_that_lead_nowhere(serve: Serve) -> None:
    box = await serve(THREADS)
    ann = await box.key()
    routes = [r for r in ROUTES if aimed(r)]
    assert len(routes) > 20
    for route in routes:
        name = f"{route.method} {route.path}"
        for nowhere in (str(uuid.uuid4()), "not-a-uuid", "%00", "%F0%9F%8C%8A", "a" * 1000):
            path = route.path
            for field in ("assistant_id", "thread_id", "run_id", "document_id", "memory_id", "operation_id"):
                path = path.replace(f"{{{field}}}", nowhere)
            status, body = await ask(box, route.method, path, ann, json=BODIES.get(name, {}))
            assert status == 404, (name, nowhere)
            assert body["detail"].endswith("not found")


async def test_keys(serve: Serve) -> None:
    box = await serve(THREADS)
    who = await box.key()
    key = who["Authorization"].removeprefix("Bearer ")
    assert await ask(box, "GET", "/threads", {"X-API-Key": key}) == (200, [])
    status, body = await ask(box, "GET", "/threads", {})
    assert (status, body["detail"][:23]) == (401, "Authentication required")
    status, body = await ask(box, "GET", "/threads", {"X-API-Key": "bsk_no_no"})
    assert (status, body["detail"]) == (401, "Invalid or expired API key")
    async with sdk(box, key="wrong") as client:
        with pytest.raises(exceptions.BackboardAPIError, match="Invalid or expired") as refused:
            await client.list_threads()
        assert refused.value.status_code == 401
    limited = await box.key("ann", scopes=["chat"])
    assert (await ask(box, "GET", "/threads", limited))[0] == 403
    assert (await ask(box, "GET", "/threads", await box.key("ann", scopes=["threads"])))[0] == 200


@pytest.mark.any_storage
async def test_paths_and_methods_that_there_are_not(box: Box) -> None:
    ann = await box.key()
    for method, path, status in (
        ("GET", "/threads/", 404),
        ("GET", "/assistants/a/nothing", 404),
        ("PATCH", "/threads", 405),
        ("DELETE", "/models", 405),
    ):
        found, body = await ask(box, method, path, ann)
        assert found == status
        assert isinstance(body["detail"], str)


@pytest.mark.any_storage
async def test_numbers_out_of_range(box: Box) -> None:
    ann = await box.key()
    for path in (
        "/threads?limit=0",
        "/threads?limit=201",
        "/threads?skip=-1",
        "/threads?skip=x",
        "/assistants?limit=1.5",
    ):
        status, body = await ask(box, "GET", path, ann)
        assert status == 422, path
        assert body["detail"][0]["loc"] == ["query", path.partition("?")[2].partition("=")[0]]
    assert await ask(box, "GET", "/threads?skip=1000000000&limit=200", ann) == (200, [])
    for body, field in (
        ({}, "name"),
        ({"name": ""}, "name"),
        ({"name": None}, "name"),
        ({"name": "a", "tok_k": 0}, "tok_k"),
        ({"name": "a", "tok_k": 101}, "tok_k"),
        ({"name": "a", "tok_k": "many"}, "tok_k"),
        ({"name": "a", "tools": {}}, "tools"),
        ({"name": "a", "embedding_dims": -1}, "embedding_dims"),
    ):
        status, answer = await ask(box, "POST", "/assistants", ann, json=body)
        assert status == 422, body
        (problem,) = answer["detail"]
        assert problem["loc"] == ["body", field]
        assert problem["type"] == ("missing" if body.get("name") is None else "value_error")
    assert (await ask(box, "POST", "/assistants", ann, json={"name": "a", "tok_k": None, "tools": None}))[0] == 200


async def test_numbers_that_the_sdk_does_not_clamp(box: Box) -> None:
    ann = await box.key()
    _, whole = await ask(box, "GET", "/models", ann)
    for path in ("/models", "/models/provider/echo", "/models/embedding/all", "/models/image/all", "/models/video/all"):
        status, found = await ask(box, "GET", f"{path}?skip=-1&limit=9999", ann)
        _, everything = await ask(box, "GET", path, ann)
        assert (status, found) == (200, everything)
        status, found = await ask(box, "GET", f"{path}?skip=0&limit=-5", ann)
        assert (status, len(found["models"])) == (200, min(1, found["total"]))
        status, found = await ask(box, "GET", f"{path}?skip={10**30}&limit={10**30}", ann)
        assert (status, found["models"]) == (200, [])
        assert (await ask(box, "GET", f"{path}?skip=x", ann))[0] == 422
    async with sdk(box) as client:
        assert (await client.list_models(skip=-1, limit=9999)).total == whole["total"]


async def test_nulls_clear_and_names_stay(box: Box) -> None:
    ann = await box.key()
    _, made = await ask(box, "POST", "/assistants", ann, json={"name": "a", "description": "d", "system_prompt": "s"})
    path = f"/assistants/{made['assistant_id']}"
    status, changed = await ask(box, "PUT", path, ann, json={"description": None, "tok_k": None, "name": None, "x": 1})
    assert (status, changed) == (200, {**made, "description": None})
    for body in ({"name": ""}, {"name": " "}, {"tok_k": 0}):
        assert (await ask(box, "PUT", path, ann, json=body))[0] == 422
    assert (await ask(box, "GET", path, ann))[1] == changed


@pytest.mark.any_storage
@pytest.mark.parametrize("path", ["messages?api_key=any", "realtime"])
@pytest.mark.parametrize("speaks", [True, False])
async def test_sockets_say_why_not(box: Box, monkeypatch: pytest.MonkeyPatch, path: str, *, speaks: bool) -> None:
    monkeypatch.setattr("backchat_dialect_threads.handlers_voice.PATIENCE", 0.05)
    async with box.client.ws_connect(f"/api/threads/{path}") as socket:
        if speaks:
            await socket.send_json({"provider": "openai", "model": "gpt-realtime"})
        event = await socket.receive_json()
        assert event["type"] == "error"
        assert "this server has no" in event["message"]
        assert (await socket.receive()).type == WSMsgType.CLOSE
        assert socket.close_code == 1000
    status, body = await ask(box, "GET", f"/threads/{path}", {})
    assert (status, body) == (400, {"detail": "this address takes WebSocket connections only"})


@pytest.mark.any_storage
async def test_the_address_of_the_sdk(box: Box) -> None:
    async with sdk(box) as client:
        assert client.base_url == address(box)
        assert [t.thread_id for t in await client.list_threads()] == []
