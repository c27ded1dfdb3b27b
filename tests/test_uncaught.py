"""What is logged, or answered, where nobody was expected to fail: where, and by what, but none of the words in it."""

from __future__ import annotations

import asyncio
import gc
import logging
import socket
import sys
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest
import structlog
from aiohttp import web

from backchat.testing.server import running
from backchat.web.connections import NOT_HTTP, Runner
from backchat.web.logs import log_the_uncaught, set_up_logs
from vault_marked import traces, word

Captured = pytest.CaptureFixture[str]
WORD = word()


class Fault(Exception):
    pass


@pytest.fixture
async def hooked() -> AsyncIterator[None]:
    hooks = threading.excepthook, sys.unraisablehook, sys.excepthook
    log_the_uncaught()
    yield
    threading.excepthook, sys.unraisablehook, sys.excepthook = hooks
    asyncio.get_running_loop().set_exception_handler(None)


def lines(capture: Captured) -> list[dict[str, Any]]:
    said = capture.readouterr()
    assert not traces({"log": said.err.encode(), "output": said.out.encode()}, [WORD])
    return [orjson.loads(line) for line in said.err.splitlines()]


def fail(text: str) -> None:
    raise Fault(text)


async def failing(text: str) -> None:
    raise Fault(text)


# ---- nobody catches -------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("hooked")
async def test_a_task_that_nobody_waited_for(capsys: Captured) -> None:
    task = asyncio.create_task(failing(WORD), name=WORD)
    await asyncio.wait({task})
    del task
    gc.collect()
    (line,) = lines(capsys)
    assert (line["event"], line["at"], line["exception"]) == ("fault.uncaught", "loop", "Fault")
    assert line["frames"][-1].endswith(" failing")


@pytest.mark.usefixtures("hooked")
async def test_a_callback_of_the_loop(capsys: Captured) -> None:
    asyncio.get_running_loop().call_soon(fail, WORD)
    await asyncio.sleep(0)
    (line,) = lines(capsys)
    assert (line["at"], line["exception"]) == ("loop", "Fault")


@pytest.mark.usefixtures("hooked")
async def test_what_the_loop_complains_of_without_an_exception(capsys: Captured) -> None:
    asyncio.get_running_loop().call_exception_handler({"message": "Unclosed connector", "connections": [WORD]})
    (line,) = lines(capsys)
    assert (line["at"], line["message"]) == ("loop", "Unclosed connector")


@pytest.mark.usefixtures("hooked")
async def test_a_thread(capsys: Captured) -> None:
    thread = threading.Thread(target=fail, args=(WORD,), name=WORD)
    thread.start()
    await asyncio.to_thread(thread.join)
    (line,) = lines(capsys)
    assert (line["at"], line["exception"]) == ("thread", "Fault")


@pytest.mark.usefixtures("hooked")
async def test_an_object_that_fails_while_it_is_destroyed(capsys: Captured) -> None:
    class Last:
        def __repr__(self) -> str:
            return WORD

        def __del__(self) -> None:
            raise Fault(WORD)

    Last()
    gc.collect()
    (line,) = lines(capsys)
    assert (line["at"], line["exception"]) == ("finalizer", "Fault")


@pytest.mark.usefixtures("hooked")
async def test_an_exception_that_ends_the_process(capsys: Captured) -> None:
    try:
        fail(WORD)
    except Fault as error:
        sys.excepthook(Fault, error, error.__traceback__)
    (line,) = lines(capsys)
    assert (line["at"], line["exception"]) == ("end", "Fault")


# ---- other libraries' lines -----------------------------------------------------------------------------------------


def test_of_what_a_library_fills_in_only_numbers_are_shown(capsys: Captured) -> None:
    set_up_logs("json", "debug")  # only the server's own handler, not pytest's
    library = logging.getLogger("library")
    library.warning("Executing %s took %.3f seconds", f"<Handle say({WORD!r})>", 0.25)
    library.warning("%(what)r failed with %(why)s after %(n)d", {"what": WORD, "why": Fault(WORD), "n": 3})
    library.error("broken", exc_info=Fault(WORD))
    library.error(Fault(WORD))
    library.error("%d", WORD)
    library.info("never %s", WORD)
    assert [line["event"] for line in lines(capsys)] == [
        "Executing … took 0.250 seconds",
        "… failed with Fault after 3",
        "broken",
        "Fault",
        "log.failed",
    ]


async def test_a_slow_callback_in_the_debug_mode_of_asyncio(capsys: Captured) -> None:
    loop = asyncio.get_running_loop()
    loop.set_debug(True)
    loop.slow_callback_duration = 0
    try:
        loop.call_soon(str, WORD)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    finally:
        loop.set_debug(False)
    assert {line["logger"] for line in lines(capsys)} == {"asyncio"}


def test_the_secret_of_a_key_is_cut_from_a_line(capsys: Captured) -> None:
    secret = WORD * 6
    structlog.get_logger().info(
        "request", path=f"/api/v1/vault/tokens/bsk_01a1fea4_{secret}", other=f"x bsr_1-2_{secret}."
    )
    (line,) = lines(capsys)
    assert (line["path"], line["other"]) == ("/api/v1/vault/tokens/bsk_01a1fea4", "x bsr_1-2.")


# ---- what is not HTTP -----------------------------------------------------------------------------------------------


def exchanged(port: int, sent: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(sent)
        return b"".join(iter(lambda: connection.recv(65536), b""))


@pytest.fixture
async def port() -> AsyncIterator[int]:
    """A server whose only route answers with what it is sent; in asyncio's debug mode, in which aiohttp says more."""

    async def echo(request: web.Request) -> web.Response:
        return web.Response(body=await request.read())

    app = web.Application()
    app.router.add_post("/", echo)
    loop = asyncio.get_running_loop()
    loop.set_debug(True)
    runner = Runner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield site.port
    await runner.cleanup()
    loop.set_debug(False)


GET = b"GET / HTTP/1.1\r\nHost: x\r\n"


@pytest.mark.parametrize(
    "sent",
    [
        b'POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}{"messages": [{"content": "%b"}]}\r\n\r\n',
        GET + b"bad header %b: 1\r\n\r\n",
        GET + b"Transfer-Encoding: chunked\r\n\r\n%b\r\n",
        b"%b / HTTP/9\r\n\r\n",
        b"GET /%b\x00 HTTP/1.1\r\n\r\n",
        GET + b"X: " + 9000 * b"%b" + b"\r\n\r\n",
    ],
)
async def test_what_is_not_http_is_not_repeated(port: int, sent: bytes, capsys: Captured) -> None:
    answer = await asyncio.to_thread(exchanged, port, sent.replace(b"%b", WORD.encode()))
    assert not traces({"answer": answer}, [WORD])
    head, _, body = answer.rpartition(b"\r\n\r\n")
    assert b"HTTP/1.0 400 Bad Request" in head
    assert b"aiohttp" not in head
    assert body.decode() == NOT_HTTP
    lines(capsys)


async def test_methods_that_no_route_has_are_counted_as_one(tmp_path: Path, capsys: Captured) -> None:
    async with running(tmp_path) as box:
        for method in ("PURGE", "MKCOL"):
            assert (await box.client.request(method, "/api/chat")).status == 405
        counted = await (await box.client.get("/metrics")).text()
    assert 'backchat_http_requests_total{method="other",route="unmatched",status="405"} 2.0' in counted
    assert [line["method"] for line in lines(capsys) if line["event"] == "request"] == ["other", "other", "GET"]
