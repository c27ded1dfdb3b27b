"""``backchat chat`` against a server that misbehaves."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import pairwise

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from hypothesis import given
from hypothesis import strategies as st

from backchat.cli import client
from backchat.cli.chat import Talk
from backchat.cli.client import ChatClient, Refused
from backchat.cli.events import Event, EventParser

# ---- server-sent events ---------------------------------------------------------------------------------------------

STREAM = (
    b": ping\n\nid: 1\nevent: a\ndata: x\n\ndata:y\r\ndata: \xe2\x82\xac\r\n\r\n"
    b"id: 3\rdata\r\revent: lost\n\ndata: late"
)


@given(st.lists(st.integers(0, len(STREAM))))
def test_events_come_out_however_the_bytes_are_cut(cuts: list[int]) -> None:
    places = [0, *sorted(cuts), len(STREAM)]
    parser = EventParser()
    found = [e for a, b in pairwise(places) for e in parser.feed(STREAM[a:b])]
    assert found == [Event("1", "a", "x"), Event("1", "message", "y\n€"), Event("3", "message", "")]


# ---- the client against a server that misbehaves --------------------------------------------------------------------

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
META = b'event: meta\nid: 0\ndata: {"type":"meta","conversation_id":"c","provider":"p","run_id":"r"}\n\n'
DONE = b'event: done\nid: 9\ndata: {"type":"done","reply":"12"}\n\n'


def delta(number: int) -> bytes:
    return b'event: assistant\nid: %d\ndata: {"type":"assistant","delta":"%d"}\n\n' % (number, number)


def shows(*frames: bytes, breaks: bool = False) -> Handler:
    """Answer with these frames; then end, or cut the connection in the middle of the next frame."""

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for frame in frames:
            await response.write(frame)
        if breaks:
            await response.write(b"event: assistant\ndata: {")
            assert request.transport is not None
            request.transport.abort()
        return response

    return answer


def says(status: int, body: object) -> Handler:
    async def answer(request: web.Request) -> web.Response:
        return web.json_response(body, status=status)

    return answer


async def vanishes(request: web.Request) -> web.Response:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


class Script:
    """A server that answers each request as the next handler of a list does, and remembers what it was asked."""

    def __init__(self, handlers: list[Handler]) -> None:
        self._handlers = handlers
        self.asked: list[str] = []
        self.once: list[str | None] = []

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(f"{request.method} {request.path} {request.headers.get('Last-Event-ID', '')}".rstrip())
        self.once.append(request.headers.get("Idempotency-Key"))
        assert request.headers["Authorization"] == "Bearer k"
        await request.read()
        return await self._handlers[len(self.asked) - 1](request)


@asynccontextmanager
async def scripted(*handlers: Handler) -> AsyncIterator[tuple[Script, ChatClient]]:
    script = Script(list(handlers))
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", script.answer)
    async with TestServer(app) as server, ChatClient(str(server.make_url("/")), "k") as chat:
        yield script, chat


async def replies(chat: ChatClient) -> list[str]:
    return [event.get("delta", event["type"]) async for event in chat.say({"text": "Hi"})]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "PAUSES", (0.0, 0.0, 0.0))


@pytest.mark.usefixtures("quick")
async def test_a_broken_stream_is_taken_up_where_it_broke() -> None:
    first = shows(META, delta(1), breaks=True)
    async with scripted(first, says(502, {}), vanishes, shows(delta(2)), shows(DONE)) as (script, chat):
        assert await replies(chat) == ["meta", "1", "2", "done"]
    follow = "GET /api/chat/stream/r"
    assert script.asked == ["POST /api/chat/stream", *[f"{follow} 1"] * 3, f"{follow} 2"]


@pytest.mark.usefixtures("quick")
async def test_a_message_whose_answer_broke_off_at_once_is_sent_again_under_the_same_key() -> None:
    async with scripted(shows(breaks=True), shows(META, DONE)) as (script, chat):
        assert await replies(chat) == ["meta", "done"]
    assert script.asked == ["POST /api/chat/stream"] * 2
    assert script.once[0]
    assert script.once[0] == script.once[1]


@pytest.mark.usefixtures("quick")
async def test_it_gives_up_in_the_end() -> None:
    async with scripted(shows(META, delta(1)), *[says(503, {})] * 9) as (script, chat):
        with pytest.raises(Refused, match="does not come back"):
            await replies(chat)
    assert len(script.asked) == 4


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (401, {"detail": "Invalid or expired token"}, "401: Invalid or expired token"),
        (422, {"detail": [{"loc": ["body", "text"], "msg": "Blank.", "type": "t"}]}, "422: body.text: Blank."),
        (503, {"detail": "the server is shutting down"}, "503: the server is shutting down"),
        (500, ["what"], "500: Internal Server Error"),
    ],
)
async def test_a_refusal_is_told_in_the_servers_words(status: int, body: object, message: str) -> None:
    async with scripted(says(status, body)) as (script, chat):
        with pytest.raises(Refused, match=f"^{re.escape(message)}$"):
            await replies(chat)
    assert len(script.asked) == 1


async def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as found:
        free_port = found.getsockname()[1]
    async with ChatClient(f"http://127.0.0.1:{free_port}", "k") as chat:
        with pytest.raises(Refused, match=r"cannot reach .*: Connection refused"):
            await replies(chat)


async def test_an_answer_cannot_command_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    data = rb'{"type":"assistant","delta":"a\u001b]0;b\u0007\u009bc\td\r\n"}'
    async with scripted(shows(META, b"event: assistant\ndata: %b\n\n" % data, DONE)) as (_, chat):
        assert await Talk(chat, None, None).turn("Hi")
    assert capsys.readouterr().out == "a]0;bc\td\n\n"


async def test_what_is_not_the_answer_goes_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    shown = [
        b'event: status\ndata: {"type":"status","text":"Searching"}\n\n',
        b'event: reasoning\ndata: {"type":"reasoning","delta":"Hm, "}\n\n',
        b'event: reasoning\ndata: {"type":"reasoning","delta":"so."}\n\n',
        b'event: tool_start\ndata: {"type":"tool_start","name":"get_time","label":"get time"}\n\n',
        delta(1),
        b'event: error\ndata: {"type":"error","code":"timeout","error":"Error: too slow"}\n\n',
    ]
    async with scripted(shows(META, *shown)) as (_, chat):
        assert not await Talk(chat, None, None).turn("Hi")
    assert capsys.readouterr() == ("1\n", "Searching\nHm, so.\n(get time)\nError: too slow\n")


CONFIRM = (
    b'event: confirm\nid: 2\ndata: {"type":"confirm","run_id":"r","calls":'
    b'[{"id":"c1","name":"send_mail","label":"send mail","arguments":{"to":"a\\u001b[2J"}}]}\n\n'
)


@pytest.mark.parametrize(("says_yes", "sent"), [(True, True), (False, False), (None, False)])
async def test_whoever_talks_decides_what_a_tool_may_do(
    says_yes: bool | None, sent: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nobody to ask is no."""
    decided: list[object] = []

    async def take(request: web.Request) -> web.Response:
        decided.append(await request.json())
        return web.json_response({"ok": True, "run_id": "r", "status": "running"})

    async def ask(stopped: asyncio.Event) -> bool:
        return bool(says_yes)

    async with scripted(shows(META, CONFIRM, DONE), take) as (script, chat):
        assert await Talk(chat, None, None, ask if says_yes is not None else None).turn("Send it")
    assert decided == [{"allow": sent}]
    assert script.asked[1] == "POST /api/chat/stream/r/confirm"
    shown = capsys.readouterr().err
    assert 'send mail {"to": "a[2J"}' in shown or 'send mail {"to": "a\\u001b[2J"}' in shown
    assert "\x1b[2J" not in shown


async def test_who_decides_too_late_sees_how_it_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    late = says(409, {"detail": "somebody has decided"})
    async with scripted(shows(META, CONFIRM, DONE), late) as (_, chat):
        assert await Talk(chat, None, None).turn("Send it")
    assert "somebody has decided" in capsys.readouterr().err
