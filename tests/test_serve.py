"""``backchat serve`` as its users meet it: real processes, real signals, real kills."""

from __future__ import annotations

import re
import shlex
import signal
import socket
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil

from served import INSPECT, PATIENCE, Chat, Stream, backchat, serving, until

Event = tuple[str, dict[str, Any]]
WORDS = " ".join([f"word{n}" for n in range(20)])
LONG = " ".join([f"word{n}" for n in range(2000)])


def begin(stream: Stream, deltas: int = 2) -> tuple[dict[str, Any], list[Event]]:
    """The meta of a stream, and its first pieces of text."""
    first = stream.next()
    assert first is not None
    pieces = [stream.next() for _ in range(deltas)]
    assert [p[1]["type"] for p in pieces if p] == ["assistant"] * deltas
    return first[1], [p for p in pieces if p]


def said(events: list[Event]) -> str:
    return "".join([data["delta"] for _, data in events if data["type"] == "assistant"])


def refused(*args: str) -> tuple[int, str]:
    """How a server that must not come up ended, and what it said; nothing of it was on standard output."""
    ended = backchat("serve", *args)
    assert ended.stdout == ""
    return ended.returncode, ended.stderr


# ---- the first start ------------------------------------------------------------------------------------------------


def test_the_first_start_prints_a_key_once_and_it_works(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        key, first_log = server.key, server.log
        assert server.said.count(key) == 2  # alone, and in the line to paste
        assert f"{server.port}/docs" in server.said
        assert f"\nData: {tmp_path / 'data'}\n" in server.said
        (line,) = re.findall(r"curl .*", server.said)
        args = shlex.split(line)
        assert args[:3] == ["curl", "-N", f"http://127.0.0.1:{server.port}/api/chat/stream"]
        headers = dict(args[i + 1].split(": ") for i, arg in enumerate(args) if arg == "-H")
        assert headers == {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        assert args[-2:] == ["-d", '{"text": "Hello"}']
        assert said(server.stream("Hello").rest()) == "Hello"
        assert server.stop() == 0
        assert (tmp_path / "data").stat().st_mode & 0o777 == 0o700

        server.start()
        assert "bsk_" not in server.said
        (line,) = re.findall(r"To make a key: (.*)", server.said)
        made = subprocess.run(shlex.split(line), capture_output=True, text=True, timeout=PATIENCE, check=True)
        assert server.ask("GET", "/api/chat/conversations", key=made.stdout.strip()) == (200, {"conversations": []})
        assert server.ask("GET", "/api/chat/conversations")[1]["conversations"] != []
        assert "bsk_" not in first_log + server.log


def test_keys_are_made_and_revoked_while_it_runs(tmp_path: Path) -> None:
    with serving(tmp_path, echo_ms=0) as server:
        made = backchat("keys", "create", "--user", "ada", *server.place)
        key = made.stdout.strip()
        assert re.fullmatch(r"bsk_[0-9a-f]{32}_\w{43}\n", made.stdout)
        assert server.ask("GET", "/api/chat/conversations", key=key) == (200, {"conversations": []})
        listed = backchat("keys", "list", *server.place).stdout
        id = key.split("_")[1]
        assert id in listed
        assert key.split("_")[2] not in listed
        assert backchat("keys", "revoke", id, *server.place).returncode == 0
        assert server.ask("GET", "/api/chat/conversations", key=key)[0] == 401
        assert server.ask("GET", "/api/chat/conversations")[0] == 200
        assert server.ask("GET", "/api/chat/conversations?q=" + "x" * 60_000)[0] == 200, "a long address"


# ---- the end --------------------------------------------------------------------------------------------------------


def test_sigterm_lets_a_reply_end_and_takes_nothing_new(tmp_path: Path) -> None:
    with serving(tmp_path, echo_ms=60) as server:
        stream = server.stream(WORDS)
        meta, pieces = begin(stream)
        server.signal(signal.SIGTERM)
        until(lambda: server.ready() == 503, "draining")
        with server.send("POST", "/api/chat/stream", {"text": "late"}) as late:
            assert late.status == 503
            assert int(late.headers["Retry-After"]) > 0
        rest = stream.rest()
        assert rest[-1][1]["type"] == "done"
        assert said(pieces + rest) == rest[-1][1]["reply"] == WORDS
        assert server.wait() == 0
        server.start()
        assert [m["status"] for m in server.messages(meta["conversation_id"])] == ["complete", "complete"]


def test_a_second_signal_waits_for_nothing_and_loses_nothing(tmp_path: Path) -> None:
    with serving(tmp_path, echo_ms=60) as server, ThreadPoolExecutor() as threads:
        blocking = threads.submit(server.ask, "POST", "/api/chat", {"text": LONG})
        until(lambda: server.ask("GET", "/api/chat/conversations")[1]["conversations"] != [], "the blocking request")
        stream = server.stream(LONG)
        meta, pieces = begin(stream)
        server.signal(signal.SIGINT)
        until(lambda: server.ready() == 503, "draining")
        server.signal(signal.SIGINT)
        assert server.wait() == 0
        assert blocking.result() == (503, {"detail": "the server stopped before the reply was complete"})
        server.start()
        answer = server.messages(meta["conversation_id"])[-1]
        assert answer["status"] == "interrupted"
        assert answer["content"].startswith(said(pieces))


def test_after_a_kill_everything_delivered_is_there_and_the_talk_goes_on(tmp_path: Path) -> None:
    with serving(tmp_path, echo_ms=60) as server, Chat(server.port, server.key) as chat:
        stream = server.stream(LONG)
        meta, pieces = begin(stream, 5)
        chat.send(LONG)
        chat.hear("word1 ")
        server.process.kill()
        server.process.wait()
        server.start()

        again = server.resume(meta["run_id"], "0").rest()
        assert again[0][1] == meta
        assert again[1 : 1 + len(pieces)] == pieces
        assert again[-1][1]["type"] == "error"
        assert again[-1][1]["code"] == "interrupted"
        assert server.resume(meta["run_id"], pieces[-1][0]).rest() == again[1 + len(pieces) :]
        answer = server.messages(meta["conversation_id"])[-1]
        assert (answer["status"], answer["content"]) == ("interrupted", said(again))
        status, reply = server.ask("POST", "/api/chat", {"text": "On?", "conversation_id": meta["conversation_id"]})
        assert (status, reply["reply"]) == (200, "On?")

        # The terminal client saw its connection break, came back by itself, and heard how its reply ended.
        assert chat.ended() == 1
        assert "the server stopped before the reply was complete" in chat.errors()


# ---- several workers ------------------------------------------------------------------------------------------------


def test_workers_share_a_port_and_every_reply(tmp_path: Path) -> None:
    with serving(tmp_path, echo_ms=60, options=("--workers", "2"), env=INSPECT) as server:
        until(lambda: server.log.count("worker.ready") == 2, "two workers")
        mine, one = server.connect()
        other, two = server.connect(avoid=one)
        assert {one, two} == server.workers()

        # Started on one, followed and cancelled on the other.
        stream = server.stream(LONG, over=mine)
        meta, pieces = begin(stream)
        followed = server.resume(meta["run_id"], "0", over=other)
        assert begin(followed) == (meta, pieces)
        canceller, _ = server.connect(avoid=one)
        status, answer = server.ask("POST", f"/api/chat/stream/{meta['run_id']}/cancel", over=canceller)
        assert (status, answer["status"]) == (200, "cancelled")
        ends = [stream.rest()[-1], followed.rest()[-1]]
        assert ends[0] == ends[1]
        assert ends[0][1]["code"] == "cancelled"

        # A worker that is killed: the other one ends its reply, and a new one takes its place.
        mine, _ = server.connect(avoid=two)
        meta, pieces = begin(server.stream(LONG, over=mine))
        survivor, _ = server.connect(avoid=one)
        psutil.Process(one).kill()
        events = server.resume(meta["run_id"], "0", over=survivor).rest()
        assert events[1 : 1 + len(pieces)] == pieces
        assert events[-1][1]["code"] == "interrupted"
        until(lambda: server.log.count("worker.ready") == 3, "a third worker")
        workers = server.workers()
        assert len(workers) == 2
        assert one not in workers

        # The end: all drain, and none is left.
        mine, one = server.connect()
        other, _ = server.connect(avoid=one)
        meta, _ = begin(server.stream(WORDS, over=mine))
        followed = server.resume(meta["run_id"], "0", over=other)
        begin(followed)
        assert server.stop() == 0
        assert followed.rest()[-1][1]["type"] == "done"
        assert not any(psutil.pid_exists(pid) for pid in workers)


def test_workers_do_not_outlive_a_parent_that_is_killed(tmp_path: Path) -> None:
    with serving(tmp_path, echo_ms=0, options=("--workers", "2")) as server:
        until(lambda: server.log.count("worker.ready") == 2, "two workers")
        workers = [psutil.Process(pid) for pid in server.workers()]
        server.process.kill()
        server.process.wait()
        until(lambda: server.log.count("server.stopped") == 2, "two orderly ends")
        until(lambda: all(not w.is_running() or w.status() == psutil.STATUS_ZOMBIE for w in workers), "no workers")


# ---- what keeps it from starting ------------------------------------------------------------------------------------


def test_a_port_in_use(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for workers in ("1", "2"):
            code, said = refused("--port", str(port), "--data", str(tmp_path / "data"), "--workers", workers)
            assert code == 1
            assert said.splitlines()[-1] == f"Error: cannot listen on 127.0.0.1:{port}: Address already in use"
            assert "Traceback" not in said
    # A first key that was made and not shown would be lost for good.
    with serving(tmp_path) as server:
        assert "bsk_" in server.said


def test_config_errors_are_told_together(tmp_path: Path) -> None:
    file = tmp_path / "bad.yml"
    file.write_text("storage: {use: nosuch}\nserver: {port: -1, colour: blue}\ndialects: [{use: chat}]\n")
    code, said = refused("--config", str(file), "--data", str(tmp_path / "data"), "--workers", "2")
    assert code == 2
    lines = said.splitlines()
    for start in ("storage.use: ", "server.port: ", "server.colour: "):
        assert len([line for line in lines if line.startswith(start)]) == 1
    assert not (tmp_path / "data").exists()
    assert backchat("check", str(file)).stderr.splitlines() == lines


def test_a_data_directory_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    code, said = refused("--data", str(tmp_path / "file" / "data"))
    assert code == 2
    assert said == f"--data: {tmp_path / 'file' / 'data'} cannot be made: Not a directory\n"


# ---- the terminal client --------------------------------------------------------------------------------------------


def test_chat_answers_line_by_line_on_a_pipe(tmp_path: Path) -> None:
    with serving(tmp_path, echo_ms=0) as server, Chat(server.port, server.key) as chat:
        chat.send("first line\n\nsecond line")
        assert chat.ended() == 0
        assert chat.heard == "first line\nsecond line\n"
        (conversation,) = server.ask("GET", "/api/chat/conversations")[1]["conversations"]
        assert conversation["message_count"] == 4

        args = ["chat", "--url", f"http://127.0.0.1:{server.port}", "--key", server.key]
        more = backchat(*args, "--conversation", conversation["id"], stdin="third")
        assert more.stdout == "third\n"
        assert len(server.messages(conversation["id"])) == 6
        wrong = backchat(*args, "--provider", "nobody", stdin="hello")
        assert (wrong.returncode, wrong.stdout) == (1, "")
        assert wrong.stderr == "Error: 422: body.provider: No such provider.\n"


def test_ctrl_c_cancels_the_reply(tmp_path: Path) -> None:
    with serving(tmp_path, echo_ms=60) as server, Chat(server.port, server.key) as chat:
        chat.send(LONG)
        chat.hear("word1 ")
        chat.interrupt()
        assert chat.ended() == 1
        assert chat.errors() == "(stopped)\n"
        (conversation,) = server.ask("GET", "/api/chat/conversations")[1]["conversations"]
        answer = server.messages(conversation["id"])[-1]
        assert (answer["status"], answer["content"] + "\n") == ("cancelled", chat.heard)
