"""A local server that speaks OpenAI's protocols, for tests: plays scripts, or answers by itself.

Every request body is checked against the types that the ``openai`` package publishes, and every chunk it makes up by
itself is one of that package's; what a script sends is the script's business.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from openai.types import Model
from openai.types.chat import ChatCompletionChunk
from openai.types.chat.completion_create_params import CompletionCreateParamsStreaming
from pydantic import TypeAdapter

import openai_responses

_PARAMS: TypeAdapter[Any] = TypeAdapter(CompletionCreateParamsStreaming)
FOREIGN_FIELDS = {
    "openrouter": {"reasoning", "provider", "models", "plugins"},
    "groq": {"reasoning_format", "service_tier"},
}
FOREIGN_PARTS = {"openrouter": "reasoning_details", "deepseek": "reasoning_content"}
"""What services have in a body, and in its messages, beyond the published types; a test says which one it plays."""


class Cut:
    """Reset the connection."""


class Hang:
    """Say nothing more until the client leaves."""


Step = bytes | str | Mapping[str, Any] | asyncio.Event | asyncio.Barrier | type[Cut] | type[Hang]


@dataclass
class Script:
    """One answer. Bytes are sent as they are, a str or a mapping as the data of an event; the rest is waited for."""

    steps: Sequence[Step] = ()
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=lambda: {"Content-Type": "text/event-stream"})


@dataclass
class Upstream:
    """``requests`` and ``bodies``: what came; ``scripts``: what to answer next, else the answer of ``by_itself``.

    service  whose fields may be in a body beside OpenAI's;  models  those it lists, when there is no script
    ports  the client's, one for each connection;  open  requests being answered;  left  set when a client leaves early
    """

    base_url: str = ""
    requests: list[Mapping[str, str]] = field(default_factory=list)
    bodies: list[dict[str, Any]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    scripts: list[Script] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    service: str = "openai"
    ports: set[int] = field(default_factory=set)
    models: Sequence[str] = ("m-1", "m-2")
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
        responses = request.path.endswith("/responses")
        self.problems += misfits(body, openai_responses.PARAMS if responses else _PARAMS, self.service)
        self.arrived.set()
        answered = openai_responses.by_itself if responses else by_itself
        script = self.scripts.pop(0) if self.scripts else Script(list(answered(body)))
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
        models = [Model(id=id, created=1, object="model", owned_by="us").model_dump() for id in self.models]
        return web.json_response({"object": "list", "data": models})

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
                data = step if isinstance(step, str) else json.dumps(step, ensure_ascii=False)
                await response.write(f"data: {data}\n\n".encode())
        await response.write_eof()
        return response


@asynccontextmanager
async def serve() -> AsyncIterator[Upstream]:
    upstream = Upstream()
    app = web.Application(client_max_size=1 << 26)
    app.router.add_post("/v1/chat/completions", upstream.answer)
    app.router.add_post("/v1/responses", upstream.answer)
    app.router.add_get("/v1/models", upstream.list_models)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    upstream.base_url = f"http://{host}:{port}/v1"
    try:
        yield upstream
    finally:
        await runner.cleanup()


def misfits(body: Mapping[str, Any], params: TypeAdapter[Any], service: str) -> list[str]:
    """How a request body differs from the published types; empty if it does not."""
    known = {key: value for key, value in body.items() if key not in FOREIGN_FIELDS.get(service, ())}
    if (part := FOREIGN_PARTS.get(service)) and "messages" in known:
        known["messages"] = [{key: m[key] for key in m if key != part} for m in body["messages"]]
    try:
        read = _plain(params.validate_python(known))
    except ValueError as error:
        return [str(error)]
    # TypedDicts drop keys they do not know, and so these show as a difference.
    return [] if read == known else [f"not in the published types: {known} was read as {read}"]


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, str | bytes) or not isinstance(value, Iterable):
        return value
    return [_plain(inner) for inner in value]  # pydantic checks the items of an Iterable only when they are taken


def chunk(finish: str | None = None, usage: Mapping[str, Any] | None = None, **delta: Any) -> dict[str, Any]:
    """A chunk with one choice, or with none if there is neither a delta nor a finish reason."""
    choices = [{"index": 0, "delta": delta, "finish_reason": finish}] if delta or finish else []
    made = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": choices}
    return {**made, "usage": usage}


def text(*pieces: str) -> list[Step]:
    """A whole answer of these pieces of text."""
    return [*(chunk(content=piece) for piece in pieces), chunk("stop"), "[DONE]"]


def by_itself(body: Mapping[str, Any]) -> Iterable[Step]:
    """Repeats what the last message says, word by word; calls the first tool if there are tools and no result yet."""
    last = body["messages"][-1]
    said = last["content"] if isinstance(last["content"], str) else json.dumps(last["content"])
    yield _checked(chunk(role="assistant", content=""))
    if body.get("tools") and last["role"] == "user":
        name = body["tools"][0]["function"]["name"]
        yield _checked(_call_chunk(id="call_1", type="function", function={"name": name, "arguments": ""}))
        for piece in ('{"ci', 'ty": "Pa', 'ris"}'):
            yield _checked(_call_chunk(function={"arguments": piece}))
        yield _checked(chunk("tool_calls"))
    else:
        for word in re.findall(r"\s*\S+\s*", said):
            yield _checked(chunk(content=word))
        yield _checked(chunk("stop"))
    if body.get("stream_options", {}).get("include_usage"):
        count = len(said.split())
        yield _checked(chunk(usage={"prompt_tokens": count, "completion_tokens": count, "total_tokens": 2 * count}))
    yield "[DONE]"


def _call_chunk(**fragment: Any) -> dict[str, Any]:
    return chunk(tool_calls=[{"index": 0, **fragment}])


def _checked(made: dict[str, Any]) -> dict[str, Any]:
    ChatCompletionChunk.model_validate(made, strict=True)
    return made
