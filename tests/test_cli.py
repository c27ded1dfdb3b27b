"""Commands that end by themselves, the terminal client against a server that misbehaves, the crew of workers."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path

import click
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from backchat import __version__
from backchat.cli import client, crew, main
from backchat.cli.chat import Talk
from backchat.cli.client import ChatClient, Refused
from backchat.cli.crew import Crew, reserve
from backchat.cli.events import Event, EventParser
from backchat.cli.reference import reference
from backchat.cli.welcome import url_of
from served import until

ROOT = Path(__file__).parent.parent


def all_commands(command: click.Command = main, path: str = "backchat") -> Iterator[tuple[str, click.Command]]:
    yield path, command
    if isinstance(command, click.Group):
        for name in command.list_commands(click.Context(command)):
            child = command.get_command(click.Context(command), name)
            assert child is not None
            yield from all_commands(child, f"{path} {name}")


# ---- documentation --------------------------------------------------------------------------------------------------


def test_the_reference_is_up_to_date() -> None:
    assert (ROOT / "docs" / "cli.md").read_text() == reference()


def test_every_command_and_option_is_explained() -> None:
    shown = [(path, command) for path, command in all_commands() if not command.hidden]
    assert "backchat keys revoke" in dict(shown)
    page = reference()
    for path, command in shown:
        assert command.help, path
        assert f"# {path}\n" in page
        for option in command.params:
            if isinstance(option, click.Option):
                assert option.help, f"{path} {option.name}"
                assert f"| `{option.opts[0]}" in page


# ---- commands on an installation ------------------------------------------------------------------------------------

Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run a command; those that work on an installation do so on one in the test's own directory."""

    def ran(*args: str, stdin: str = "") -> Result:
        place = ["--data", str(tmp_path / "data")] if args[0] in ("keys", "users") else []
        return CliRunner().invoke(main, [*args, *place], input=stdin)

    return ran


def test_version(run: Run) -> None:
    assert run("--version").output == f"backchat, version {__version__}\n"


def test_users(run: Run) -> None:
    made = run("users", "create", "ada", "--email", "ada@example.org", "--password-stdin", stdin="correct horse\n")
    assert (made.exit_code, made.stderr) == (0, "")
    listed = run("users", "list").output
    for cell in (made.stdout.strip(), "ada@example.org", " user "):
        assert cell in listed
    again = run("users", "create", "ADA")
    assert (again.exit_code, again.stdout) == (1, "")
    assert again.stderr == "Error: name: this user name is taken\n"
    assert run("users", "create", "bob", "--password-stdin", stdin="\n").exit_code == 2
    assert "bob" not in run("users", "list").output


def test_keys(run: Run) -> None:
    made = run("keys", "create", "--user", "ada", "--name", "[red]laptop", "--scope", "chat", "--expires", "90d")
    assert (made.exit_code, made.stderr) == (0, "")
    assert re.fullmatch(r"bsk_[0-9a-f]{32}_\w{43}\n", made.stdout)
    _, id, secret = made.stdout.strip().split("_")
    second = run("keys", "create", "--user", "ada", "--platform", "phone").stdout.split("_")[1]
    assert run("users", "list").output.count("ada") == 1
    revoked = run("keys", "revoke", second)
    assert revoked.exit_code == 0
    listed = run("keys", "list").output
    assert secret not in listed
    first_row, second_row = (next(line for line in listed.splitlines() if i in line) for i in (id, second))
    time = r"\d{4}-\d\d-\d\d \d\d:\d\d"
    assert re.search(rf"ada +\[red\]laptop +chat +{time} +{time} *$", first_row)
    assert re.search(rf"ada +cli +phone +all +{time} +never +{time} *$", second_row)


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (["revoke", "nope"], 1, "Error: API key not found"),
        (["create", "--user", " "], 1, "Error: name: must be 1 to 100 printable characters"),
        (["create", "--user", "a", "--expires", "soon"], 2, "is not a duration such as"),
        (["create", "--user", "a", "--expires", "0d"], 2, "is not a duration such as"),
        (["create"], 2, "Missing option '--user'"),
    ],
)
def test_keys_refuse(run: Run, args: list[str], code: int, message: str) -> None:
    refused = run("keys", *args)
    assert (refused.exit_code, refused.stdout) == (code, "")
    assert message in refused.stderr.splitlines()[-1]


def test_check_tells_everything_and_opens_nothing(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "config.yml"
    good = "storage: {use: sqlite, path: %s}\nproviders: {e: {use: echo}}\nmemory: {use: window}\nauth: [%s]\n"
    file.write_text(good % (tmp_path / "never.db", "{use: apikey}") + "dialects: [{use: chat}]\n")
    fine = run("check", str(file))
    assert (fine.exit_code, fine.stdout, fine.stderr) == (0, f"{file}: no problems\n", "")
    assert [f.name for f in tmp_path.iterdir()] == ["config.yml"]
    file.write_text(good % (7, "{use: nobody}") + "dialects: [{use: chat, speed: 9}]\nextra: 1\n")
    bad = run("check", str(file))
    assert (bad.exit_code, bad.stdout) == (2, "")
    paths = {line.split(": ")[0] for line in bad.stderr.splitlines()}
    assert {"storage.path", "auth[0].use", "dialects[0].speed", "extra"} <= paths


def test_plugins(run: Run) -> None:
    rows = run("plugins").output.splitlines()
    sqlite = next(row for row in rows if row.lstrip().startswith("sqlite"))
    assert re.search(rf"{re.escape(__version__)} +storage sqlite *$", sqlite)


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:1"),
        ("0.0.0.0", "http://127.0.0.1:1"),
        ("::", "http://[::1]:1"),
        ("fe80::1", "http://[fe80::1]:1"),
        ("chat.example.org", "http://chat.example.org:1"),
    ],
)
def test_the_url_to_show(host: str, url: str) -> None:
    assert url_of(host, 1) == url


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


async def test_nobody_listens(free_port: int) -> None:
    async with ChatClient(f"http://127.0.0.1:{free_port}", "k") as chat:
        with pytest.raises(Refused, match=r"cannot reach .*: Connection refused"):
            await replies(chat)


async def test_an_answer_cannot_command_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    data = rb'{"type":"assistant","delta":"a\u001b]0;b\u0007\u009bc\td\r\n"}'
    async with scripted(shows(META, b"event: assistant\ndata: %b\n\n" % data, DONE)) as (_, chat):
        assert await Talk(chat, None, None).turn("Hi")
    assert capsys.readouterr().out == "a]0;bc\td\n\n"


# ---- workers --------------------------------------------------------------------------------------------------------


@pytest.fixture
def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        port: int = found.getsockname()[1]
        return port


def test_a_reserved_port_is_shared_with_workers_and_nobody_else(free_port: int) -> None:
    with reserve("127.0.0.1", free_port) as port, socket.create_server(("127.0.0.1", port), reuse_port=True):
        assert port == free_port
        with pytest.raises(click.ClickException, match="Address already in use"), reserve("127.0.0.1", port):
            pass
    with reserve("127.0.0.1", 0) as found:
        assert found > 0


def crew_of(count: int, script: str, directory: Path) -> Crew:
    return Crew([sys.executable, "-c", script], count, str(directory))


async def test_workers_that_never_come_up_end_the_crew(tmp_path: Path) -> None:
    assert await crew_of(2, "raise SystemExit(7)", tmp_path).work() == 7


async def test_dying_workers_are_replaced_ever_more_slowly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crew, "FIRST_PAUSE", 0.001)
    monkeypatch.setattr(crew, "LONGEST_PAUSE", 0.005)
    script = f"""
import os, pathlib, signal
starts = len(os.listdir({str(tmp_path)!r}))
pathlib.Path({str(tmp_path)!r}, str(os.getpid())).touch()
print("ready", flush=True)
if starts == 4: os.kill(os.getppid(), signal.SIGTERM)
"""
    with capture_logs() as lines:
        assert await crew_of(1, script, tmp_path).work() == 0
    assert [line["restart_in"] for line in lines if line["event"] == "worker.died"] == [0.002, 0.004, 0.005, 0.005]


async def test_signals_are_handed_on_once_each(tmp_path: Path) -> None:
    script = f"""
import os, pathlib, signal, sys
def note(*_):
    n = sum(f.startswith(str(os.getpid())) for f in os.listdir({str(tmp_path)!r}))
    pathlib.Path({str(tmp_path)!r}, f"{{os.getpid()}}.{{n}}").touch()
    if n: os._exit(0)
signal.signal(signal.SIGTERM, note)
print("ready", flush=True)
sys.stdin.read()
"""

    def files() -> int:
        return len(list(tmp_path.iterdir()))

    with capture_logs() as lines:
        work = asyncio.create_task(crew_of(2, script, tmp_path).work())
        await asyncio.to_thread(until, lambda: len(lines) == 2, "two workers")
    os.kill(os.getpid(), signal.SIGINT)
    await asyncio.to_thread(until, lambda: files() == 2, "the first signal at both")
    assert not work.done()
    os.kill(os.getpid(), signal.SIGTERM)
    assert await work == 0
    assert files() == 4
