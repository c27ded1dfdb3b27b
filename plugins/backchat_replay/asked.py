"""What a request is recognised by: digests of what the model is shown, and of nothing that differs from run to run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from backchat.domain.message import Reasoning, Seal, Text, ToolCall, ToolResult
from backchat.ports.providers import FileData, ImageData, ModelRequest, PromptPart
from backchat_replay.scrubbing import scrubbed_json

FIELDS = ("model", "system", "summary", "citations", "tools", "reasoning", "json_output", "sampling")


@dataclass(frozen=True, slots=True)
class Asked:
    """A request, in digests.

    fields    by name, those of ``FIELDS``
    messages  the role and the digest of each message
    """

    fields: Mapping[str, str]
    messages: Sequence[tuple[str, str]]

    @property
    def digest(self) -> str:
        """Of the whole request: 32 hexadecimal digits."""
        return _digest([self.fields, self.messages])

    def differences(self, other: Asked) -> list[str]:
        """What is not the same in both: names of fields, and of the messages the first one, or how many there are."""
        found = [name for name in FIELDS if self.fields.get(name) != other.fields.get(name)]
        for n, (mine, theirs) in enumerate(zip(self.messages, other.messages, strict=False)):
            if mine != theirs:
                return [*found, f"messages[{n}] ({mine[0]})"]
        if len(self.messages) != len(other.messages):
            found.append(f"messages ({len(self.messages)}, not {len(other.messages)})")
        return found

    def distance(self, other: Asked) -> int:
        """How much is not the same: fields, and messages from the first on that differs."""
        same = 0
        for mine, theirs in zip(self.messages, other.messages, strict=False):
            if mine != theirs:
                break
            same += 1
        apart = max(len(self.messages), len(other.messages)) - same
        return apart + sum([self.fields.get(name) != other.fields.get(name) for name in FIELDS])


def asked(request: ModelRequest, own_model: str) -> Asked:
    """``own_model``: the one that answers when a request names none; to name it or not is the same.

    Ids of tool calls are numbers here, in the order in which they first appear. It takes time in proportion to the size
    of the prompt: use a thread.
    """
    ids: dict[str, int] = {}
    values = {
        "model": None if request.model == own_model else request.model,
        "system": request.system,
        "summary": request.summary,
        "citations": [[c.source, c.text] for c in request.citations],
        "tools": [[t.name, t.description, t.parameters, t.strict] for t in request.tools],
        "reasoning": request.reasoning,
        "json_output": request.json_output,
        "sampling": {f.name: getattr(request.sampling, f.name) for f in fields(request.sampling)},
    }
    return Asked(
        {name: _digest(values[name]) for name in FIELDS},
        [(m.role, _digest([m.role, [_part(p, ids) for p in m.parts]])) for m in request.messages],
    )


def _part(part: PromptPart, ids: dict[str, int]) -> list[Any]:
    match part:
        case Text(text):
            return ["text", text]
        case Reasoning(text, seal):
            return ["reasoning", text, _seal(seal)]
        case ImageData(mime, data):
            return ["image", mime, hashlib.sha256(data).hexdigest()]
        case FileData(name, mime, data):
            return ["file", name, mime, hashlib.sha256(data).hexdigest()]
        case ToolCall(id, name, arguments, seal):
            return ["call", ids.setdefault(id, len(ids)), name, _arguments(arguments), _seal(seal)]
        case ToolResult(call, content):
            return ["result", ids.setdefault(call, len(ids)), content]


def _seal(seal: Seal | None) -> list[str] | None:
    return [seal.maker, seal.data] if seal else None


def _arguments(arguments: str) -> Any:
    """Their value: the spelling changes on the way through the store."""
    try:
        return ["json", json.loads(arguments)]
    except (ValueError, RecursionError):
        return ["text", arguments]


def _digest(value: Any) -> str:
    """Without keys: a prompt has what was said before, of which the recording has no key."""
    text = json.dumps(scrubbed_json(value), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]
