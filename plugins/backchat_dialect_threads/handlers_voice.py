"""The two WebSockets of the hosted service, where this server has nothing to offer but a reason."""

from __future__ import annotations

from contextlib import suppress

from aiohttp import web

from backchat.errors import InvalidInput
from backchat.web.dialect import Call

PATIENCE = 5.0
"""Seconds to wait for the first word of a client."""


async def voice(call: Call) -> web.StreamResponse:
    return await _refuse(call, "this server has no voice sessions: neither speech to text nor text to speech")


async def realtime(call: Call) -> web.StreamResponse:
    return await _refuse(call, "this server has no realtime sessions")


async def _refuse(call: Call, reason: str) -> web.StreamResponse:
    """Accept and say why not: a client cannot read the body of a refused handshake.

    Not before it has said something, for the SDK sends its wishes first and would find the socket closed.
    """
    socket = web.WebSocketResponse()
    if not socket.can_prepare(call.request):
        raise InvalidInput("this address takes WebSocket connections only")
    await socket.prepare(call.request)
    try:
        with suppress(TimeoutError):
            await socket.receive(timeout=PATIENCE)
        await socket.send_json({"type": "error", "message": reason})
        await socket.close(code=1000)
    except ConnectionResetError:
        pass
    return socket
