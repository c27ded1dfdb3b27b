"""A local server that speaks the Gemini API, for tests: plays scripts, or answers by itself.

Every request body is checked against the types that the ``google-genai`` package publishes, and against the rules about
turns that Google's documentation adds. What it says by itself is made of that package's types; what a script sends is
the script's business.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from google.genai import types
from pydantic import BaseModel, TypeAdapter

_FIELDS: Mapping[str, TypeAdapter[Any]] = {
    "contents": TypeAdapter(list[types.Content]),
    "systemInstruction": TypeAdapter(types.Content),
    "tools": TypeAdapter(list[types.Tool]),
    "toolConfig": TypeAdapter(types.ToolConfig),
    "generationConfig": TypeAdapter(types.GenerationConfig),
    "safetySettings": TypeAdapter(list[types.SafetySetting]),
}
_URLSAFE = str.maketrans("-_", "+/")


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

    models  those it lists, when there is no script, in pages of two
    ports  the client's, one for each connection;  open  requests being answered;  left  set when a client leaves early
    """

    base_url: str = ""
    requests: list[Mapping[str, str]] = field(default_factory=list)
    bodies: list[dict[str, Any]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    scripts: list[Script] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    ports: set[int] = field(default_factory=set)
    models: Sequence[tuple[str, Sequence[str]]] = (
        ("models/gemini-3.8-flash", ("generateContent", "countTokens")),
        ("models/embedding-1", ("embedContent",)),
        ("models/gemini-2.5-pro", ("generateContent",)),
        ("tunedModels/mine", ("generateContent",)),
    )
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
        self.problems += misfits(body, request.match_info["model"])
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
        at = int(request.query.get("pageToken", 0))
        page: dict[str, Any] = {
            "models": [
                {"name": name, "displayName": name, "supportedGenerationMethods": methods}
                for name, methods in self.models[at : at + 2]
            ]
        }
        if at + 2 < len(self.models):
            page["nextPageToken"] = str(at + 2)
        return web.json_response(page)

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
                await response.write(f"data: {data}\r\n\r\n".encode())
        await response.write_eof()
        return response


@asynccontextmanager
async def serve() -> AsyncIterator[Upstream]:
    upstream = Upstream()
    app = web.Application(client_max_size=1 << 26)
    app.router.add_post(r"/{version:v1|v1beta}/{model:[\w/.-]+}:streamGenerateContent", upstream.answer)
    app.router.add_get("/{version:v1|v1beta}/models", upstream.list_models)
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


def misfits(body: Mapping[str, Any], model: str) -> list[str]:
    """How a request body differs from the published types and rules; empty if it does not."""
    found = [f"unknown: {name}" for name in body.keys() - _FIELDS.keys()]
    for name in body.keys() & _FIELDS.keys():
        try:
            read = _FIELDS[name].validate_json(json.dumps(body[name]))
        except ValueError as error:
            found.append(str(error))
            continue
        again = _FIELDS[name].dump_python(read, mode="json", by_alias=True, exclude_none=True)
        if _plain(again) != _plain(body[name]):
            found.append(f"not in the published types: {body[name]} was read as {again}")
    return found or list(_broken_rules(body["contents"], model))


def _broken_rules(contents: Sequence[Mapping[str, Any]], model: str) -> Iterator[str]:
    """https://ai.google.dev/gemini-api/docs/function-calling and .../thought-signatures"""
    if not contents or contents[0]["role"] != "user":
        yield "the user does not begin"
    for n, turn in enumerate(contents):
        before: Mapping[str, Any] = contents[n - 1] if n else {"role": "", "parts": []}
        calls = [(c["id"], c["name"]) for p in before["parts"] if (c := p.get("functionCall"))]
        results = [(r["id"], r["name"]) for p in turn["parts"] if (r := p.get("functionResponse"))]
        if calls != results:
            yield f"the calls {calls} got the results {results}"
        if results and len(results) < len(turn["parts"]):
            yield "there is something between results"
        if turn["role"] == before["role"] and not any("functionResponse" in p for p in before["parts"]):
            yield f"two turns of {turn['role']}"
        signed = ["thoughtSignature" in p for p in turn["parts"] if "functionCall" in p]
        if signed and not signed[0] and "gemini-3" in model:
            yield "the first call of a turn is not signed"
        if any(p.get("text") == "" and "thoughtSignature" not in p for p in turn["parts"]):
            yield "a text is empty"


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {
            key: inner.translate(_URLSAFE) if key in ("data", "thoughtSignature") else _plain(inner)
            for key, inner in value.items()
        }
    if isinstance(value, str) or not isinstance(value, Iterable):
        return value
    return [_plain(inner) for inner in value]


def dumped(made: BaseModel) -> dict[str, Any]:
    """A value of the package's types as the service would write it."""
    plain: dict[str, Any] = made.model_dump(mode="json", by_alias=True, exclude_none=True)
    return plain


def chunk(
    *parts: types.Part | str, finish: str | None = None, usage: Mapping[str, int] | None = None
) -> dict[str, Any]:
    """A chunk of an answer, made of the published types; a str is a part of text."""
    made = [types.Part(text=p) if isinstance(p, str) else p for p in parts]
    candidate = types.Candidate(
        index=0,
        content=types.Content(role="model", parts=made) if made else None,
        finish_reason=types.FinishReason(finish) if finish else None,
    )
    return dumped(
        types.GenerateContentResponse(
            candidates=[candidate],
            usage_metadata=types.GenerateContentResponseUsageMetadata.model_validate(usage) if usage else None,
            model_version="gemini-3.8-flash",
            response_id="r1",
        )
    )


def call_part(
    name: str, arguments: Mapping[str, Any], *, id: str | None = None, signature: bytes | None = None
) -> types.Part:
    call = types.FunctionCall(id=id, name=name, args=dict(arguments))
    return types.Part(function_call=call, thought_signature=signature)


def text(*pieces: str) -> list[Step]:
    """A whole answer of these pieces of text."""
    return [*(chunk(piece) for piece in pieces), chunk(finish="STOP")]


def by_itself(body: Mapping[str, Any]) -> Iterable[Step]:
    """Repeats what the last turn says, word by word; calls the first tool if there are tools and no result yet."""
    last = body["contents"][-1]["parts"]
    said = "".join([p.get("text", "") for p in last]) or json.dumps(last)
    count = len(said.split())
    usage = {"prompt_token_count": count, "total_token_count": count}
    if body.get("tools") and not any("functionResponse" in p for p in last):
        name = body["tools"][0]["functionDeclarations"][0]["name"]
        yield chunk(call_part(name, {"city": "Paris"}, signature=b"signed"), usage=usage)
    else:
        for n, word in enumerate(re.findall(r"\s*\S+\s*", said)):
            yield chunk(word, usage={**usage, "candidates_token_count": n, "total_token_count": count + n})
    yield chunk(finish="STOP", usage={**usage, "candidates_token_count": count, "total_token_count": 2 * count})
