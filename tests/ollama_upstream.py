"""A local server that speaks Ollama's own protocol, for tests: plays scripts, or answers by itself.

Every request body is checked against the types that the ``ollama`` package publishes, and every line it makes up by
itself is one of that package's; what a script sends is the script's business.
"""

from __future__ import annotations

import asyncio
import json
import re
from base64 import b64decode
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from aiohttp import web
from ollama import ChatResponse, ListResponse, Message, Options, ProgressResponse, Tool
from ollama._types import ChatRequest, Image, PullRequest
from pydantic import BaseModel, ByteSize

from openai_upstream import Cut, Hang

Step = bytes | str | Mapping[str, Any] | BaseModel | asyncio.Event | asyncio.Barrier | type[Cut] | type[Hang]
NEWER_OPTIONS = {"min_p"}
"""Documented, and not in the published type yet."""
WHEN = "2026-01-01T00:00:00Z"


@dataclass
class Script:
    """One answer. Bytes are sent as they are, a str, a mapping or a model as a line; the rest is waited for."""

    steps: Sequence[Step] = ()
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=lambda: {"Content-Type": "application/x-ndjson"})


@dataclass
class Upstream:
    """``requests`` and ``bodies``: what came; ``scripts``: what to answer next, else the answer of ``by_itself``.

    models   those it has;  lacking  those that it has to pull first
    pulls    what to answer to pulls, else some progress;  pulled  the bodies of pulls
    problems what was wrong with the bodies
    ports    the client's, one for each connection;  open  requests being answered
    left     set when a client leaves early
    """

    base_url: str = ""
    requests: list[Mapping[str, str]] = field(default_factory=list)
    bodies: list[dict[str, Any]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    scripts: list[Script] = field(default_factory=list)
    pulls: list[Script] = field(default_factory=list)
    pulled: list[dict[str, Any]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    ports: set[int] = field(default_factory=set)
    models: Sequence[str] = ("m-1", "m-2")
    lacking: set[str] = field(default_factory=set)
    open: int = 0
    left: asyncio.Event = field(default_factory=asyncio.Event)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)

    def play(self, *steps: Step, status: int = 200, headers: Mapping[str, str] | None = None) -> None:
        self.scripts.append(Script(steps, status, headers or {"Content-Type": "application/x-ndjson"}))

    def play_pull(self, *steps: Step, status: int = 200) -> None:
        self.pulls.append(Script(steps, status))

    async def chat(self, request: web.Request) -> web.StreamResponse:
        body = await self._taken(request)
        self.bodies.append(body)
        self.problems += misfits(body)
        self.arrived.set()
        if body["model"] in self.lacking:
            return web.json_response({"error": f"model '{body['model']}' not found"}, status=404)
        return await self._answered(request, self.scripts.pop(0) if self.scripts else Script(list(by_itself(body))))

    async def pull(self, request: web.Request) -> web.StreamResponse:
        body = await self._taken(request)
        self.pulled.append(body)
        self.problems += differences(body, PullRequest.model_validate(body))
        response = await self._answered(request, self.pulls.pop(0) if self.pulls else Script(list(progress())))
        self.lacking.discard(body["model"])
        return response

    async def list_models(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(dict(request.headers))
        self.paths.append(request.path_qs)
        if self.scripts:
            return await self._answered(request, self.scripts.pop(0))
        listed = [
            ListResponse.Model(model=name, size=ByteSize(1), modified_at=datetime(2026, 1, 1, tzinfo=UTC))
            for name in self.models
        ]
        return web.json_response(text=ListResponse(models=listed).model_dump_json(exclude_none=True))

    async def _taken(self, request: web.Request) -> Any:
        assert request.transport is not None
        self.ports.add(request.transport.get_extra_info("peername")[1])
        self.requests.append(dict(request.headers))
        self.paths.append(request.path_qs)
        return await request.json()

    async def _answered(self, request: web.Request, script: Script) -> web.StreamResponse:
        self.open += 1
        try:
            return await self._play(request, script)
        except (asyncio.CancelledError, ConnectionError):
            self.left.set()
            raise
        finally:
            self.open -= 1

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
                await response.write(line(step))
        await response.write_eof()
        return response


def line(step: Any) -> bytes:
    """As the server writes it."""
    if isinstance(step, BaseModel):
        step = step.model_dump(mode="json", exclude_none=True)
    return (step if isinstance(step, str) else json.dumps(step, ensure_ascii=False)).encode() + b"\n"


@asynccontextmanager
async def serve() -> AsyncIterator[Upstream]:
    upstream = Upstream()
    app = web.Application(client_max_size=1 << 26)
    app.router.add_post("/api/chat", upstream.chat)
    app.router.add_post("/api/pull", upstream.pull)
    app.router.add_get("/api/tags", upstream.list_models)
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


def misfits(body: Mapping[str, Any]) -> list[str]:
    """How a request body differs from the published types; empty if it does not."""
    try:
        found = differences(
            {**body, "messages": [], "tools": []}, ChatRequest.model_validate({**body, "messages": [], "tools": []})
        )
        for message in body["messages"]:
            # The package itself wraps images before it makes a message of them.
            images = [Image(value=image) for image in message.get("images", []) if b64decode(image, validate=True)]
            given = {**message, **({"images": images} if images else {})}
            found += differences(message, Message.model_validate(given))
        for tool in body.get("tools", []):
            found += differences(tool, Tool.model_validate(tool))
        options = {name: value for name, value in body.get("options", {}).items() if name not in NEWER_OPTIONS}
        return found + differences(options, Options.model_validate(options, strict=True))
    except ValueError as error:
        return [str(error)]


def differences(body: Mapping[str, Any], read: BaseModel) -> list[str]:
    """Models drop keys that they do not know, and so these show."""
    made = read.model_dump(mode="json", exclude_none=True, by_alias=True)
    return [] if made == body else [f"not in the published types: {body} was read as {made}"]


def chunk(
    content: str = "", thinking: str | None = None, calls: Sequence[tuple[str, Mapping[str, Any]]] = ()
) -> ChatResponse:
    """A line of an answer that goes on; ``calls`` are names and arguments."""
    made = [Message.ToolCall(function=Message.ToolCall.Function(name=name, arguments=args)) for name, args in calls]
    message = Message(role="assistant", content=content, thinking=thinking, tool_calls=made or None)
    return ChatResponse(model="m", created_at=WHEN, message=message, done=False)


def last(reason: str | None = "stop", sent: int | None = None, said: int | None = None) -> ChatResponse:
    """The last line, with the counts of tokens."""
    return ChatResponse(
        model="m",
        created_at=WHEN,
        message=Message(role="assistant", content=""),
        done=True,
        done_reason=reason,
        total_duration=3,
        load_duration=1,
        prompt_eval_count=sent,
        prompt_eval_duration=1,
        eval_count=said,
        eval_duration=1,
    )


def text(*pieces: str) -> list[Step]:
    """A whole answer of these pieces of text."""
    return [*(chunk(piece) for piece in pieces), last()]


def progress() -> Iterable[Step]:
    """A pull of two layers."""
    yield ProgressResponse(status="pulling manifest")
    yield ProgressResponse(status="pulling aaaa", digest="sha256:aaaa", total=100)
    yield ProgressResponse(status="pulling aaaa", digest="sha256:aaaa", total=100, completed=100)
    yield ProgressResponse(status="pulling bbbb", digest="sha256:bbbb", total=300, completed=100)
    yield ProgressResponse(status="verifying sha256 digest")
    yield ProgressResponse(status="success")


def by_itself(body: Mapping[str, Any]) -> Iterable[Step]:
    """Repeats what the last message says, word by word; calls the first tool if there are tools and no result yet."""
    message = body["messages"][-1]
    said = message["content"]
    if body.get("think"):
        yield chunk(thinking="So ")
        yield chunk(thinking="be it.")
    if body.get("tools") and message["role"] == "user":
        yield chunk(calls=[(body["tools"][0]["function"]["name"], {"city": "Paris"})])
    else:
        for word in re.findall(r"\s*\S+\s*", said):
            yield chunk(word)
    count = len(said.split())
    yield last(sent=count, said=count)
