"""An OpenAI-compatible upstream that costs next to nothing: bytes made beforehand, written by a bare Protocol.

``python -m bench.upstream --port 9100``. ``POST /v1/chat/completions`` streams what the script in the last message asks
for (``bench.script``), one token for each write, and lets the event loop turn between them. A request for JSON is taken
for backchat's ``recall``, which asks what to remember. ``GET /stats`` counts; ``POST /reset`` starts the counts again.
"""

from __future__ import annotations

import argparse
import asyncio
from collections import Counter
from functools import lru_cache, partial
from time import monotonic_ns as clock
from typing import Any, cast

import orjson
import uvloop

from bench.script import Script, first_token, parse, stamped_token, token

_CHUNK = {"id": "chatcmpl-bench", "object": "chat.completion.chunk", "created": 1_700_000_000, "model": "bench"}
_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
_END = b"0\r\n\r\n"


def _framed(data: bytes) -> bytes:
    return b"%x\r\ndata: %b\n\n\r\n" % (len(data) + 8, data)


def _event(delta: dict[str, str], finish: str | None = None) -> bytes:
    return _framed(orjson.dumps({**_CHUNK, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}))


@lru_cache(4096)
def _token_event(index: int) -> bytes:
    return _event({"content": token(index)})


@lru_cache(256)
def _closing(usage: bool, tokens: int) -> bytes:
    counts = {"prompt_tokens": 10, "completion_tokens": tokens, "total_tokens": 10 + tokens}
    report = _framed(orjson.dumps({**_CHUNK, "choices": [], "usage": counts})) if usage else b""
    return _event({}, "stop") + report + _framed(b"[DONE]") + _END


_OPENING = _HEAD + _event({"role": "assistant", "content": ""})


def lesson(said: str) -> str:
    """What a model would remember: the first line of what was said in two; and that every fact is a new one."""
    asked = orjson.loads(said)
    if "facts" in asked:
        return orjson.dumps({"decisions": [{"fact": f["fact"], "action": "add"} for f in asked["facts"]]}).decode()
    first, _, rest = asked["said"].partition("\n")
    return orjson.dumps({"facts": [first] if rest else []}).decode()


class Counts:
    """What has been asked. ``messages``: requests by the number of messages in them, instructions left out.

    ``lessons`` are the requests for JSON, which are in no other number.
    """

    def __init__(self) -> None:
        self.active = 0
        self.reset()

    def reset(self) -> None:
        self.requests = self.completed = self.abandoned = self.lessons = 0
        self.peak = self.active
        self.messages: Counter[int] = Counter()

    def as_dict(self) -> dict[str, Any]:
        messages = {str(number): times for number, times in sorted(self.messages.items())}
        return {
            "requests": self.requests,
            "completed": self.completed,
            "abandoned": self.abandoned,
            "active": self.active,
            "peak": self.peak,
            "lessons": self.lessons,
            "messages": messages,
        }


class Upstream(asyncio.Protocol):
    """One connection: a request, its reply, the next request."""

    def __init__(self, counts: Counts) -> None:
        self.counts, self.loop = counts, asyncio.get_running_loop()
        self.waiting = b""
        self.script: Script | None = None
        self.timer: asyncio.Handle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.WriteTransport, transport)  # uvloop's does not inherit from it

    def connection_lost(self, exc: Exception | None) -> None:
        if self.timer is not None:
            self.timer.cancel()
        if self.script is not None:
            self.counts.abandoned += 1
            self.counts.active -= 1
            self.script = None

    def data_received(self, data: bytes) -> None:
        self.waiting += data
        head_end = self.waiting.find(b"\r\n\r\n")
        if self.script is not None or head_end < 0:
            return
        head = self.waiting[:head_end]
        fields = dict(line.lower().split(b":", 1) for line in head.split(b"\r\n")[1:])
        if b"transfer-encoding" in fields:
            self.transport.write(b"HTTP/1.1 411 Length Required\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            self.transport.close()
            return
        end = head_end + 4 + int(fields.get(b"content-length", b"0"))
        if len(self.waiting) < end:
            return
        body, self.waiting = self.waiting[head_end + 4 : end], self.waiting[end:]
        method, path, _ = head.split(b" ", 2)
        self._answer(method, path, body)

    def _answer(self, method: bytes, path: bytes, body: bytes) -> None:
        if path.endswith(b"/chat/completions"):
            self._begin(orjson.loads(body))
        elif path == b"/stats":
            self._json(b"200 OK", self.counts.as_dict())
        elif path == b"/reset" and method == b"POST":
            self.counts.reset()
            self._json(b"200 OK", {})
        else:
            self._json(b"404 Not Found", {"error": {"message": "no such path"}})

    def _json(self, status: bytes, value: object) -> None:
        body = orjson.dumps(value)
        head = b"HTTP/1.1 %b\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % (status, len(body))
        self.transport.write(head + body)

    def _begin(self, request: dict[str, Any]) -> None:
        messages = request["messages"]
        said = messages[-1]["content"]
        counts = self.counts
        if (request.get("response_format") or {}).get("type") == "json_object":
            counts.lessons += 1
            self.transport.write(_OPENING + _event({"content": lesson(said)}) + _closing(True, 16))
            return None
        counts.requests += 1
        counts.messages[sum(1 for m in messages if m["role"] != "system")] += 1
        try:
            script = parse(said if isinstance(said, str) else orjson.dumps(said).decode())
        except ValueError as error:
            return self._json(b"400 Bad Request", {"error": {"message": str(error)}})
        if not request.get("stream"):
            return self._json(b"400 Bad Request", {"error": {"message": "only streams"}})
        counts.active += 1
        counts.peak = max(counts.peak, counts.active)
        self.script, self.index = script, 0
        self.usage = bool((request.get("stream_options") or {}).get("include_usage"))
        self.transport.write(_OPENING)
        self.due = self.loop.time()
        self._schedule()
        return None

    def _schedule(self) -> None:
        assert self.script is not None
        if self.script.gap:
            self.due += self.script.gap / 1000
            self.timer = self.loop.call_at(self.due, self._step)
        else:
            self.timer = self.loop.call_soon(self._step)

    def _step(self) -> None:
        script, index = self.script, self.index
        assert script is not None
        if script.stamped:
            written = stamped_token(index, clock())
            event = _event({"content": written if index else first_token(script.nonce) + written})
        else:
            event = _token_event(index) if index else _event({"content": first_token(script.nonce)})
        self.index += 1
        if self.index < script.tokens:
            self.transport.write(event)
            return self._schedule()
        self.transport.write(event + _closing(self.usage, script.tokens))
        self.script = self.timer = None
        self.counts.active -= 1
        self.counts.completed += 1
        if self.waiting:
            self.data_received(b"")
        return None


async def serve(port: int) -> None:
    loop, counts = asyncio.get_running_loop(), Counts()
    server = await loop.create_server(partial(Upstream, counts), "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    uvloop.run(serve(parser.parse_args().port))


if __name__ == "__main__":
    main()
