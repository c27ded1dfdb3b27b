"""``backchat import``: on an installation, beside a server, and killed in the middle."""

from __future__ import annotations

import signal
import subprocess
import zipfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import orjson
import pytest
from click.testing import CliRunner, Result

from backchat.cli import main
from served import COMMAND, serving, until
from sqlite_files import rows

Run = Callable[..., Result]


def conversation(number: int, messages: int = 2, padding: int = 0) -> dict[str, Any]:
    """One of ChatGPT's."""
    mapping = {
        f"m{n}": {
            "id": f"m{n}",
            "parent": f"m{n - 1}" if n else None,
            "children": [f"m{n + 1}"] if n < messages - 1 else [],
            "message": {
                "id": f"m{n}",
                "author": {"role": "assistant" if n % 2 else "user"},
                "create_time": 1_700_000_000 + n,
                "content": {"content_type": "text", "parts": [f"text {n} of {number} " + "x" * padding]},
            },
        }
        for n in range(messages)
    }
    return {
        "title": f"Talk {number}",
        "conversation_id": f"c{number}",
        "create_time": 1_700_000_000,
        "mapping": mapping,
    }


def export(path: Path, conversations: Sequence[object]) -> str:
    path.write_bytes(orjson.dumps(conversations))
    return str(path)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    def ran(*args: str) -> Result:
        return CliRunner().invoke(main, [*args, "--data", str(tmp_path / "data")])

    assert ran("users", "create", "ann").exit_code == 0
    return ran


def cells(result: Result) -> list[list[str]]:
    """What the table has in its lines, but for the file's name."""
    return [line.split()[1:] for line in result.stdout.splitlines() if "json" in line or ".zip" in line]


def test_files_are_imported_once(run: Run, tmp_path: Path) -> None:
    one = export(tmp_path / "one.json", [conversation(n) for n in range(3)])
    two = str(tmp_path / "two.zip")
    with zipfile.ZipFile(two, "w") as archive:
        archive.writestr("conversations-000.json", orjson.dumps([conversation(2), conversation(3)]))
        archive.writestr("user.json", b"{}")
    made = run("import", one, two, "--user", "ann")
    assert made.exit_code == 0, made.output
    assert cells(made) == [["3", "0", "0", "done"], ["1", "1", "0", "done"]]
    again = run("import", one, two, "--user", "ann")
    assert again.exit_code == 0
    assert cells(again) == [["0", "3", "0", "done"], ["0", "2", "0", "done"]]
    database = tmp_path / "data" / "backchat.db"
    assert rows(database, "SELECT count(*) FROM conversation") == [(4,)]
    assert rows(database, "SELECT count(*) FROM message") == [(8,)]


def test_what_cannot_be_imported(run: Run, tmp_path: Path) -> None:
    no_export = export(tmp_path / "a.json", [{"nothing": "known"}])
    result = run("import", no_export, "--user", "ann")
    assert result.exit_code == 1
    assert "is not the export of a product that is known here: " in result.stdout
    for name in ("backchat", "chatgpt", "claude", "librechat"):
        assert name in result.stdout
    good = export(tmp_path / "b.json", [conversation(1), "\x1b[31mno conversation", {"title": "\x1b[2J"}])
    assert run("import", no_export, good, "--user", "ann").exit_code == 1  # one was not read
    good = export(tmp_path / "c.json", [conversation(2), "\x1b[31mno conversation", {"title": "\x1b[2J"}])
    mixed = run("import", good, "--user", "ann")
    assert mixed.exit_code == 0
    assert f"{good}: entry 2" in mixed.stderr
    assert "\x1b" not in mixed.output
    assert run("import", good, "--user", "ann").exit_code == 1  # nothing came in, and something failed


def test_who_and_what_must_be_there(run: Run, tmp_path: Path) -> None:
    file = export(tmp_path / "a.json", [conversation(1)])
    nobody = run("import", file, "--user", "bob")
    assert (nobody.exit_code, nobody.stderr) == (
        1,
        "Error: there is no user called 'bob' in this storage (see --data and --config)\n",
    )
    assert run("import", str(tmp_path / "missing.json"), "--user", "ann").exit_code == 2
    assert run("import", file).exit_code == 2
    assert run("import", "--user", "ann").exit_code == 2


def test_a_file_that_cannot_be_opened_hides_nothing_of_the_others(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good, secret = [export(tmp_path / f"{name}.json", [conversation(n)]) for n, name in enumerate(("good", "secret"))]
    opened = Path.open

    def refused(path: Path, *args: Any, **more: Any) -> Any:
        if path.name == "secret.json":
            raise PermissionError(13, "Permission denied")
        return opened(path, *args, **more)

    monkeypatch.setattr(Path, "open", refused)
    result = run("import", good, secret, "--user", "ann")
    assert result.exit_code == 1
    assert cells(result) == [["1", "0", "0", "done"], ["0", "0", "0", "cannot", "be", "read:", "Permission", "denied"]]


def test_a_conversation_may_be_larger_than_one_that_is_uploaded(run: Run, tmp_path: Path) -> None:
    (tmp_path / "backchat.yml").write_text(
        "storage: {use: sqlite, path: {$data: backchat.db}}\nproviders: {local: {use: echo}}\nmemory: {use: window}\n"
        "auth: [{use: apikey}]\ndialects: [{use: chat}]\nimports: {max_conversation: 65536}\n"
    )
    large = export(tmp_path / "large.json", [conversation(1, 4, 100_000), conversation(2)])
    result = run("import", large, "--user", "ann", "--config", str(tmp_path / "backchat.yml"))
    assert cells(result) == [["2", "0", "0", "done"]], result.output


def test_beside_a_server(tmp_path: Path) -> None:
    file = export(tmp_path / "a.json", [conversation(n) for n in range(50)])
    with serving(tmp_path) as server:
        user = "admin"
        users = subprocess.run([COMMAND, "users", "list", *server.place], capture_output=True, text=True, check=True)
        user = users.stdout.splitlines()[-1].split()[1] if user not in users.stdout else user
        done = subprocess.run(
            [COMMAND, "import", file, "--user", user, *server.place], capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stderr) == (0, "")
        status, answer = server.ask("GET", "/api/chat/conversations")
        assert status == 200
        assert "Talk 7" in orjson.dumps(answer).decode()


def test_a_server_that_stops_says_so_to_who_waits_for_an_import(tmp_path: Path) -> None:
    file = export(tmp_path / "a.json", [conversation(n, 10, 200) for n in range(3000)])
    head = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.json"\r\n\r\n'
    body = head + Path(file).read_bytes() + b"\r\n--x--\r\n"
    with serving(tmp_path) as server, ThreadPoolExecutor() as threads:

        def upload() -> tuple[int, str | None, Any]:
            connection = HTTPConnection("127.0.0.1", server.port, timeout=60)
            kind = {"Content-Type": "multipart/form-data; boundary=x", "Authorization": f"Bearer {server.key}"}
            with closing(connection):
                connection.request("POST", "/api/convos/import", body, kind)
                answer = connection.getresponse()
                return answer.status, answer.headers["Retry-After"], orjson.loads(answer.read())

        waiting = threads.submit(upload)
        until(lambda: server.ask("GET", "/api/convos")[1]["conversations"] != [], "some conversations")
        server.signal(signal.SIGTERM)
        status, retry, answer = waiting.result(60)
        assert (status, retry is not None) == (503, True)
        assert 0 < answer["imported"] < 3000
        assert server.wait() == 0


def test_killed_in_the_middle_it_leaves_whole_conversations_and_a_further_one_completes_it(
    run: Run, tmp_path: Path
) -> None:
    count, messages = 600, 10
    file = export(tmp_path / "a.json", [conversation(n, messages, 200) for n in range(count)])
    database = tmp_path / "data" / "backchat.db"
    command = [COMMAND, "import", file, "--user", "ann", "--data", str(tmp_path / "data")]

    def stored() -> int:
        return int(rows(database, "SELECT count(*) FROM conversation")[0][0])

    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        until(lambda: rows(database, "SELECT count(*) FROM import") == [(1,)], "its begin")
        until(lambda: stored() > 20, "some conversations")
        process.send_signal(signal.SIGKILL)
    left = stored()
    assert 20 < left < count
    counted = "SELECT count(*) FROM message GROUP BY conversation"
    assert rows(database, counted) == [(messages,)] * left
    result = run("import", file, "--user", "ann")
    assert cells(result) == [[str(count - left), str(left), "0", "done"]]
    assert rows(database, counted) == [(messages,)] * count
