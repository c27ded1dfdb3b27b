"""A conversation as Markdown, for people. What was said stays as it is; everything else is made to hold any content."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

import orjson

from backchat.domain.conversation import Conversation
from backchat.domain.message import File, Foreign, Image, Message, Part, Reasoning, Role, Text, ToolCall, ToolResult

_SPEAKERS: dict[Role, str] = {"system": "System", "user": "User", "assistant": "Assistant", "tool": "Tool"}
_FENCE = re.compile(r"^ {0,3}(`{3,}|~{3,})(.*)$")
_DETAILS = re.compile(r"<(?=/?(?:details|summary)\b)", re.IGNORECASE)


def rendered(conversation: Conversation, path: Iterable[Message]) -> str:
    """The title, its dates, and a section for each of these messages."""
    return "\n\n".join(_blocks(conversation, path)) + "\n"


def _blocks(conversation: Conversation, path: Iterable[Message]) -> Iterator[str]:
    yield f"# {_line(conversation.title) or 'Conversation'}"
    dates = [f"- Created: {_minute(conversation.created_at)}", f"- Updated: {_minute(conversation.updated_at)}"]
    if conversation.archived_at:
        dates.append(f"- Archived: {_minute(conversation.archived_at)}")
    if conversation.tags:
        dates.append(f"- Tags: {', '.join(_line(tag) for tag in conversation.tags)}")
    yield "\n".join(dates)
    for message in path:
        model = f" ({_line(message.model)})" if message.model and message.role == "assistant" else ""
        yield f"## {_SPEAKERS[message.role]}{model}, {_minute(message.created_at)}"
        if message.status != "complete":
            yield f"*{message.status}*"
        yield from (block for part in message.parts if (block := _part(part)))


def _part(part: Part) -> str:
    match part:
        case Text(text):
            return _closed(text)
        case Reasoning(""):
            return ""
        case Reasoning(text):
            # Its own end of the details would show the rest of it as what was said.
            inside = _closed(_DETAILS.sub("&lt;", text))
            return f"<details>\n<summary>Reasoning</summary>\n\n{inside}\n\n</details>"
        case ToolCall(_, name, arguments):
            return f"Calls {_code(name)}:\n\n{_fenced(arguments, 'json')}"
        case ToolResult(_, content):
            return f"Result:\n\n{_fenced(content)}"
        case Image(file, mime):
            return f"Image {_code(file)} ({_line(mime)})"
        case File(_, name):
            return f"File {_code(name)}"
        case Foreign(data):
            return _fenced(orjson.dumps(data, option=orjson.OPT_INDENT_2).decode(), "json")


def _closed(text: str) -> str:
    """The text, and the end of a code block that it leaves open, which would take in all that follows."""
    open: str | None = None
    for line in text.split("\n"):
        if (found := _FENCE.match(line)) is None:
            continue
        fence, rest = found[1], found[2]
        if open is None:
            # A line with more backticks after its first ones is code within a paragraph.
            open = fence if fence[0] == "~" or "`" not in rest else None
        elif fence[0] == open[0] and len(fence) >= len(open) and not rest.strip():
            open = None
    return text if open is None else f"{text}\n{open}"


def _fenced(text: str, language: str = "") -> str:
    fence = "`" * max(3, 1 + _longest_run(text))
    return f"{fence}{language}\n{text}\n{fence}"


def _code(text: str) -> str:
    """A name within a line."""
    line = _line(text)
    ticks = "`" * (1 + _longest_run(line))
    space = " " if ticks != "`" else ""
    return f"{ticks}{space}{line}{space}{ticks}"


def _longest_run(text: str) -> int:
    return max((len(run) for run in re.findall("`+", text)), default=0)


def _line(text: str) -> str:
    return " ".join(text.split())


def _minute(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
