"""The documentation says what is so: everything is in it, everything in it exists, and its examples work."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from string import Template
from typing import Any

import click
import orjson
import pytest
from aiohttp import FormData
from multidict import CIMultiDict

from backchat.cli import main
from backchat.cli.hook_reference import hook_reference, hooks
from backchat.config import load_config
from backchat.plugins import Plugins
from backchat.testing.plugin import Serve
from backchat.testing.server import parse_events
from backchat.web.metrics import Metrics

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
OPERATIONS = (ROOT / "docs" / "operations.md").read_text("utf-8")
CONVERSATION = (ROOT / "tests" / "convos_client" / "librechat.json").read_bytes()
FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def blocks(page: Path, language: str) -> list[str]:
    return [body for name, body in FENCED.findall(page.read_text("utf-8")) if name == language]


def lines(page: Path) -> Iterator[list[str]]:
    """The command lines of the shell examples, as words."""
    for block in blocks(page, "sh"):
        for line in block.replace("\\\n", " ").splitlines():
            if words := shlex.split(line, comments=True):
                yield words


# ---- hooks ----------------------------------------------------------------------------------------------------------


def test_the_page_of_hooks_is_up_to_date() -> None:
    page = (ROOT / "docs" / "hooks.md").read_text("utf-8")
    assert page == hook_reference(), "run: python -m backchat.cli.hook_reference > docs/hooks.md"


@pytest.mark.parametrize("name", hooks())
def test_every_hook_says_when_it_is_called_and_what_it_returns(name: str) -> None:
    told = hooks()[name].__doc__ or ""
    assert re.search(r"\bCalled \w", told)
    assert re.search(r"\bReturn \w", told)


# ---- pages ----------------------------------------------------------------------------------------------------------


def anchors(page: Path) -> set[str]:
    """The ids that GitHub gives to headings."""
    headings = re.findall(r"^#+ (.*)$", FENCED.sub("", page.read_text("utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@every_page
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\[[^]]*\]\(([^)\s]+)\)", FENCED.sub("", page.read_text("utf-8")))
    for link in links:
        if not re.match(r"https?://", link):
            path, _, anchor = link.partition("#")
            target = (page.parent / path).resolve() if path else page
            assert target.exists(), link
            assert target.is_relative_to(ROOT), link
            assert not anchor or anchor in anchors(target), link


def test_examples_from_files_are_those_files() -> None:
    page = ROOT / "docs" / "write-a-plugin.md"
    included = re.findall(r"<!-- include: (\S+) -->\n```\w+\n(.*?)^```$", page.read_text("utf-8"), re.M | re.S)
    assert len(included) == 4
    for path, body in included:
        assert body == (ROOT / path).read_text("utf-8"), path


@every_page
def test_commands_exist(page: Path) -> None:
    text = page.read_text("utf-8")
    inline = [shlex.split(span) for span in re.findall(r"`(backchat [^`]+)`", FENCED.sub("", text))]
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    for words in [*lines(page), *inline]:
        while is_variable(words[0]) and len(words) > 1:
            words = words[1:]
        if words[0] == "make":
            assert {word for word in words[1:] if not is_variable(word)} <= targets
        elif Path(words[0]).name == "backchat":
            check_command(main, words[1:])


def is_variable(word: str) -> bool:
    return re.match(r"[A-Z_]+=", word) is not None


@pytest.mark.parametrize("file", sorted((ROOT / "configs").glob("*.yml")), ids=lambda file: file.name)
def test_commands_in_configurations_exist(file: Path) -> None:
    comments = "\n".join(re.findall(r"# ?(.*)", file.read_text("utf-8"))).replace("\\\n", " ")
    alone = re.findall(r"^ +(?:\S+=\S* +)*(?:\S*/)?backchat (.*)$", comments, re.MULTILINE)
    inline = re.findall(r"`backchat ([^`]+)`", comments)
    assert len(alone) + len(inline) == len(re.findall(r"\bbackchat (?:serve|check|keys|users|chat)\b", comments))
    for command in [*alone, *inline]:
        check_command(main, shlex.split(command))


def check_command(command: click.Command, args: list[str], parent: click.Context | None = None) -> None:
    """Parse a command line without running it; what it requires may be left out in prose."""
    if isinstance(command, click.Group) and args:
        context = click.Context(command, parent=parent)
        child = command.get_command(context, args[0])
        assert child is not None, args
        check_command(child, args[1:], context)
    else:
        try:
            command.make_context(command.name, list(args), parent)
        except (click.MissingParameter, click.exceptions.NoArgsIsHelpError):
            pass
        except click.UsageError as error:
            if isinstance(error, click.BadParameter) and isinstance(getattr(error.param, "type", None), click.Path):
                return  # the files of examples are not here
            pytest.fail(f"{args}: {error.format_message()}")


def test_the_two_commands_of_the_readme() -> None:
    assert [words for words in lines(ROOT / "README.md") if words[0] == "make"] == [["make", "run"], ["make", "test"]]


@pytest.mark.parametrize("page", [ROOT / "README.md", ROOT / "docs" / "operations.md"], ids=lambda page: page.name)
def test_configurations_hold(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    examples = blocks(page, "yaml")
    assert examples
    for example in examples:
        for name in re.findall(r"\$env: (\w+)", example):
            monkeypatch.setenv(name, "0123456789abcdef" * 4)
        (tmp_path / "backchat.yml").write_text(example, "utf-8")
        load_config(tmp_path / "backchat.yml", Plugins(from_entry_points=True), data=tmp_path)


# ---- HTTP -----------------------------------------------------------------------------------------------------------


def test_every_route_of_every_dialect_is_documented() -> None:
    for dialect in Plugins(from_entry_points=True).dialects.values():
        served = {f"{route.method} {dialect.mount}{route.path}" for route in dialect.routes}
        page = (ROOT / "docs" / "dialects" / f"{dialect.name}.md").read_text("utf-8")
        table = "\n".join(line for line in page.splitlines() if line.startswith("| [`"))
        assert set(re.findall(r"`([A-Z]+ /[^`]*)`", table)) == {re.sub(r":[^}]*}", "}", route) for route in served}


PAGES_WITH_CURL = [page for page in PAGES if any("curl" in block for block in blocks(page, "sh"))]


@pytest.mark.parametrize("page", PAGES_WITH_CURL, ids=lambda page: page.name)
async def test_the_requests_of_a_page_succeed_one_after_another(page: Path, serve: Serve) -> None:
    box = await serve()
    who = await box.key()
    known = {"URL": "", "KEY": who["Authorization"].removeprefix("Bearer ")}
    for words in [words for words in lines(page) if words[0] == "curl"]:
        method, path, headers, body = curl([Template(word).substitute(known) for word in words])
        path = path.removeprefix("http://127.0.0.1:8080")
        answer = await box.client.request(method, path, headers=headers, data=body)
        assert 200 <= answer.status < 300, (words, await answer.text())
        raw = await answer.read()
        if answer.content_type == "text/event-stream":
            found = parse_events(raw)
            assert found[-1][0] in ("done", "run_ended") or found[-1][2]["final"], words
            known.update(names_in(found[0][2]))
        elif answer.content_type == "application/json":
            known.update(names_in(orjson.loads(raw)))


NAMES = {
    "conversation_id": "CONVERSATION",
    "run_id": "RUN",
    "assistant_id": "ASSISTANT",
    "thread_id": "THREAD",
    "document_id": "DOCUMENT",
    "memory_id": "MEMORY",
    "memory_operation_id": "OPERATION",
    "conversationId": "CONVERSATION",
    "messageId": "MESSAGE",
    "shareId": "SHARE",
    "jobId": "JOB",
    "shareable_link_id": "LINK",
    "entryId": "ENTRY",
    "recoveryKey": "RECOVERY",
}
IDS = {"is_personal": "WORKSPACE", "agent_framework": "SESSION", "sequence_number": "MESSAGE", "hasKey": "TOKEN"}
"""What has these fields has an ``id`` that later examples call by this name."""


def names_in(answer: Any) -> dict[str, str]:
    """What later examples call by a name."""
    if not isinstance(answer, dict):
        return {}
    answer = next(iter(answer["results"]), answer) if "results" in answer else answer
    found = {name: answer["id"] for field, name in IDS.items() if field in answer}
    found |= {name: answer[field] for field, name in NAMES.items() if answer.get(field) is not None}
    if answer.get("tool_calls"):
        found["CALL"] = answer["tool_calls"][0]["id"]
    return found


def curl(words: list[str]) -> tuple[str, str, CIMultiDict[str], str | FormData | None]:
    """Method, URL, headers and body of a curl command; ValueError for an option that is not known here.

    A file that it uploads holds a sentence, or a conversation if it is JSON.
    """
    method, headers = "", CIMultiDict[str]()
    body: str | FormData | None = None
    urls = []
    rest = iter(words[1:])
    for word in rest:
        match word:
            case "-N":
                pass
            case "-o":
                next(rest)
            case "-X":
                method = next(rest)
            case "-d":
                body = next(rest)
            case "-F":
                name, _, value = next(rest).partition("=")
                body = body if isinstance(body, FormData) else FormData()
                if value.startswith("@"):
                    data = CONVERSATION if value.endswith(".json") else b"The harbour opens at nine."
                    body.add_field(name, data, filename=value[1:])
                else:
                    body.add_field(name, value)
            case "-H":
                name, _, value = next(rest).partition(": ")
                headers.add(name, value)
            case _ if word.startswith("-"):
                raise ValueError(word)
            case _:
                urls.append(word)
    (url,) = urls
    if isinstance(body, str):
        headers.setdefault("Content-Type", "application/x-www-form-urlencoded")
    return method or ("POST" if body is not None else "GET"), url, headers, body


# ---- operations -----------------------------------------------------------------------------------------------------


def test_every_metric_is_documented() -> None:
    shown = re.findall(r"^# TYPE (\w+)", Metrics().render()[0].decode(), re.MULTILINE)
    ours = {name for name in shown if name.startswith("backchat_") and not name.endswith("_created")}
    assert ours
    assert set(re.findall(r"^\| `(backchat_\w+)`", OPERATIONS, re.MULTILINE)) == ours


def test_every_log_event_is_documented() -> None:
    sources = [*(ROOT / "backchat").rglob("*.py"), *(ROOT / "plugins").rglob("*.py")]
    logged = set()
    for source in sources:
        logged |= set(
            re.findall(r"\blog\.(?:info|warning|error|exception)\(\s*\"([\w.]+)\"", source.read_text("utf-8"))
        )
    table = OPERATIONS[OPERATIONS.index("| Event | Level |") :].partition("\n\n")[0]
    told = {name for row in table.splitlines()[2:] for name in re.findall(r"`([\w.]+)`", row.split("|")[1])}
    assert told == logged
