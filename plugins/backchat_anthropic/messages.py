"""The messages of a prompt, as the service takes them.

What it wants is in https://platform.claude.com/docs/en/api/messages: turns of a user and an assistant, the first one
the user's; the results of calls at the beginning of the turn after them; no empty text.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from backchat.domain.message import Reasoning, Text, ToolCall, ToolResult
from backchat.errors import ProviderRejected
from backchat.ports.providers import FileData, ImageData, PromptMessage, PromptPart
from backchat.upstream.histories import carried, object_of
from backchat.upstream.names import ToolNames
from backchat_anthropic.seals import unsealed

IMAGES = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})
PDF = "application/pdf"
TOOLS = ToolNames(128)
"""https://platform.claude.com/docs/en/agents-and-tools/tool-use/implement-tool-use#specifying-client-tools"""
_UNSHOWN = "(The beginning of the conversation is not shown.)"
_NOT_IN_AN_ID = re.compile(r"[^a-zA-Z0-9_-]")
_LONGEST_ID = 64


@dataclass(slots=True)
class Conversation:
    """What the messages of a prompt came to.

    system      what messages of role ``system`` say, wherever they stood: the service has one place for it
    turns       roles alternate
    sealed      thinking is given back
    unthought   the answer that goes on did not begin with thinking that is given back
    called      names of the tools that were called
    """

    system: list[str] = field(default_factory=list)
    turns: list[dict[str, Any]] = field(default_factory=list)
    sealed: bool = False
    unthought: bool = False
    called: dict[str, None] = field(default_factory=dict)


class _Ids:
    """Ids of calls that the service takes: letters, digits, ``_`` and ``-``, and each once in a request."""

    def __init__(self) -> None:
        self._used: set[str] = set()
        self._latest: dict[str, str] = {}

    def call(self, id: str) -> str:
        fit = sent = _NOT_IN_AN_ID.sub("_", id)[:_LONGEST_ID] or "call"
        n = 1
        while sent in self._used:
            n += 1
            sent = f"{fit[: _LONGEST_ID - len(str(n)) - 1]}_{n}"
        self._used.add(sent)
        self._latest[id] = sent
        return sent

    def result(self, id: str) -> str:
        """Of a result: that of the last call with this id."""
        return self._latest.get(id, id)


def conversation(messages: Sequence[PromptMessage], signer: str) -> Conversation:
    """The messages for ``signer``, the model that is asked.

    Thinking is given back in the answer that goes on after its tool calls, where the service needs it, and left out
    before: it may be refused there once anything before it has changed. Raises ProviderRejected for what cannot be
    sent.
    """
    made = Conversation()
    ids = _Ids()
    messages = list(carried(messages))
    going_on = _beginning(messages)
    for n, message in enumerate(messages):
        if message.role == "system":
            made.system += [p.text for p in message.parts if isinstance(p, Text)]
        elif message.role == "tool":
            _say(made, "user", [_result(p, ids) for p in message.parts if isinstance(p, ToolResult)])
        elif message.role == "user":
            _say(made, "user", _shown(message.parts))
        else:
            _say(made, "assistant", _answer(message.parts, made, ids, signer if n >= going_on else None))
    if not made.turns:
        raise ProviderRejected("the prompt says nothing")
    if made.turns[-1]["role"] == "assistant":
        raise ProviderRejected("the prompt ends with an answer: there is nothing after it that the model could answer")
    if made.turns[0]["role"] == "assistant":
        made.turns.insert(0, {"role": "user", "content": [{"type": "text", "text": _UNSHOWN}]})
    return made


def _beginning(messages: Sequence[PromptMessage]) -> int:
    """Of the answer that goes on: what a user adds to the results of its calls does not end it."""
    ends = [n for n, m in enumerate(messages) if m.role == "user" and not (n and messages[n - 1].role == "tool")]
    return ends[-1] + 1 if ends else 0


def _say(made: Conversation, role: str, blocks: Iterable[dict[str, Any]]) -> None:
    content = list(blocks)
    if not content:
        return
    if made.turns and made.turns[-1]["role"] == role:
        made.turns[-1]["content"] += content
    else:
        made.turns.append({"role": role, "content": content})


def _shown(parts: Iterable[PromptPart]) -> list[dict[str, Any]]:
    blocks: list[dict[str, Any]] = []
    for part in parts:
        if isinstance(part, Text):
            blocks += _words(part.text)
        elif isinstance(part, ImageData):
            blocks.append({"type": "image", "source": _bytes(part)})
        elif isinstance(part, FileData):
            blocks.append({"type": "document", "source": _bytes(part), "title": part.name})
    return blocks


def _answer(parts: Sequence[PromptPart], made: Conversation, ids: _Ids, signer: str | None) -> list[dict[str, Any]]:
    """What the model said, with the thinking of ``signer`` where it was; None: without."""
    text = "".join([p.text for p in parts if isinstance(p, Text)])
    thoughts = [unsealed(p, signer) for p in parts if isinstance(p, Reasoning)] if signer is not None else []
    blocks: list[dict[str, Any]] = []
    place = 0
    for thought in thoughts:
        if thought is not None:
            at, block = thought
            blocks += _words(text[place:at])
            blocks.append(block)
            place = max(place, at)
            made.sealed = True
    blocks += _words(text[place:])
    calls = [_call(p, ids) for p in parts if isinstance(p, ToolCall)]
    made.called |= dict.fromkeys([c["name"] for c in calls])
    blocks += calls
    if signer is not None and blocks and "thinking" not in blocks[0]["type"]:
        made.unthought = True
    return blocks


def _words(text: str) -> list[dict[str, Any]]:
    """Text of nothing but white space is refused as well."""
    return [{"type": "text", "text": text}] if text and not text.isspace() else []


def _bytes(part: ImageData | FileData) -> dict[str, Any]:
    return {"type": "base64", "media_type": part.mime, "data": b64encode(part.data).decode()}


def _call(call: ToolCall, ids: _Ids) -> dict[str, Any]:
    name, given = TOOLS.there(call.name), object_of(call.arguments)
    return {"type": "tool_use", "id": ids.call(call.id), "name": name, "input": given}


def _result(result: ToolResult, ids: _Ids) -> dict[str, Any]:
    block: dict[str, Any] = {"type": "tool_result", "tool_use_id": ids.result(result.call)}
    return {**block, "content": result.content} if result.content else block
