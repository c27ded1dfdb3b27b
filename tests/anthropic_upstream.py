"""A local server that speaks Anthropic's messages API, for tests: plays scripts, or answers by itself.

Every request body is checked against the types that the ``anthropic`` package publishes and against the rules that its
documentation gives, and every event is made by that package; what a script sends as bytes is the script's business.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from aiohttp import web
from anthropic.types import ModelInfo
from anthropic.types.beta import BetaThinkingConfigAdaptiveParam
from anthropic.types.message_create_params import MessageCreateParamsStreaming
from pydantic import TypeAdapter

from anthropic_events import Event, answer, call_block, done, start, text_block

_PARAMS: TypeAdapter[Any] = TypeAdapter(MessageCreateParamsStreaming)
_BOUND: TypeAdapter[Any] = TypeAdapter(BetaThinkingConfigAdaptiveParam)
FORMER_FIELDS = {"temperature", "top_k", "top_p"}
"""What models before 4.7 take; the types are those of the later ones."""


class Cut:
    """Reset the connection."""


class Hang:
    """Say nothing more until the client leaves."""


Step = bytes | Event | asyncio.Event | asyncio.Barrier | type[Cut] | type[Hang]


@dataclass
class Script:
    """One answer. Bytes are sent as they are, a mapping as an event; the rest is waited for."""

    steps: Sequence[Step] = ()
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=lambda: {"Content-Type": "text/event-stream"})


@dataclass
class Upstream:
    """``requests`` and ``bodies``: what came; ``scripts``: what to answer next, else the answer of ``by_itself``.

    models  those it lists, ``page`` at a time, when there is no script
    problems  what was wrong with the bodies
    ports  the client's, one for each connection;  open  requests being answered;  left  set when a client leaves early
    """

    base_url: str = ""
    requests: list[Mapping[str, str]] = field(default_factory=list)
    bodies: list[dict[str, Any]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    scripts: list[Script] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    ports: set[int] = field(default_factory=set)
    models: Sequence[str] = ("claude-1", "claude-2", "claude-3")
    page: int = 2
    open: int = 0
    left: asyncio.Event = field(default_factory=asyncio.Event)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)

    def play(self, *steps: Step, status: int = 200, headers: Mapping[str, str] | None = None) -> None:
        self.scripts.append(Script(steps, status, headers or {"Content-Type": "text/event-stream"}))

    async def answer(self, request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        self.ports.add(request.transport.get_extra_info("peername")[1])
        body = await request.json()
        self.requests.append(dict(request.headers))
        self.bodies.append(body)
        self.paths.append(request.path_qs)
        self.problems += misfits(body)
        self.arrived.set()
        script = self.scripts.pop(0) if self.scripts else Script(list(by_itself(body)))
        self.open += 1
        try:
            return await self._play(request, script)
        except (asyncio.CancelledError, ConnectionError):
            self.left.set()
            raise
        finally:
            self.open -= 1

    async def list_models(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(dict(request.headers))
        self.paths.append(request.path_qs)
        if self.scripts:
            try:
                return await self._play(request, self.scripts.pop(0))
            except (asyncio.CancelledError, ConnectionError):
                self.left.set()
                raise
        after = request.query.get("after_id")
        first = self.models.index(after) + 1 if after else 0
        shown = self.models[first : first + self.page]
        return web.json_response(
            {
                "data": [_model(id) for id in shown],
                "has_more": first + self.page < len(self.models),
                "first_id": shown[0] if shown else None,
                "last_id": shown[-1] if shown else None,
            }
        )

    async def _play(self, request: web.Request, script: Script) -> web.StreamResponse:
        response = web.StreamResponse(status=script.status, headers=script.headers)
        if script.steps[:1] != (Cut,) and script.steps[:1] != (Hang,):
            await response.prepare(request)
        for step in script.steps:
            if isinstance(step, asyncio.Event | asyncio.Barrier):
                await step.wait()
            elif step is Hang:
                await asyncio.Event().wait()
            elif step is Cut:
                assert request.transport is not None
                request.transport.abort()
                return response
            elif isinstance(step, bytes):
                await response.write(step)
            else:
                assert isinstance(step, Mapping)
                await response.write(frame(step))
        await response.write_eof()
        return response


@asynccontextmanager
async def serve() -> AsyncIterator[Upstream]:
    upstream = Upstream()
    app = web.Application(client_max_size=1 << 26)
    app.router.add_post("/{prefix:.*}v1/messages", upstream.answer)
    app.router.add_get("/{prefix:.*}v1/models", upstream.list_models)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    upstream.base_url = f"http://{host}:{port}"
    try:
        yield upstream
    finally:
        await runner.cleanup()


def frame(event: Event) -> bytes:
    return f"event: {event.get('type')}\ndata: {json.dumps(event, ensure_ascii=False)}\n\n".encode()


def misfits(body: Mapping[str, Any]) -> list[str]:
    """How a request body differs from the published types and breaks the rules; empty if it does neither."""
    known = {key: value for key, value in body.items() if key not in FORMER_FIELDS}
    try:
        if "block_binding" in (thinking := known.get("thinking", {})):
            assert _BOUND.validate_python(thinking) == thinking
            known["thinking"] = {key: value for key, value in thinking.items() if key != "block_binding"}
        read = _plain(_PARAMS.validate_python(known))
    except (ValueError, AssertionError) as error:
        return [str(error)]
    # TypedDicts drop keys they do not know, and so these show as a difference.
    wrong = [] if read == known else [f"not in the published types: {known} was read as {read}"]
    return wrong + list(_broken(body))


def _broken(body: Mapping[str, Any]) -> Iterable[str]:
    """Rules beside the types.

    Source: https://platform.claude.com/docs/en/api/messages and the pages about thinking, tools and the cache.
    """
    turns = body["messages"]
    if [t["role"] for t in turns] != [("user", "assistant")[n % 2] for n in range(len(turns))]:
        yield "turns do not alternate, or the first is not the user's"
    blocks = [(t["role"], b) for t in turns for b in t["content"]] + [("system", b) for b in body.get("system", [])]
    for role, block in blocks:
        if block["type"] == "text" and not block["text"].strip():
            yield "empty text"
        if block["type"] in ("image", "document", "tool_result") and role != "user":
            yield f"a block of type {block['type']} that is not the user's"
    calls = [b["id"] for _, b in blocks if b["type"] == "tool_use"]
    if len(calls) != len(set(calls)) or not all(re.fullmatch("[a-zA-Z0-9_-]+", id) for id in calls):
        yield "ids of calls are not unique, or not of the service's letters"
    if calls and not body.get("tools"):
        yield "calls without tools"
    for turn, after in zip(turns, [*turns[1:], {"content": []}], strict=True):
        asked = [b["id"] for b in turn["content"] if b["type"] == "tool_use"]
        if asked != [b.get("tool_use_id") for b in after["content"][: len(asked)]]:
            yield "calls are not answered first in the next turn"
        if any(b["type"] == "tool_result" for b in after["content"][len(asked) :]):
            yield "results of no call"
    thinking = body.get("thinking", {"type": "disabled"})
    if thinking["type"] == "enabled":
        if not 1024 <= thinking["budget_tokens"] < body["max_tokens"]:
            yield "the budget does not fit"
        if turns[-1]["content"][0]["type"] == "tool_result" and "thinking" not in turns[-2]["content"][0]["type"]:
            yield "the answer that goes on does not begin with thinking"
    if thinking["type"] != "disabled":
        if {"temperature", "top_k"} & body.keys() or body.get("top_p", 1) < 0.95:
            yield "sampling together with thinking"
        if body.get("tool_choice", {"type": "auto"})["type"] not in ("auto", "none"):
            yield "a forced tool together with thinking"
    marked = [b for _, b in blocks if "cache_control" in b] + [t for t in body.get("tools", []) if "cache_control" in t]
    if len(marked) > 4 or any("thinking" in b.get("type", "") for b in marked):
        yield "marks for the cache where they may not be"


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, str | bytes) or not isinstance(value, Iterable):
        return value
    return [_plain(inner) for inner in value]  # pydantic checks the items of an Iterable only when they are taken


def _model(id: str) -> dict[str, Any]:
    made = ModelInfo(
        id=id, created_at=datetime(2026, 1, 1, tzinfo=UTC), display_name=id, lifecycle="active", type="model"
    )
    return dict(made.model_dump(mode="json"))


def by_itself(body: Mapping[str, Any]) -> Iterable[Step]:
    """Repeats what the user said last, word by word; calls the first tool if there are tools and no result yet."""
    last = body["messages"][-1]["content"][-1]
    if body.get("tools") and last["type"] != "tool_result":
        name = body["tools"][0]["name"]
        yield start()
        yield from call_block("toolu_1", name, "", '{"ci', 'ty": "Pa', 'ris"}')
        yield from done("tool_use")
    elif last["type"] == "text":
        yield from answer(*re.findall(r"\s*\S+\s*", last["text"]))
    else:
        yield start()
        yield from text_block(json.dumps(last))
        yield from done("end_turn")
