"""The yardstick: the least that a server in aiohttp can do between a chat client and an upstream.

``python -m bench.relay --port 9101 --upstream http://127.0.0.1:9100``. No authentication, no storage, no history. It
reads the upstream's events one by one with orjson and writes each one as an SSE event of its own.
"""

from __future__ import annotations

import argparse
from collections.abc import AsyncIterator

import aiohttp
import orjson
import uvloop
from aiohttp import web

_EVENT_STREAM = {"Content-Type": "text/event-stream", "Cache-Control": "no-cache"}
_JSON = {"Content-Type": "application/json"}
_SESSION = web.AppKey("session", aiohttp.ClientSession)


def build(upstream: str) -> web.Application:
    url = f"{upstream}/v1/chat/completions"

    async def session(app: web.Application) -> AsyncIterator[None]:
        # aiohttp's client keeps 100 connections unless it is told otherwise; 1,000 streams need 1,000.
        connector = aiohttp.TCPConnector(limit=0)
        timeout = aiohttp.ClientTimeout(total=None)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as opened:
            app[_SESSION] = opened
            yield

    async def relay(request: web.Request) -> web.StreamResponse:
        said = orjson.loads(await request.read())["text"]
        asked = orjson.dumps({"model": "bench", "messages": [{"role": "user", "content": said}], "stream": True})
        response = web.StreamResponse(headers=_EVENT_STREAM)
        await response.prepare(request)
        rest = b""
        async with request.app[_SESSION].post(url, data=asked, headers=_JSON) as reply:
            async for data in reply.content.iter_any():
                *events, rest = (rest + data).split(b"\n\n")
                for event in events:
                    if event == b"data: [DONE]":
                        continue
                    choices = orjson.loads(event[6:])["choices"]
                    if choices and (text := choices[0]["delta"].get("content")):
                        await response.write(b"data: %b\n\n" % orjson.dumps({"delta": text}))
        await response.write_eof()
        return response

    async def ready(request: web.Request) -> web.Response:
        return web.Response()

    app = web.Application()
    app.cleanup_ctx.append(session)
    app.router.add_post("/api/chat/stream", relay)
    app.router.add_get("/ready", ready)
    return app


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--upstream", required=True)
    given = parser.parse_args()
    web.run_app(
        build(given.upstream),
        host="127.0.0.1",
        port=given.port,
        backlog=4096,
        print=None,
        access_log=None,
        loop=uvloop.new_event_loop(),
    )


if __name__ == "__main__":
    main()
