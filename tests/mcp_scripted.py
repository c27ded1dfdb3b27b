"""An MCP server of protocol 2025-06-18 over HTTP that answers what it is told, for what no well-made server does."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from aiohttp import web

VERSION = "2025-06-18"
FORGOTTEN = [
    ('{"jsonrpc": "2.0", "id": null, "error": {"code": -32001, "message": "Session not found"}}', "application/json"),
    ("", "text/plain"),
]
"""How servers say that they do not know a session: body and type, with status 404."""


@dataclass
class Scripted:
    """``tools`` are those that it lists; ``result`` is that of every call, in place of which
    it answers with ``error`` until it is asked for its tools again.

    endless    it lists pages without an end;  hangs  methods that it never answers
    forgets    how it answers when it does not know a session
    sessions   those that it knows;  opened  how many there were;  calls  the arguments of the calls that it did
    """

    url: str = ""
    tools: list[dict[str, Any]] = field(default_factory=lambda: [tool()])
    result: Mapping[str, Any] = field(default_factory=lambda: {"content": [{"type": "text", "text": "ok"}]})
    error: Mapping[str, Any] | None = None
    endless: bool = False
    hangs: frozenset[str] = frozenset()
    forgets: tuple[str, str] = FORGOTTEN[0]
    sessions: set[str] = field(default_factory=set)
    opened: int = 0
    calls: list[Any] = field(default_factory=list)
    hung: asyncio.Event = field(default_factory=asyncio.Event)
    over: asyncio.Event = field(default_factory=asyncio.Event)

    async def answer(self, request: web.Request) -> web.Response:
        if request.method != "POST":
            await self._hang(request.method)
            return web.Response(status=405)
        message = await request.json()
        method, id = message["method"], message.get("id")
        await self._hang(method)
        if method == "initialize":
            self.opened += 1
            session = f"s{self.opened}"
            self.sessions.add(session)
            about = {"name": "scripted", "version": "1"}
            result: Any = {"protocolVersion": VERSION, "capabilities": {"tools": {}}, "serverInfo": about}
            return self._said(id, result, {"Mcp-Session-Id": session})
        if method == "server/discover":
            return web.json_response({"jsonrpc": "2.0", "id": id, "error": {"code": -32601, "message": "no"}})
        if request.headers.get("Mcp-Session-Id") not in self.sessions:
            body, type = self.forgets
            return web.Response(status=404, text=body, content_type=type)
        if id is None:
            return web.Response(status=202)
        if method == "tools/list":
            self.error = None
            more = {"nextCursor": f"c{next(_CURSORS)}"} if self.endless else {}
            return self._said(id, {"tools": self.tools, **more})
        self.calls.append(message["params"]["arguments"])
        if self.error is not None:
            return web.json_response({"jsonrpc": "2.0", "id": id, "error": self.error})
        return self._said(id, self.result)

    async def _hang(self, method: str) -> None:
        if method in self.hangs:
            self.hung.set()
            await self.over.wait()

    def _said(self, id: Any, result: Any, headers: Mapping[str, str] | None = None) -> web.Response:
        body = json.dumps({"jsonrpc": "2.0", "id": id, "result": result})
        return web.Response(text=body, content_type="application/json", headers=headers)


_CURSORS = count()


def tool(name: str = "do", **more: Any) -> dict[str, Any]:
    return {"name": name, "inputSchema": {"type": "object"}, **more}


@asynccontextmanager
async def scripted(**script: Any) -> AsyncIterator[Scripted]:
    server = Scripted(**script)
    app = web.Application()
    app.router.add_route("*", "/mcp", server.answer)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        server.url = f"http://127.0.0.1:{runner.addresses[0][1]}/mcp"
        yield server
    finally:
        server.over.set()
        await runner.cleanup()
