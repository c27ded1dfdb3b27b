"""What belongs to no dialect: health, metrics, the OpenAPI document, request ids, the shape of 404 and 405, the log."""

from __future__ import annotations

import asyncio
import re

import orjson
import pytest
from aiohttp import ClientPayloadError
from openapi_spec_validator import validate

from backchat.errors import ConfigError
from backchat.plugins import Plugins
from backchat.services.runlog import RunLog
from backchat.testing.plugin import Serve
from backchat.testing.provider import ScriptedProvider
from backchat.testing.server import Box
from backchat.web.keys import DIALECTS
from backchat.web.logs import set_up_logs
from backchat.web.pages import PAGES


async def test_health(box: Box) -> None:
    assert (await box.client.get("/healthz")).status == 200
    assert (await box.client.get("/readyz")).status == 200
    await box.services.runs.drain(0)
    ready = await box.client.get("/readyz")
    assert ready.status == 503
    assert "Retry-After" in ready.headers
    assert (await box.client.get("/healthz")).status == 200
    ann = await box.key()
    refused = await box.client.post("/api/chat", json={"text": "a"}, headers=ann)
    assert refused.status == 503
    assert "Retry-After" in refused.headers
    assert (await box.client.get("/api/chat/conversations", headers=ann)).status == 200


async def _metrics(box: Box) -> dict[str, float]:
    text = await (await box.client.get("/metrics")).text()
    return {m[1]: float(m[2]) for m in re.finditer(r"^([a-z_]+(?:\{[^}]*\})?) (\S+)$", text, re.MULTILINE)}


async def test_metrics_count(serve: Serve) -> None:
    gate = asyncio.Event()
    box = await serve(
        {"providers": {"echo": {"use": "echo"}, "slow": {"use": "scripted"}}, "default_provider": "echo"},
        [ScriptedProvider(["one", gate, "two"])],
    )
    ann = await box.key()
    for text in ("a b c", "d"):
        await box.client.post("/api/chat", json={"text": text}, headers=ann)
    open_one = await box.client.post("/api/chat/stream", json={"text": "a", "provider": "slow"}, headers=ann)
    await open_one.content.readany()
    during = await _metrics(box)
    gate.set()
    await open_one.read()
    after = await _metrics(box)
    assert during["backchat_open_streams"] == during["backchat_runs_running"] == 1
    assert after["backchat_open_streams"] == after["backchat_runs_running"] == 0
    assert after['backchat_runs_total{provider="echo",status="completed"}'] == 2
    assert after['backchat_runs_total{provider="slow",status="completed"}'] == 1
    assert after['backchat_tokens_total{direction="output",provider="echo"}'] >= 4
    assert after['backchat_time_to_first_token_seconds_count{provider="echo"}'] == 2
    assert after['backchat_http_requests_total{method="POST",route="/api/chat",status="200"}'] == 2
    assert after["backchat_store_commit_batches_count"] >= 6


@pytest.mark.any_storage
async def test_the_openapi_document_has_every_mounted_route(box: Box) -> None:
    document = await (await box.client.get("/openapi.json")).json()
    await asyncio.to_thread(validate, document)
    described = {(m.upper(), path) for path, methods in document["paths"].items() for m in methods}
    app = box.client.app
    assert app is not None
    mounted = {(r.method, r.resource.canonical) for r in app.router.routes() if r.resource}
    pages = {(method, path) for path in PAGES for method in ("GET", "HEAD")}
    assert described == {m for m in mounted - pages if m[0] != "HEAD"}
    ids = [op["operationId"] for methods in document["paths"].values() for op in methods.values()]
    assert len(ids) == len(set(ids)) == len(app[DIALECTS])
    send = document["paths"]["/api/chat"]["post"]
    assert send["requestBody"]["content"]["application/json"]["schema"]["$ref"].endswith("chat_Send")
    assert "text" in document["components"]["schemas"]["chat_Send"]["properties"]
    assert all(op["summary"] for methods in document["paths"].values() for op in methods.values())


@pytest.mark.any_storage
async def test_the_docs_page_is_served(box: Box) -> None:
    answer = await box.client.get("/docs")
    assert answer.content_type == "text/html"
    assert "openapi.json" in await answer.text()


@pytest.mark.any_storage
@pytest.mark.parametrize(("given", "kept"), [("abc-1.2_X", True), ("", False), ("x" * 65, False), ("a b", False)])
async def test_request_ids(box: Box, given: str, kept: bool) -> None:
    for path, status in (("/healthz", 200), ("/api/chat/conversations", 401), ("/nowhere", 404)):
        answer = await box.client.get(path, headers={"X-Request-ID": given})
        assert answer.status == status
        id = answer.headers["X-Request-ID"]
        assert (id == given) == kept
        assert re.fullmatch(r"[A-Za-z0-9._-]{1,64}", id)


async def test_a_stream_has_a_request_id_too(box: Box) -> None:
    answer = await box.client.post(
        "/api/chat/stream", json={"text": "a"}, headers={**await box.key(), "X-Request-ID": "mine"}
    )
    assert answer.headers["X-Request-ID"] == "mine"


@pytest.mark.any_storage
async def test_404_and_405_speak_the_nearest_dialect(box: Box) -> None:
    unknown = await box.client.get("/api/chat/nowhere")
    assert unknown.status == 404
    assert set(await unknown.json()) == {"detail"}
    wrong = await box.client.delete("/api/chat")
    assert wrong.status == 405
    assert wrong.headers["Allow"] == "POST"
    assert set(await wrong.json()) == {"detail"}
    elsewhere = await box.client.get("/elsewhere")
    assert elsewhere.status == 404
    assert await elsewhere.json() == {"error": {"code": "not_found", "message": "Not Found"}}


async def test_the_log_has_no_words_keys_or_queries(serve: Serve, capfd: pytest.CaptureFixture[str]) -> None:
    set_up_logs("json", "debug")
    box = await serve(
        {"providers": {"scripted": {"use": "scripted"}}},
        [ScriptedProvider(["marimba"], [ValueError("marimba")])],
    )
    ann = await box.key()
    token = ann["Authorization"].split()[1]
    for status in (200, 500):
        answer = await box.client.post(f"/api/chat?token={token}", json={"text": "xylophone"}, headers=ann)
        assert answer.status == status
    await box.client.get(f"/api/chat/conversations?token={token}x")
    lines = [orjson.loads(line) for line in capfd.readouterr().err.splitlines()]
    access = [line for line in lines if line["event"] == "request"]
    assert [(line["path"], line["status"]) for line in access] == [
        ("/api/chat", 200),
        ("/api/chat", 500),
        ("/api/chat/conversations", 401),
    ]
    assert all(line["request"] for line in access)
    crash = next(line for line in lines if line["event"] == "run.crashed")
    assert crash["exception"] == "ValueError"
    assert any("provider.py" in frame for frame in crash["frames"])
    everything = orjson.dumps(lines).decode()
    for secret in ("xylophone", "marimba", token, token.split("_")[2], "token="):
        assert secret not in everything


def test_an_offered_name_must_be_new() -> None:
    with pytest.raises(ConfigError, match="two plugins offer the provider 'echo'"):
        Plugins([ScriptedProvider(name="echo")], from_entry_points=True)


async def test_not_ready_when_the_store_does_not_answer(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(kind: str, id: str) -> None:
        raise OSError("disk gone")

    with monkeypatch.context() as broken:
        broken.setattr(box.services.runs.store, "get", fail)
        assert (await box.client.get("/readyz")).status == 503
        assert (await box.client.get("/healthz")).status == 200
    assert (await box.client.get("/readyz")).status == 200
    box.services.runs.beaten -= 3600  # no write has gone through for an hour
    assert (await box.client.get("/readyz")).status == 503


async def test_a_stream_that_breaks_is_cut_and_says_nothing_false(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = asyncio.Event()
    box = await serve({"providers": {"scripted": {"use": "scripted"}}}, [ScriptedProvider(["one", gate, "two"])])
    ann = await box.key()
    answer = await box.client.post("/api/chat/stream", json={"text": "a"}, headers=ann)
    head = b""
    while b"one" not in head:
        head += await answer.content.readany()

    async def fail(log: RunLog, after: int) -> None:
        raise OSError("disk gone")

    with monkeypatch.context() as broken:
        broken.setattr(RunLog, "since", fail)
        gate.set()
        with pytest.raises(ClientPayloadError):
            await answer.read()
    run = orjson.loads(head.split(b"data: ")[1].split(b"\n")[0])["run_id"]
    rest = await (await box.client.get(f"/api/chat/stream/{run}?after=1", headers=ann)).text()
    assert '"delta":"two"' in rest


@pytest.mark.any_storage
@pytest.mark.parametrize(
    ("origins", "origin", "allowed"),
    [
        ([], "https://a.example", None),
        (["https://a.example"], "https://a.example", "https://a.example"),
        (["https://a.example"], "https://b.example", None),
        (["*"], "https://b.example", "*"),
    ],
)
async def test_pages_of_other_origins(serve: Serve, origins: list[str], origin: str, allowed: str | None) -> None:
    box = await serve({"server": {"cors_origins": origins}})
    asked = {"Origin": origin, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "x-api-key"}
    preflight = await box.client.options("/api/chat/stream", headers=asked)
    assert (preflight.status == 204) == (allowed is not None)
    ann = await box.key()
    answer = await box.client.post("/api/chat/stream", json={"text": "a"}, headers={**ann, "Origin": origin})
    refused = await box.client.get("/api/chat/conversations", headers={"Origin": origin})
    assert (answer.status, refused.status) == (200, 401)
    for response in (preflight, answer, refused):
        assert response.headers.get("Access-Control-Allow-Origin") == allowed
    if allowed is not None:
        taken = preflight.headers["Access-Control-Allow-Headers"].split(", ")
        assert {"Authorization", "Prefer", "X-API-Key"} <= set(taken)
        shown = answer.headers["Access-Control-Expose-Headers"].split(", ")
        assert {"Location", "Preference-Applied", "Retry-After", "X-Request-ID"} <= set(shown)
