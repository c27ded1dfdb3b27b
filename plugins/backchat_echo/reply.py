"""What echo says: a pure function of the request."""

from __future__ import annotations

import json
from itertools import cycle, islice

from backchat.domain.message import Text, ToolCall, ToolResult
from backchat.ports.providers import FileData, ImageData, ModelRequest, PromptMessage

SILENCE = "(no text)"


def reply_text(request: ModelRequest, *, show_system: bool = False, at_least: int = 0) -> str:
    """The whole reply; with ``json_output`` a JSON object whose ``text`` is what would have been said.

    A block for each thing that reached the model, on lines of its own:

        [system] <instructions>                     only with ``show_system``
        <the user's last text>                      or, after tool calls, ``<tool>: <result>`` for each of the results
        1 image: [image/png, 68 bytes]              images of the user's last message
        [1] <source>: <text>                        each citation
    """
    blocks = [f"[system] {request.system}"] if show_system and request.system else []
    results = tool_results(request)
    if results:
        blocks += [f"{name}: {content}" for name, content in results]
    else:
        last = last_user(request)
        blocks += _said(last) if last else [SILENCE]
    blocks += [f"[{n}] {c.source}: {c.text}" for n, c in enumerate(request.citations, 1)]
    text = _lengthened("\n".join(blocks), at_least)
    return json.dumps({"text": text}, ensure_ascii=False) if request.json_output else text


def thinking(request: ModelRequest) -> str:
    last = last_user(request)
    words = len(text_of(last).split()) if last else 0
    return f"Thinking with {request.reasoning} effort about {words} {'word' if words == 1 else 'words'}."


def prompt_words(request: ModelRequest) -> int:
    """How many words the request holds: instructions, messages, tool calls and results, citations."""
    texts = [request.system, *(c.text for c in request.citations)]
    for message in request.messages:
        for part in message.parts:
            if isinstance(part, ToolCall):
                texts.append(f"{part.name} {part.arguments}")
            elif isinstance(part, ToolResult):
                texts.append(part.content)
            elif not isinstance(part, ImageData | FileData):
                texts.append(part.text)
    return sum(len(text.split()) for text in texts)


def last_user(request: ModelRequest) -> PromptMessage | None:
    return next((m for m in reversed(request.messages) if m.role == "user"), None)


def text_of(message: PromptMessage) -> str:
    return "".join([p.text for p in message.parts if isinstance(p, Text)])


def tool_results(request: ModelRequest) -> list[tuple[str, str]]:
    """(name of the tool, what it answered) for the results that end the prompt; empty if it ends otherwise."""
    trailing: list[ToolResult] = []
    for message in reversed(request.messages):
        if message.role != "tool":
            break
        trailing += reversed([p for p in message.parts if isinstance(p, ToolResult)])
    names = {p.id: p.name for m in request.messages for p in m.parts if isinstance(p, ToolCall)}
    return [(names.get(result.call, result.call), result.content) for result in reversed(trailing)]


def _said(message: PromptMessage) -> list[str]:
    text = text_of(message)
    images = [p for p in message.parts if isinstance(p, ImageData)]
    blocks = [text] if text.strip() else []
    if images:
        seen = " ".join(f"[{i.mime}, {len(i.data)} bytes]" for i in images)
        blocks.append(f"{len(images)} {'image' if len(images) == 1 else 'images'}: {seen}")
    return blocks or [SILENCE]


def _lengthened(text: str, at_least: int) -> str:
    words = text.split()
    missing = at_least - len(words)
    return f"{text} {' '.join(islice(cycle(words), missing))}" if missing > 0 else text
