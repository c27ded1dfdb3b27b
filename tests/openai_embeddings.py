"""A local server that speaks OpenAI's embeddings protocol, for tests.

Every request is checked against the types that the ``openai`` package publishes, and against the limits that its
documentation states; every answer it makes up by itself is one of that package's types.
"""

from __future__ import annotations

import asyncio
from array import array
from base64 import b64encode
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from openai.types import CreateEmbeddingResponse
from openai.types.embedding_create_params import EmbeddingCreateParams
from pydantic import TypeAdapter

from backchat.testing.embedding import HashEmbedder, numbers
from openai_upstream import Cut, Hang

_PARAMS: TypeAdapter[Any] = TypeAdapter(EmbeddingCreateParams)
DIMENSIONS = 48
Answer = tuple[int, bytes] | type[Cut] | type[Hang]


@dataclass
class EmbeddingUpstream:
    """``answers``: status and body of the next answers; after them it answers by itself.

    as_lists   answer with lists of numbers whatever is asked for;  shuffled  in another order, ``index`` tells which
    refuses    texts of more bytes than this are refused, as a service does that counts tokens
    """

    base_url: str = ""
    as_lists: bool = False
    shuffled: bool = True
    refuses: int | None = None
    answers: list[Answer] = field(default_factory=list)
    bodies: list[dict[str, Any]] = field(default_factory=list)
    requests: list[Mapping[str, str]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.bodies.append(body)
        self.requests.append(dict(request.headers))
        self.paths.append(request.path_qs)
        self.problems += misfits(body)
        next_one = self.answers.pop(0) if self.answers else None
        if next_one is Cut:
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        if next_one is Hang:
            await asyncio.Event().wait()
        if isinstance(next_one, tuple):
            return web.Response(status=next_one[0], body=next_one[1], content_type="application/json")
        if self.refuses is not None and any(len(t.encode()) > self.refuses for t in body["input"]):
            message = "This model's maximum context length is exceeded."
            return web.json_response({"error": {"message": message, "type": "invalid_request_error"}}, status=400)
        return web.json_response(await self.by_itself(body))

    async def by_itself(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Vectors of length 3, so that whoever wants length 1 has to see to it."""
        hashes = HashEmbedder(body.get("dimensions", DIMENSIONS))
        data: list[dict[str, Any]] = []
        for index, vector in enumerate(await hashes.embed(body["input"], "document")):
            longer = [3 * n for n in numbers(vector)]
            data.append({"object": "embedding", "index": index, "embedding": longer})
        usage = {"prompt_tokens": 1, "total_tokens": 1}
        made: dict[str, Any] = {"object": "list", "data": data, "model": body["model"], "usage": usage}
        CreateEmbeddingResponse.model_validate(made, strict=True)
        if body.get("encoding_format") == "base64" and not self.as_lists:
            # As the service does; the package's type describes what its client makes of that.
            for entry in data:
                entry["embedding"] = in_base64(entry["embedding"])
        if self.shuffled:
            data.reverse()
        return made


def in_base64(values: list[float]) -> str:
    return b64encode(array("f", values).tobytes()).decode()


def misfits(body: Mapping[str, Any]) -> list[str]:
    """How a request differs from the published types and limits."""
    try:
        read = _PARAMS.validate_python(body)
    except ValueError as error:
        return [str(error)]
    found = [] if set(read) == set(body) else [f"not in the published types: {set(body) - set(read)}"]
    texts = body["input"]
    if not 1 <= len(texts) <= 2048:
        found.append(f"{len(texts)} texts")
    if not all(texts):
        found.append("an empty text")
    # Of usual text, which the tests send in mass, a token has four bytes.
    if sum(len(t.encode()) for t in texts) / 4 > 300_000:
        found.append("more than 300,000 tokens")
    return found


@asynccontextmanager
async def serve_embeddings() -> AsyncIterator[EmbeddingUpstream]:
    upstream = EmbeddingUpstream()
    app = web.Application(client_max_size=1 << 28)
    app.router.add_post("/v1/embeddings", upstream.answer)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    upstream.base_url = f"http://{host}:{port}/v1"
    try:
        yield upstream
    finally:
        await runner.cleanup()
