"""``backchat vault`` against a real server: all it has is the URL and a key."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import re
import signal
import socket
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from rich.progress import Progress

from backchat.cli import main
from backchat.cli.tables import show
from backchat.cli.vault_pull import COLUMNS, CROPPED
from backchat.cli.vault_push import AT_ONCE, Pushing
from backchat.cli.vault_sources import Outgoing
from backchat.client import transport
from backchat.client.vault import Result as VaultResult
from backchat.client.vault import VaultClient, VaultMessage
from backchat.sealing.keys import new_key
from imports_made import chatgpt_answers, claude_conversation, dumped, gpt_conversation
from served import Server, serving

HELLO, HI = {"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi"}
Run = Callable[..., Result]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("server")) as running:
        yield running


class Owner:
    """Somebody with a vault of their own; calling it runs a command on that."""

    def __init__(self, server: Server, name: str) -> None:
        self.url, self._place, self._name = f"http://127.0.0.1:{server.port}", server.place, name
        self.key = self.another_key()

    def another_key(self, *options: str) -> str:
        """Made beside the server: it waits for the vault key."""
        made = CliRunner().invoke(main, ["keys", "create", "--user", self._name, *options, *self._place])
        assert made.exit_code == 0, made.output
        return made.stdout.strip()

    def environment(self, key: str | None = None) -> dict[str, str]:
        return {"BACKCHAT_URL": self.url, "BACKCHAT_KEY": key or self.key}

    def __call__(self, *args: str, stdin: Any = "", key: str | None = None) -> Result:
        given = stdin if isinstance(stdin, str | bytes) else json.dumps(stdin)
        result = CliRunner().invoke(main, ["vault", *args], input=given, env=self.environment(key))
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        assert (key or self.key) not in result.output
        return result

    def done(self, *args: str, **more: Any) -> str:
        """Its standard output; it must succeed."""
        result = self(*args, **more)
        assert result.exit_code == 0, result.output
        return result.stdout

    def refused(self, *args: str, **more: Any) -> str:
        """The one line that says why."""
        result = self(*args, **more)
        assert result.exit_code == 1, result.output
        (line,) = result.stderr.splitlines()
        assert line.startswith("Error: ")
        return line.removeprefix("Error: ")

    def run(self, work: Callable[[VaultClient], Any], **more: Any) -> Any:
        async def connected() -> Any:
            async with VaultClient(self.url, self.key, **more) as client:
                return await work(client)

        return asyncio.run(connected())

    def pushed(self, chat: str, *messages: dict[str, Any], **more: Any) -> None:
        self.done("push", "-", stdin={"chatId": chat, "platform": "ollama", "messages": messages} | more)


@pytest.fixture
def vault(server: Server, request: pytest.FixtureRequest) -> Owner:
    return Owner(server, re.sub(r"\W", "-", request.node.name)[-60:])


def rows(table: str) -> list[list[str]]:
    """The cells of a table, without its head."""
    lines = [line for line in table.splitlines() if line.strip()]
    return [re.split(r" {2,}", line.strip()) for line in lines[2:]]


def lines_of(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


# ---- push and pull --------------------------------------------------------------------------------------------------


def test_a_chat_is_pushed_again_and_again(vault: Owner) -> None:
    body = {"chatId": "c/1", "platform": "Ollama", "title": "Tides", "tags": ["sea"], "messages": [HELLO]}
    assert rows(vault.done("push", "-", stdin=body)) == [["Tides", "created", "1"]]
    assert rows(vault.done("push", "-", stdin=body)) == [["Tides", "unchanged", "1"]]
    longer = body | {"messages": [HELLO, HI]}
    assert rows(vault.done("push", "-", stdin=longer)) == [["Tides", "updated to version 2", "2"]]
    (line,) = lines_of(vault.done("pull", "--out", "-"))
    assert line == longer | {"platform": "ollama"}
    (row,) = rows(vault.done("pull"))
    assert row[1:5] == ["ollama", "c/1", "Tides", "sea"]
    assert row[-2:] == ["2", "2"]


def test_exports_of_products(vault: Owner, tmp_path: Path) -> None:
    archive, other = tmp_path / "chatgpt.zip", tmp_path / "claude.json"
    with zipfile.ZipFile(archive, "w") as made:
        made.writestr("conversations.json", dumped([chatgpt_answers(), gpt_conversation(conversation_id="empty")]))
    other.write_bytes(dumped([claude_conversation()]))
    before = sorted(tmp_path.rglob("*"))
    table = vault.done("push", str(archive), str(other), "--category", "all", "--tag", "x", "--tag", "y")
    assert rows(table) == [
        ["chatgpt.zip", "Tides", "created", "1"],
        ["chatgpt.zip", "Tides", "left out: has no messages"],
        ["claude.json", "Cheese", "created", "1"],
    ]
    pulled = {line["chatId"]: line for line in lines_of(vault.done("pull", "--out", "-", "--category", "all"))}
    assert {(c["chatId"], c["platform"], c["title"]) for c in pulled.values()} == {
        ("gpt-1", "chatgpt", "Tides"),
        ("cl-1", "claude", "Cheese"),
    }
    assert (pulled["gpt-1"]["model"], pulled["gpt-1"]["tags"]) == ("o3", ["x", "y"])
    assert pulled["cl-1"]["messages"][0] == {
        "role": "user",
        "content": "Which cheese?",
        "timestamp": "2025-03-01T10:00:01.500Z",
    }
    assert sorted(tmp_path.rglob("*")) == before, "what is pushed is nowhere else"
    assert [row[2] for row in rows(vault.done("push", str(archive), str(other)))][::2] == ["unchanged", "unchanged"]


def test_the_platform_is_the_keys_if_nobody_says_another(vault: Owner) -> None:
    key = vault.another_key("--platform", "LM-Studio")
    vault.pushed("x", HELLO)  # which hands the vault key on
    vault.done("push", "-", "--chat", "a", stdin=[HELLO], key=key)
    vault.done("push", "-", "--chat", "b", "--platform", "Phone", stdin=[HELLO], key=key)
    found = {line["chatId"]: line["platform"] for line in lines_of(vault.done("pull", "--out", "-"))}
    assert found == {"a": "lm-studio", "b": "phone", "x": "ollama"}
    nowhere = vault("push", "-", "--chat", "c", stdin=[HELLO])
    assert (nowhere.exit_code, rows(nowhere.stdout)) == (1, [["c", "failed"]])
    assert nowhere.stderr.startswith("c: name the platform")


def test_a_key_has_no_platform_that_the_vault_does_not_take(vault: Owner) -> None:
    """What counts is its stored form, in small letters: of some that is longer."""
    for platform in ("p" * 64, "İ" * 32):
        key = vault.another_key("--platform", platform)
        vault.done("pull")  # leaves it the vault key
        assert vault.done("push", "-", stdin={"chatId": platform, "messages": [HELLO]}, key=key)
    for platform in ("p" * 65, "İ" * 33, ""):
        command = ["keys", "create", "--user", "ann", "--platform", platform, *vault._place]
        refused = CliRunner().invoke(main, command)
        assert (refused.exit_code, refused.stdout) == (1, "")
        assert "platform" in refused.stderr


def test_chats_in_one_go_follow_their_order_and_one_that_fails_stops_none(vault: Owner, tmp_path: Path) -> None:
    lines: list[dict[str, Any]] = []
    for n in range(5):
        lines += [{"chatId": f"c{m}", "messages": [HELLO] * (n + 1), "tags": [f"{n}"]} for m in range(3)]
    lines.insert(4, {"chatId": "bad", "messages": [{"role": "user", "content": "marker", "timestamp": "soon"}]})
    lines.insert(5, {"chatId": "worse", "messages": "marker"})
    lines.insert(6, {"chatId": "long", "messages": [HELLO], "category": "marker" * 20})
    file = tmp_path / "many.jsonl"
    file.write_text("\n".join(map(json.dumps, lines)))
    other = tmp_path / "other" / "many.jsonl"
    other.parent.mkdir()
    other.write_bytes(file.read_bytes())
    result = vault("push", str(file), str(other), "--platform", "p")
    assert result.exit_code == 1
    assert "marker" not in result.output
    told = rows(result.stdout)
    assert {row[0] for row in told} == {str(file), str(other)}, "of the same name"
    assert [row[1] for row in told[:3]] == ["c0", "c1", "c2"]
    assert told[4:7] == [[str(file), "bad", "failed"], [str(file), str(file), "failed"], [str(file), "long", "failed"]]
    why = result.stderr.splitlines()
    assert why[:2] == [
        f"{file}: bad: messages.0.timestamp: must be an RFC 3339 date-time with an offset or Z",
        f"{file}: line 6: messages is no array",
    ]
    assert why[2].startswith(f"{file}: long: ")
    assert "category" in why[2]
    assert len(why) == 6
    for m in range(3):
        versions = [row for row in told if row[1] == f"c{m}"]
        assert [row[-1] for row in versions] == [str(n) for n in range(1, 11)]
    assert {len(line["messages"]) for line in lines_of(vault.done("pull", "--out", "-"))} == {5}


def test_what_is_for_one_conversation(vault: Owner) -> None:
    one = json.dumps({"chatId": "a", "platform": "p", "messages": [HELLO]})
    for option in (["--chat", "x"], ["--title", "x"], ["--base", "0"]):
        refused = vault("push", "-", *option, stdin=f"{one}\n{one}")
        assert refused.exit_code == 2
        assert f"there are several conversations: {option[0]} is for one" in refused.stderr
    assert vault("push", "-", "-", stdin=one).exit_code == 2
    assert rows(vault.done("pull")) == []
    assert rows(vault.done("push", "-", "--chat", "x", "--title", "T", "--base", "0", stdin=one))
    late = vault("push", "-", "--chat", "x", "--base", "0", stdin={"chatId": "a", "messages": [HI]})
    assert rows(late.stdout) == [["x", "failed"]]


def test_somebody_was_faster(vault: Owner) -> None:
    vault.pushed("c", HELLO)
    vault.pushed("c", HELLO, HI)
    body = {"chatId": "c", "platform": "ollama", "messages": [HI]}
    late = vault("push", "-", "--base", "1", stdin=body)
    assert late.exit_code == 1
    assert rows(late.stdout) == [["c", "failed"]]
    assert late.stderr.startswith("c: ")
    assert rows(vault.done("push", "-", "--base", "2", stdin=body))[0][-1] == "3"
    assert vault("push", "-", stdin=body | {"baseVersion": 2, "messages": [HELLO]}).exit_code == 1


def test_filters(vault: Owner) -> None:
    vault.pushed("a", HELLO, title="High water", tags=["x", "y"], category="k")
    vault.pushed("b", HELLO, topic="waterfalls", tags=["x"])
    vault.pushed("c", HELLO, platform="other", title="Cheese")

    def found(*options: str) -> list[str]:
        return sorted(row[2] for row in rows(vault.done("pull", *options)))

    assert found() == ["a", "b", "c"]
    assert found("--search", "water") == ["a", "b"]
    assert found("--search", "hello") == []
    assert found("--tag", "x", "--tag", "y") == ["a"]
    assert found("--category", "k") == ["a"]
    assert found("--platform", "Other") == ["c"]
    assert found("--chat", "b") == ["b"]
    assert found("--limit", "1") == ["c"]
    assert vault("pull", "--limit", "0").exit_code == 2


def test_files_that_are_pulled_are_pushed_and_imported_as_the_same(vault: Owner, tmp_path: Path) -> None:
    odd = {"role": "tool", "content": "", "timestamp": "2024-05-06T07:08:09.123456789+02:00"}
    vault.pushed("../../a", HELLO, odd, title="T", category="k", topic="o", model="m", tags=["x", "y"])
    vault.pushed("A", HELLO, platform="../p")
    vault.pushed("a", HI, platform="../p")
    out = tmp_path / "new" / "out"
    result = vault("pull", "--out", str(out))
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", f"pulled 3 chats to {out}\n")
    files = sorted(out.iterdir())
    assert len(files) == 3
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}
    assert out.stat().st_mode & 0o777 == 0o700
    assert sorted(tmp_path.iterdir()) == [tmp_path / "new"]
    again = vault.done("push", str(out))
    assert [(row[0], *row[2:]) for row in rows(again)] == [(file.name, "unchanged", "1") for file in files]
    lines = vault.done("pull", "--out", "-")
    assert [row[1:] for row in rows(vault.done("push", "-", stdin=lines))] == [["unchanged", "1"]] * 3
    place = ["--data", str(tmp_path / "data")]
    assert CliRunner().invoke(main, ["users", "create", "ann", *place]).exit_code == 0
    for counts in (["1", "0", "0"], ["0", "1", "0"]):
        imported = CliRunner().invoke(main, ["import", *map(str, files), "--user", "ann", *place])
        assert imported.exit_code == 0, imported.output
        assert [line.split()[1:4] for line in imported.stdout.splitlines() if ".json" in line] == [counts] * 3


def test_pulled_again_a_file_is_replaced(vault: Owner, tmp_path: Path) -> None:
    vault.pushed("c", HELLO)
    vault.done("pull", "--out", str(tmp_path))
    (file,) = tmp_path.iterdir()
    before = file.read_bytes()
    elsewhere = tmp_path.parent / "elsewhere"
    elsewhere.write_text("mine")
    file.unlink()
    file.symlink_to(elsewhere)
    vault.pushed("c", HELLO, HI, title="New")
    vault.done("pull", "--out", str(tmp_path))
    assert list(tmp_path.iterdir()) == [file]
    assert not file.is_symlink()
    assert before != file.read_bytes() != b"mine"
    assert elsewhere.read_text() == "mine"


def test_where_nothing_can_be_written(vault: Owner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vault.pushed("c", HELLO)
    (tmp_path / "file").write_text("")
    assert vault.refused("pull", "--out", str(tmp_path / "file")) == f"{tmp_path}/file cannot be written: File exists"

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert "No space left on device" in vault.refused("pull", "--out", str(tmp_path / "out"))
    assert list((tmp_path / "out").iterdir()) == []


def test_one_that_does_not_open_stops_none(vault: Owner, tmp_path: Path) -> None:
    vault.pushed("a", HELLO)
    own = new_key()
    push = [VaultMessage("user", "x")]
    vault.run(lambda client: client.push("b", push, platform="p", title="\x1b[2Jmine"), key=own)
    vault.pushed("c", HELLO)
    result = vault("pull", "--out", str(tmp_path))
    assert result.exit_code == 1
    closed, end = result.stderr.splitlines()
    assert re.fullmatch(rf"entry \d+ \(\ufffd\[2Jmine\): .*{own.id}, which is not in this vault", closed)
    assert end == f"pulled 2 chats to {tmp_path}"
    assert len(list(tmp_path.iterdir())) == 2
    assert len(rows(vault.done("pull"))) == 3, "the list needs no key"
    assert "is not in this vault" in vault.refused("adopt", "b")


class Watched:
    """In the place of a client: ``push`` says which chat it is, and waits until the test lets it end."""

    def __init__(self, wait: Callable[[str], Any]) -> None:
        self._wait = wait
        self.running: list[str] = []
        self.done: list[tuple[str, int]] = []

    async def push(self, chat: str, messages: Sequence[VaultMessage], **_: Any) -> VaultResult:
        assert chat not in self.running, "another version of it is on its way"
        self.running.append(chat)
        assert len(self.running) <= AT_ONCE
        await self._wait(chat)
        self.running.remove(chat)
        self.done.append((chat, len(messages)))
        return VaultResult(1, 1, True, "created")


async def pushed_by(client: Watched, *chats: str) -> None:
    found = [
        Outgoing(
            label=c, source="s", chat=c, messages=[VaultMessage("user", "x")] * n, platform="p", base=None, details={}
        )
        for n, c in enumerate(chats, 1)
    ]
    assert await Pushing([]).push(client, iter(found), Progress(disable=True)) is None  # type: ignore[arg-type]


async def test_versions_of_a_chat_wait_for_one_another() -> None:
    other_began = asyncio.Event()

    async def wait(chat: str) -> None:
        if chat == "b":
            other_began.set()
        await other_began.wait()

    client = Watched(wait)
    await pushed_by(client, "a", "a", "b", "a")
    assert [n for chat, n in client.done if chat == "a"] == [1, 2, 4]


async def test_some_chats_are_pushed_at_a_time() -> None:
    together = asyncio.Barrier(AT_ONCE)

    async def wait(_: str) -> None:
        await together.wait()

    client = Watched(wait)
    await pushed_by(client, *[str(n) for n in range(3 * AT_ONCE)])
    assert len(client.done) == 3 * AT_ONCE


# ---- one chat -------------------------------------------------------------------------------------------------------


def number_of(vault: Owner, chat: str) -> str:
    return rows(vault.done("pull", "--chat", chat))[0][0]


def test_log_diff_and_restore(vault: Owner) -> None:
    vault.pushed("c", HELLO, HI, {"role": "user", "content": "Bye"}, title="T", tags=["x"])
    vault.pushed(
        "c", HELLO, {"role": "assistant", "content": "Yo\n\tyou\x1b[2J"}, HI | {"timestamp": "2024-05-06T07:08:09Z"}
    )
    logged = rows(vault.done("log", "c"))
    assert [(row[0], row[1], row[-1]) for row in logged] == [("2", "3", "current"), ("1", "3", logged[1][2])]
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d", logged[1][2])
    shown = vault.done("diff", "c", "1")
    assert shown.splitlines() == [
        "  message 1: the same",
        "- message 2, assistant",
        "-   Hi",
        "+ message 2, assistant",
        "+   Yo",
        "+   \tyou\u241b[2J",
        "- message 3, user",
        "-   Bye",
        "+ message 3, assistant, 2024-05-06T07:08:09Z",
        "+   Hi",
    ]
    assert vault.done("diff", "c", "1", "2") == shown
    backwards = vault.done("diff", "--entry", number_of(vault, "c"), "2", "1")
    assert "+   Bye" in backwards.splitlines()
    same = vault("diff", "c", "2")
    assert (same.exit_code, same.stdout, same.stderr) == (0, "", "both have the same messages\n")
    assert vault.done("restore", "c", "1") == "restored version 1 of c as version 3\n"
    assert vault("diff", "c", "1").stdout == ""
    assert [row[0] for row in rows(vault.done("log", "c"))] == ["3", "2", "1"], "nothing is lost"
    (line,) = lines_of(vault.done("pull", "--out", "-"))
    assert (line["title"], line["tags"]) == ("T", ["x"])
    assert "has these messages already" in vault.done("restore", "c", "1")
    for command in (["diff", "c", "9"], ["diff", "c", "1", "9"], ["restore", "c", "9"]):
        assert vault.refused(*command) == "there is no version 9 of it: log shows which there are"
    assert vault("restore", "c", "0").exit_code == 2


def test_which_chat(vault: Owner) -> None:
    vault.pushed("c", HELLO)
    vault.pushed("c", HI, platform="phone")
    assert vault.refused("log", "c") == "there are several chats c: say which with --platform (ollama, phone)"
    assert vault.done("log", "c", "--platform", "Phone")
    number = rows(vault.done("pull", "--platform", "phone"))[0][0]
    assert vault.done("log", number, "--entry")
    assert vault.refused("log", "c\x1b", "--platform", "x") == "there is no chat c\ufffd in the vault of the platform x"
    assert vault.refused("log", "C") == "there is no chat C in the vault"
    assert vault.refused("log", "999999", "--entry") == "there is no entry 999999 in the vault"
    assert vault("log", "c", "--entry").exit_code == 2
    assert vault("log", "1", "--entry", "--platform", "x").exit_code == 2


def test_delete(vault: Owner) -> None:
    vault.pushed("c", HELLO, title="T")
    refused = vault("delete", "c", stdin="n\n")
    assert refused.exit_code == 1
    assert 'Delete c, "T" of ollama, with all of its versions? [y/N]' in refused.stdout
    assert vault("delete", "c").exit_code == 1, "nobody there to ask"
    assert len(rows(vault.done("pull"))) == 1
    assert vault.done("delete", "c", stdin="y\n").endswith("deleted c\n")
    assert vault.refused("delete", "c", "--yes") == "there is no chat c in the vault"
    vault.pushed("d", HELLO)
    assert vault.done("delete", "--entry", number_of(vault, "d"), "--yes").startswith("deleted entry ")
    assert rows(vault.done("pull")) == []


def test_adopt(vault: Owner, server: Server) -> None:
    vault.pushed("c", HELLO, HI)
    result = vault("adopt", "c")
    assert result.exit_code == 0, result.output
    assert f"sending the messages of c to {vault.url}, which can read this conversation then" in result.stderr
    status, answer = server.ask("GET", f"/api/chat/messages?conversation_id={result.stdout.strip()}", key=vault.key)
    assert status == 200
    assert "Hello" in json.dumps(answer)
    assert len(rows(vault.done("log", "c"))) == 1


def test_nothing_is_adopted_of_a_chat_without_messages(vault: Owner, monkeypatch: pytest.MonkeyPatch) -> None:
    vault.pushed("c", HELLO)

    async def nothing(*_: object) -> list[VaultMessage]:
        return []

    monkeypatch.setattr(VaultClient, "open", nothing)
    assert vault.refused("adopt", "c").startswith("there are no messages in c")


# ---- keys -----------------------------------------------------------------------------------------------------------


def test_a_recovery_key_opens_the_vault_for_a_key_that_waits(vault: Owner) -> None:
    vault.pushed("c", HELLO)
    id = vault.done("key", "show").strip()
    printed = vault.done("key", "recovery")
    assert re.fullmatch(r"bsr_[A-Za-z0-9-]+_[A-Za-z0-9_-]{43,}\n", printed)
    waits = vault.another_key()
    assert vault.refused("key", "show", key=waits)
    assert vault.refused("key", "recover", key=waits, stdin="bsr_no\n") == (
        "that is no recovery key: it begins with bsr_ and has no blanks in it"
    )
    assert vault.refused("key", "recover", key=waits, stdin="")
    wrong = printed.strip()[:-1] + ("a" if printed.strip()[-1] != "a" else "b")
    told = vault.refused("key", "recover", key=waits, stdin=wrong)
    assert "recovery" in told
    assert wrong not in told
    done = vault.done("key", "recover", key=waits, stdin=f" {printed}")
    assert done == f"this API key opens the vault now, with the key {id}\n"
    assert lines_of(vault.done("pull", "--out", "-", key=waits))[0]["messages"] == [HELLO]


def test_further_keys(vault: Owner) -> None:
    vault.pushed("c", HELLO)
    printed = vault.done(
        "key", "issue", "--name", "[red]phone", "--platform", "phone", "--scope", "pull", "--expires", "90d"
    )
    assert re.fullmatch(r"bsk_[A-Za-z0-9-]+_[A-Za-z0-9_-]{43,}\n", printed)
    phone = printed.strip()
    assert lines_of(vault.done("pull", "--out", "-", key=phone))[0]["messages"] == [HELLO]
    refused = vault("push", "-", key=phone, stdin={"chatId": "d", "messages": [HELLO]})
    assert refused.exit_code == 1
    assert "failed" in refused.stdout
    listed = {row[1]: row for row in rows(vault.done("key", "tokens"))}
    assert listed["[red]phone"][2:4] == ["phone", "pull"]
    assert listed["[red]phone"][-2] != "never"
    assert [row[-1] for row in listed.values()] == ["yes", "yes"]
    id = phone.split("_")[1]
    assert vault.done("key", "revoke", id) == f"revoked {id}\n"
    assert vault.refused("pull", key=phone)
    assert len(rows(vault.done("key", "tokens"))) == 1
    assert vault.refused("key", "revoke", "nobodys")
    assert vault.refused("key", "revoke", "../x")
    assert vault("key", "issue", "--name", "x", "--expires", "soon").exit_code == 2


def test_a_key_is_issued_with_the_recovery_key(vault: Owner) -> None:
    vault.pushed("c", HELLO)
    recovery = vault.done("key", "recovery")
    waits = vault.another_key()
    made = vault.done("key", "issue", "--name", "new", "--recover", key=waits, stdin=recovery).strip()
    assert lines_of(vault.done("pull", "--out", "-", key=made))[0]["messages"] == [HELLO]


def test_a_new_vault_key(vault: Owner, monkeypatch: pytest.MonkeyPatch) -> None:
    vault.pushed("a", HELLO)
    before = vault.done("key", "show")
    after = vault.done("key", "rotate")
    assert before != after == vault.done("key", "show")
    vault.pushed("b", HI)
    assert [line["messages"] for line in lines_of(vault.done("pull", "--out", "-"))] == [[HI], [HELLO]]
    monkeypatch.delattr(VaultClient, "push")
    assert vault.done("restore", "a", "1") == "version 1, the current one of a, has these messages already\n"


def test_a_version_that_does_not_open_can_be_replaced(vault: Owner) -> None:
    vault.pushed("a", HELLO)
    vault.run(lambda client: client.push("a", [VaultMessage("user", "x")], platform="ollama"), key=new_key())
    assert vault.done("restore", "a", "1") == "restored version 1 of a as version 3\n"


def test_what_was_pulled_is_unchanged_after_a_new_vault_key(vault: Owner, tmp_path: Path) -> None:
    vault.pushed("a", HELLO, title="T")
    vault.pushed("b", HI)
    assert vault("pull", "--out", str(tmp_path)).exit_code == 0
    vault.done("key", "rotate")
    assert {tuple(row[2:]) for row in rows(vault.done("push", str(tmp_path)))} == {("unchanged", "1")}
    vault.pushed("a", HELLO, HI)
    assert sorted(row[-1] for row in rows(vault.done("pull"))) == ["1", "2"]


def test_a_recovery_key_that_is_lost_is_given_up(vault: Owner) -> None:
    vault.pushed("a", HELLO)
    vault.done("key", "recovery")
    vault.done("key", "revoke", vault.key.split("_")[1])
    new = vault.another_key()
    vault.done("key", "rotate", "--abandon", key=new)
    assert "recovery key before" in vault.refused("key", "recovery", key=new)
    assert vault.done("key", "recovery", "--abandon", key=new).startswith("bsr_")


def test_lost_keys_are_abandoned(vault: Owner, tmp_path: Path) -> None:
    vault.pushed("a", HELLO)
    mine = vault.key.split("_")[1]
    new = vault.another_key()
    place = vault._place
    assert CliRunner().invoke(main, ["keys", "revoke", mine, *place]).exit_code == 1
    assert CliRunner().invoke(main, ["keys", "revoke", mine, "--abandon", *place]).exit_code == 0
    assert vault.refused("key", "show", key=new)
    assert "`backchat vault key rotate --abandon`" in vault.refused("key", "rotate", key=new)
    id = vault.done("key", "rotate", "--abandon", key=new)
    assert vault.done("key", "show", key=new) == id
    vault.done("push", "-", stdin={"chatId": "b", "platform": "p", "messages": [HI]}, key=new)
    vault.done("push", "-", stdin={"chatId": "c", "platform": "p", "messages": [HI]}, key=new)
    result = vault("pull", "--out", str(tmp_path), key=new)
    assert result.exit_code == 1
    closed, _ = result.stderr.splitlines()
    assert re.search("this is sealed under vk-.*, which no API key or recovery key has any more", closed)
    assert "--abandon" not in closed, "that has been done"
    assert len(list(tmp_path.iterdir())) == 2


# ---- what goes wrong ------------------------------------------------------------------------------------------------


def test_nobody_there_and_nobody_known(vault: Owner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "PAUSES", (0.0,))
    with socket.create_server(("127.0.0.1", 0)) as found:
        free = found.getsockname()[1]
    bad = [
        (["--url", f"http://127.0.0.1:{free}"], "Connection refused"),
        (["--url", "ftp://x"], "must begin with http:// or https://"),
        (["--key", "bsk_a_" + "x" * 43], ""),
        (["--key", "no key"], "holds blanks"),
        (["--key", "e"], "invalid or expired"),
        (["--url", vault.url.replace("http", "https")], "does not speak TLS there"),
    ]
    for options, words in bad:
        for command in (["pull"], ["log", "c"], ["key", "tokens"]):
            told = vault.refused(*command, *options)
            assert words in told
            assert "x" * 43 not in told
    vault.pushed("c", HELLO)
    body = "\n".join(json.dumps({"chatId": f"c{n}", "platform": "p", "messages": [HELLO]}) for n in range(50))
    down = vault("push", "-", "--key", "bsk_a_" + "x" * 43, stdin=body)
    assert down.exit_code == 1
    (why,) = down.stderr.splitlines()
    untried = re.fullmatch(r"Error: .+; (\d+) not tried", why)
    assert untried
    assert 0 < len(rows(down.stdout)) == 50 - int(untried[1]) < 20
    assert {row[1] for row in rows(down.stdout)} == {"failed"}
    assert CliRunner().invoke(main, ["vault", "pull"], env={"BACKCHAT_KEY": ""}).exit_code == 2


def test_something_else_answers(vault: Owner, server: Server) -> None:
    assert "is not a vault" in vault.refused("pull", "--url", f"{vault.url}/elsewhere")


class Terminal:
    """A command on a pseudo-terminal; ``shown`` is what it has printed there."""

    def __init__(self, vault: Owner, *args: str) -> None:
        self._ours, theirs = pty.openpty()
        env = {**os.environ, **vault.environment(), "TERM": "xterm", "COLUMNS": "100"}
        env.pop("NO_COLOR", None)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "backchat", "vault", *args],
            env=env,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)
        self.shown = ""

    def hear(self, words: str | None) -> None:
        while words is None or words not in self.shown:
            piece = b""
            with suppress(OSError):
                piece = os.read(self._ours, 4096)
            if not piece:
                assert words is None, self.shown
                return
            self.shown += piece.decode(errors="replace")

    def say(self, text: str) -> None:
        os.write(self._ours, text.encode())

    def end(self) -> int:
        self.hear(None)
        code = self.process.wait(20)
        os.close(self._ours)
        return code


def test_on_a_terminal(vault: Owner) -> None:
    vault.pushed("c", HELLO)
    vault.pushed("c", HI)
    recovery = vault.done("key", "recovery").strip()
    asked, coloured = Terminal(vault, "key", "recover"), Terminal(vault, "diff", "c", "1")
    sure, listed = Terminal(vault, "key", "rotate", "--abandon"), Terminal(vault, "pull")
    key = vault.done("key", "show")
    sure.hear("[y/N]: ")
    sure.say("n\n")
    assert sure.end() == 1
    assert vault.done("key", "show") == key
    assert listed.end() == 0
    assert f"backchat vault log --entry {number_of(vault, 'c')}" in listed.shown
    assert "Category" not in listed.shown
    assert coloured.end() == 0
    assert "\x1b[31m-   Hello" in coloured.shown
    assert "\x1b[32m+   Hi" in coloured.shown
    asked.hear("Recovery key: ")
    asked.say(f"{recovery}\n")
    assert asked.end() == 0
    assert "opens the vault now" in asked.shown
    assert recovery not in asked.shown


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Ctrl-C is what it is in a terminal: a shell has the commands that it runs in the background ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_ctrl_c_leaves_nothing_half_done(vault: Owner, tmp_path: Path) -> None:
    """At a server that never answers."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        command = [sys.executable, "-m", "backchat", "vault", "pull", "--url", url, "--out", str(tmp_path / "out")]
        env = {**os.environ, **vault.environment()}
        with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            connection, _ = silent.accept()
            connection.recv(1)
            try:
                process.send_signal(signal.SIGINT)
                out, err = process.communicate(timeout=20)
            finally:
                process.kill()
                connection.close()
    assert process.returncode == 1
    assert (out, err.strip()) == (b"", b"Aborted!")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("interruptible")
def test_ctrl_c_says_what_was_done_until_then(vault: Owner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = "\n".join([json.dumps({"chatId": f"c{n}", "platform": "p", "messages": [HELLO]}) for n in range(9)])
    push, done, never = VaultClient.push, 0, asyncio.Event()

    async def some(self: VaultClient, *args: Any, **more: Any) -> VaultResult:
        nonlocal done
        if done == 2:
            signal.raise_signal(signal.SIGINT)
            await never.wait()
        done += 1
        return await push(self, *args, **more)

    with monkeypatch.context() as patched:
        patched.setattr("backchat.cli.vault_push.AT_ONCE", 1)
        patched.setattr(VaultClient, "push", some)
        stopped = vault("push", "-", stdin=lines)
    assert (stopped.exit_code, stopped.stdout.strip()) == (1, "")
    assert stopped.stderr.split("\n")[0] == "2 pushed; push the same again for the rest"
    assert "Aborted!" in stopped.stderr
    assert [row[1] for row in rows(vault.done("push", "-", stdin=lines))] == ["unchanged"] * 2 + ["created"] * 7

    opened, known = VaultClient.open, 0

    async def few(self: VaultClient, entry: Any) -> list[VaultMessage]:
        nonlocal known
        if known == 3:
            signal.raise_signal(signal.SIGINT)
            await never.wait()
        known += 1
        return await opened(self, entry)

    monkeypatch.setattr(VaultClient, "open", few)
    stopped = vault("pull", "--out", str(tmp_path))
    assert stopped.exit_code == 1
    assert stopped.stderr.split("\n")[0] == f"pulled 3 chats to {tmp_path}"
    assert "Aborted!" in stopped.stderr


def test_a_chat_that_is_too_large(vault: Owner) -> None:
    told = vault(
        "push", "-", stdin={"chatId": "c", "platform": "p", "messages": [HELLO | {"content": "x" * 7_900_000}]}
    )
    assert told.exit_code == 1
    assert "a chat may have about 7.8 MB of text" in told.stderr
    assert vault.done(
        "push", "-", stdin={"chatId": "c", "platform": "p", "messages": [HELLO | {"content": "x" * 7_800_000}]}
    )


def test_what_standard_output_cannot_show(vault: Owner) -> None:
    vault.pushed("c", HELLO, title="\N{SNOWMAN}")
    told = CliRunner(charset="latin-1").invoke(main, ["vault", "pull"], env=vault.environment())
    assert told.exit_code == 1
    assert told.stderr.startswith("Error: the output cannot be written: its encoding, latin-1, has not all characters")


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_standard_output_that_is_full(unbuffered: str) -> None:
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "backchat", "vault", "pull", "--help"]
        env = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
        done = subprocess.run(command, env=env, stdout=full, stderr=subprocess.PIPE, check=False)
    assert (done.returncode, done.stderr) == (1, b"Error: the output cannot be written: No space left on device\n")


# ---- tables ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [80, 50])
def test_a_list_on_a_narrow_terminal(
    width: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    chat = "5f0c1234-aaaa-bbbb-cccc-123456789012"
    row = ["1234567", "ollama", chat, "A title of many words", "", "x, y", "2026-11-21 09:30", "1200", "13"]
    show(COLUMNS, [row, ["7", "p", "c", "T", "", "", "2026-11-21 09:30", "1", "1"]], numbers=2, cropped=CROPPED)
    lines = [re.sub("\x1b\\[[0-9;]*m", "", line) for line in capsys.readouterr().out.splitlines()]
    assert len(lines) == 4, "none is folded"
    assert {len(line) for line in lines} == {width}
    assert "Category" not in lines[0]
    assert lines[2].startswith("1234567 ")
    if width == 80:
        assert re.search("  5f0c1[^ ]*\N{HORIZONTAL ELLIPSIS}  ", lines[2])
        assert lines[2].endswith("2026-11-21 09:30      1200       13")
