"""An upstream that speaks every provider's protocol with bytes made beforehand, by the path that is asked.

``python -m bench.protocols --port 9100``. One token for each write: ``/t1000-g20`` at the beginning of a path asks for
a thousand of them, 20 milliseconds apart. Nothing else of a request is looked at, but its length.
"""

from __future__ import annotations

import argparse
import asyncio
import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

import orjson
import uvloop

from bench.script import token

MODEL = "bench"
_WANTED = re.compile(r"/t(\d+)-g([\d.]+)/")
Made = tuple[str, Sequence[bytes]]
"""A content type, and the pieces of a body."""


def _sse(data: Mapping[str, Any], *, named: bool = False) -> bytes:
    name = b"event: %b\n" % str(data["type"]).encode() if named else b""
    return name + b"data: " + orjson.dumps(data) + b"\n\n"


def chat_completions(tokens: int) -> Made:
    head = {"id": "chatcmpl-bench", "object": "chat.completion.chunk", "created": 1_700_000_000, "model": MODEL}

    def event(delta: Mapping[str, str], finish: str | None = None) -> bytes:
        return _sse({**head, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})

    usage = {"prompt_tokens": 10, "completion_tokens": tokens, "total_tokens": 10 + tokens}
    end = [event({}, "stop"), _sse({**head, "choices": [], "usage": usage}), b"data: [DONE]\n\n"]
    begin = [event({"role": "assistant", "content": ""})]
    return "text/event-stream", [*begin, *[event({"content": token(n)}) for n in range(tokens)], *end]


def responses(tokens: int) -> Made:
    said = "".join(token(n) for n in range(tokens))
    item = {"id": "msg_1", "type": "message", "role": "assistant"}
    part = {"type": "output_text", "text": said, "annotations": []}
    usage = {"input_tokens": 10, "output_tokens": tokens, "total_tokens": 10 + tokens}
    done = {**item, "status": "completed", "content": [part]}
    answer = {"id": "resp_1", "object": "response", "created_at": 1_700_000_000, "model": MODEL}
    place = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    events: list[dict[str, Any]] = [
        {"type": "response.created", "response": {**answer, "status": "in_progress", "output": []}},
        {"type": "response.output_item.added", "output_index": 0, "item": {**item, "content": []}},
        {"type": "response.content_part.added", **place, "part": {**part, "text": ""}},
        *[{"type": "response.output_text.delta", **place, "delta": token(n)} for n in range(tokens)],
        {"type": "response.output_text.done", **place, "text": said},
        {"type": "response.content_part.done", **place, "part": part},
        {"type": "response.output_item.done", "output_index": 0, "item": done},
        {
            "type": "response.completed",
            "response": {**answer, "status": "completed", "output": [done], "usage": usage},
        },
    ]
    return "text/event-stream", [_sse({**e, "sequence_number": n}, named=True) for n, e in enumerate(events)]


def anthropic(tokens: int) -> Made:
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": MODEL, "content": []}
    events: list[dict[str, Any]] = [
        {
            "type": "message_start",
            "message": {
                **message,
                "stop_reason": None,
                "stop_sequence": None,
                "usage": {"input_tokens": 10, "output_tokens": 1},
            },
        },
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        *[
            {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": token(n)}}
            for n in range(tokens)
        ],
        {"type": "content_block_stop", "index": 0},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn", "stop_sequence": None},
            "usage": {"output_tokens": tokens},
        },
        {"type": "message_stop"},
    ]
    return "text/event-stream", [_sse(event, named=True) for event in events]


def google(tokens: int) -> Made:
    def chunk(n: int) -> bytes:
        last = n == tokens - 1
        candidate = {"content": {"parts": [{"text": token(n)}], "role": "model"}, "index": 0}
        usage = {"promptTokenCount": 10, "candidatesTokenCount": n + 1, "totalTokenCount": 11 + n}
        return _sse(
            {
                "candidates": [{**candidate, "finishReason": "STOP"} if last else candidate],
                "usageMetadata": usage,
                "modelVersion": MODEL,
                "responseId": "bench",
            }
        )

    return "text/event-stream", [chunk(n) for n in range(tokens)]


def ollama(tokens: int) -> Made:
    def line(text: str, **more: Any) -> bytes:
        said = {"model": MODEL, "created_at": "2026-01-01T00:00:00Z", "message": {"role": "assistant", "content": text}}
        return orjson.dumps({**said, "done": False, **more}) + b"\n"

    end = line("", done=True, done_reason="stop", prompt_eval_count=10, eval_count=tokens)
    return "application/x-ndjson", [*[line(token(n)) for n in range(tokens)], end]


PATHS: Mapping[str, Callable[[int], Made]] = {
    "/chat/completions": chat_completions,
    "/responses": responses,
    "/messages": anthropic,
    ":streamGenerateContent": google,
    "/api/chat": ollama,
}
"""By how the path ends."""


@lru_cache(64)
def made(path: str, tokens: int) -> Made:
    """Raises StopIteration for a path of no protocol."""
    return next(make for end, make in PATHS.items() if path.endswith(end))(tokens)


class Upstream(asyncio.Protocol):
    """One request at a time on each connection, which is kept."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None
        self._answering: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # uvloop's does not inherit from it

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer
        buffer += data
        head, found, _ = buffer.partition(b"\r\n\r\n")
        if not found:
            return
        length = next(
            (int(f.split(b":")[1]) for f in head.split(b"\r\n") if f.lower().startswith(b"content-length:")), 0
        )
        if len(buffer) < len(head) + 4 + length:
            return
        target = head.split(b" ", 2)[1].decode()
        buffer.clear()
        self._answering = asyncio.get_running_loop().create_task(self._answer(target))

    async def _answer(self, target: str) -> None:
        url = urlsplit(target)
        if url.path == "/ready":
            self._write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            return
        wanted = _WANTED.match(url.path)
        assert wanted is not None, "a path of this rig's own"
        kind, pieces = made(url.path, int(wanted[1]))
        gap = float(wanted[2]) / 1000
        self._write(b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\nTransfer-Encoding: chunked\r\n\r\n" % kind.encode("ascii"))
        for piece in pieces:
            self._write(b"%x\r\n%b\r\n" % (len(piece), piece))
            await asyncio.sleep(gap)
        self._write(b"0\r\n\r\n")

    def _write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)


async def serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Upstream, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--port", type=int, required=True)
    uvloop.run(serve(arguments.parse_args().port))
