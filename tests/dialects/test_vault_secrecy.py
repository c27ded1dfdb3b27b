"""Nothing of what is pushed to the vault is anywhere that it should not be: a real server, its files, all it says."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from served import INSPECT, PATIENCE
from vault_marked import traces
from vault_place import LARGEST, PUSH, Client, Place, bearer_of, client_of, cores_allowed, open_place

DEBUG = {"PYTHONASYNCIODEBUG": "1", "PYTHONDEVMODE": "1"}

# ---- what is pushed -------------------------------------------------------------------------------------------------


async def push_many(place: Place, client: Client, count: int) -> dict[str, int]:
    """Push: of five, two new chats, one of them changed, the other one again as it was, and one described otherwise."""
    told = {"created": 0, "updated": 0, "same": 0, "described": 0}

    async def five(n: int) -> None:
        first, second = place.plain(f"{n}-a"), place.plain(f"{n}-b")
        for body in (first, second):
            answer = await client.push(body)
            told["created"] += (answer["version"], answer["changed"]) == (1, True)
        grown = {**first, "messages": [*first["messages"], {"role": "assistant", "content": place.text()}]}
        answer = await client.push(grown)
        told["updated"] += (answer["version"], answer["changed"]) == (2, True)
        answer = await client.push(second)
        told["same"] += (answer["version"], answer["changed"]) == (1, False)
        answer = await client.push({**grown, "title": f"Rather {place.marks.title}"})
        told["described"] += (answer["version"], answer["changed"]) == (2, True)

    async with asyncio.TaskGroup() as tasks:
        for start in range(16):
            tasks.create_task(_each(five, range(start, count // 5, 16)))
    return told


async def _each(do: Callable[[int], Awaitable[None]], over: Iterable[int]) -> None:
    for n in over:
        await do(n)


def misfits(place: Place) -> Iterator[tuple[int, dict[str, Any]]]:
    """Requests to push that are refused, each with the mark where it does not belong; and with which status."""
    mark, good = place.text(2), place.plain("misfit")
    said = good["messages"][0]
    for field, value in {
        "role": mark,
        "timestamp": mark,
        "content": [mark],
    }.items():
        yield 422, {"json": {**good, "messages": [{**said, field: value}]}}
    for messages in (mark, [mark], [[said]], {mark: said}, [{mark: mark}], []):
        yield 422, {"json": {**good, "messages": messages}}
    for field in ("chatId", "platform", "category", "model", "title", "topic", "tags", "baseVersion", "messages"):
        bare = mark if field in ("tags", "baseVersion") else [mark]
        values: tuple[Any, ...] = ({mark: mark}, [[mark]], 700 * mark, bare)
        for value in values:
            yield 422, {"json": {**good, field: value}}
    sealed = {"chatId": "misfit", "platform": "ollama", "messageCount": 1}
    for field in ("encryptedContent", "iv", "contentHash", "messageCount", "keyId"):
        whole = {**sealed, "encryptedContent": "A" * 64, "iv": "A" * 16, field: mark}
        yield 422, {"json": whole}
        yield 422, {"json": {**whole, "messages": [said]}}
    yield 422, {"json": {**{k: v for k, v in good.items() if k != "platform"}, mark: mark}}
    yield 422, {"json": [mark]}
    yield 422, {"json": mark}
    as_json = {"Content-Type": "application/json"}
    raw = json.dumps(good).encode()
    for body in (raw[:-1], raw + raw, mark.encode(), b"\xff" + raw, raw.replace(b"user", b'u"er'), b"[" * 90_000 + raw):
        yield 400, {"data": body, "headers": as_json}
    yield 400, {"data": raw.replace(b"00Z", b"\\ud800"), "headers": as_json}
    large = place.plain("large", title=LARGEST // 8 * mark)
    yield 413, {"json": large}
    yield 413, {"data": _in_pieces(json.dumps(large).encode())}
    yield 400, {"data": {"messages": mark}}
    form = aiohttp.FormData()
    form.add_field("file", raw, filename=f"{mark[:8]}.json")
    yield 415, {"data": form}
    for wrong in ("", "Bearer", f"Basic {place.marks.content}", f"Bearer {mark}", f"Bearer bsk_0_{43 * 'a'}"):
        yield 401, {"json": good, "headers": {"Authorization": wrong}}
    yield 409, {"json": {**good, "baseVersion": 7}}


async def _in_pieces(body: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(body), 50_000):
        yield body[start : start + 50_000]


async def push_misfits(place: Place, client: Client) -> None:
    for status, request in misfits(place):
        got, answer = await client.ask("POST", PUSH, **request)
        assert got == status, (status, answer)
        assert (answer["success"], set(answer) - {"details", "version"}) == (False, {"success", "error", "message"})
    # Those who may not.
    reader = await issue(place, client, name="reader", scopes=["pull"])
    waiting = Client(place, client.session, reader)
    assert (await waiting.ask("POST", PUSH, json=place.plain("reader")))[0] == 403
    foreign = Client(place, client.session, bearer_of("somebody"))
    assert (await foreign.ask("POST", PUSH, json=place.plain("foreign")))[0] == 403
    # A token where an id belongs.
    assert (await client.ask("DELETE", f"/api/v1/vault/tokens/{reader}"))[0] == 404


async def issue(place: Place, client: Client, **wanted: Any) -> str:
    status, made = await client.ask("POST", "/api/v1/vault/tokens", json=wanted)
    assert status == 201, made
    token: str = made["token"]
    place.secrets.add(token.split("_", 2)[2])
    return token


async def drop_in_the_middle(place: Place) -> None:
    """Leave while the body is still on its way; and send more of a body than was announced."""
    body = json.dumps(place.plain("dropped")).encode()
    head = f"POST {PUSH} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {place.server.key}\r\n"
    for length, sent in ((len(body) + 9, body), (len(body), body[:-9]), (2, body), (0, body)):
        reader, writer = await asyncio.open_connection("127.0.0.1", place.server.port)
        writer.write(f"{head}Content-Length: {length}\r\n\r\n".encode() + sent)
        await writer.drain()
        if length < len(sent):
            assert not traces({"answer": await asyncio.wait_for(reader.read(), PATIENCE)}, [place.marks.content])
        writer.transport.abort()
    for chunk in (b"%x\r\n%b" % (len(body) + 9, body), b"%b\r\n" % body):
        _, writer = await asyncio.open_connection("127.0.0.1", place.server.port)
        writer.write(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode())
        await writer.drain()
        writer.write(chunk)
        await writer.drain()
        writer.transport.abort()


async def look_around(place: Place, client: Client) -> None:
    """All that shows something, and what is asked for in it."""
    for path in (
        "/metrics",
        "/healthz",
        "/readyz",
        "/openapi.json",
        "/docs",
        "/api/v1/vault/key",
        "/api/v1/vault/keys",
        "/api/v1/vault/tokens",
    ):
        assert (await client.ask("GET", path))[0] == 200
    for search, found in ((place.marks.search, False), (place.marks.content, False), (place.marks.title, True)):
        query = {"search": search, "limit": "5"}
        status, told = await client.ask("GET", "/api/v1/pull", params=query)
        assert (status, told["total"] > 0) == (200, found)
        place.sealed |= {entry[name] for entry in told["entries"] for name in ("iv", "contentHash")}
        place.sealed |= {entry["encryptedContent"][:24] for entry in told["entries"]}
    for query in ({"search": 40 * place.marks.search}, {"limit": place.marks.search}, {"offset": place.marks.content}):
        assert (await client.ask("GET", "/api/v1/pull", params=query))[0] == 422
    assert (await client.ask("GET", "/api/v1/entries/0"))[0] == 404
    shown = f"/api/v1/entries/{told['entries'][0]['id']}"
    for path in (shown, f"{shown}/versions", f"{shown}/versions/1"):
        assert (await client.ask("GET", path))[0] == 200


# ---- the process -----------------------------------------------------------------------------------------------------


async def test_a_thousand_pushes_a_kill_and_a_restart_leave_nothing(tmp_path: Path) -> None:
    with cores_allowed():
        async with open_place(tmp_path) as place, client_of(place) as client:
            fifth = 1000 // 5
            assert await push_many(place, client, 1000) == {
                "created": 2 * fifth,
                "updated": fifth,
                "same": fifth,
                "described": fifth,
            }
            await push_misfits(place, client)
            await drop_in_the_middle(place)
            await look_around(place, client)
            place.check(at_least=1000 * 300)

            # Killed between the pushes of many.
            pushing = [asyncio.create_task(client.push(place.plain(f"killed-{n}"))) for n in range(200)]
            await asyncio.wait(pushing, return_when=asyncio.FIRST_COMPLETED)
            place.server.process.kill()
            await asyncio.to_thread(place.server.wait)
            ends = await asyncio.gather(*pushing, return_exceptions=True)
            assert any(isinstance(end, aiohttp.ClientError) for end in ends), "all were done before the kill"
            place.keep_log()
            place.check()

            await place.start()
            await push_many(place, client, 25)
            await without_storage(place, client)
            await place.stop()
            place.check()


async def without_storage(place: Place, client: Client) -> None:
    """Pushes while the database is somebody else's, and while there is a table that is not as it was."""
    database = place.root / "data" / "backchat.db"
    with closing(sqlite3.connect(database, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        status, answer = await client.ask("POST", PUSH, json=place.plain("locked out"))
        assert (status, answer["error"], answer["success"]) == (503, "unavailable", False)
        other.execute("ROLLBACK")
        tables = [name for (name,) in other.execute("SELECT name FROM sqlite_master WHERE name LIKE '%vault_version%'")]
        (table,) = [name for name in tables if f"{name}s" not in tables and "fts" not in name][:1]
        other.execute(f"ALTER TABLE {table} RENAME TO elsewhere")
        status, answer = await client.ask("POST", PUSH, json=place.plain("no such table"))
        assert (status // 100, answer["success"], set(answer)) == (5, False, {"success", "error", "message"})
        other.execute(f"ALTER TABLE elsewhere RENAME TO {table}")
    await client.push(place.plain("again"))


async def test_a_crash_in_the_middle_of_a_push_leaves_frames_and_no_memory(tmp_path: Path) -> None:
    with cores_allowed():
        async with open_place(tmp_path) as place, client_of(place) as client:
            process = place.server.process
            assert resource.prlimit(process.pid, resource.RLIMIT_CORE) == (0, 0)
            await client.push(place.plain("before"))
            _, writer = await asyncio.open_connection("127.0.0.1", place.server.port)
            body = json.dumps(place.plain("crashed")).encode()
            head = f"POST {PUSH} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {place.server.key}\r\n"
            writer.write(f"{head}Content-Length: {len(body) + 1}\r\n\r\n".encode() + body)
            await writer.drain()
            pushing = [asyncio.create_task(client.push(place.plain(f"{n}"))) for n in range(20)]
            await asyncio.wait(pushing, return_when=asyncio.FIRST_COMPLETED)
            process.send_signal(signal.SIGABRT)
            assert await asyncio.to_thread(place.server.wait) == -signal.SIGABRT
            await asyncio.gather(*pushing, return_exceptions=True)
            writer.close()
            assert "Fatal Python error: Aborted" in place.server.log
            assert 'File "' in place.server.log
            place.check()


GUARDED = """
import ctypes, resource
from backchat.cli.secrecy import guard_memory
guard_memory()
print(ctypes.CDLL(None).prctl(3), resource.getrlimit(resource.RLIMIT_CORE))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has it")
@pytest.mark.parametrize(("env", "dumpable"), [({}, 0), (INSPECT, 1)])
def test_on_linux_the_memory_is_nobody_elses_unless_that_is_wished_for(env: dict[str, str], dumpable: int) -> None:
    with cores_allowed():
        args = [sys.executable, "-c", GUARDED]
        ended = subprocess.run(args, env={**os.environ, **env}, capture_output=True, text=True, check=True)
    assert ended.stdout == f"{dumpable} (0, 0)\n"


async def test_nothing_is_said_in_the_debug_modes_of_python(tmp_path: Path) -> None:
    async with open_place(tmp_path, DEBUG) as place, client_of(place) as client:
        await push_many(place, client, 50)
        # Large enough for a thread, and for the loop to be slow.
        for n in range(3):
            long = {"role": "user", "content": place.text(LARGEST // 2 // 12)}
            await client.push(place.plain(f"large {n}", messages=[long]))
        await push_misfits(place, client)
        await drop_in_the_middle(place)
        await look_around(place, client)
        await without_storage(place, client)
        await place.stop()
        place.check()
