"""backchat's own format, written: one conversation as a JSON object. docs/formats.md describes it.

Nothing here is shared with ``backchat.services.stored``, however alike the two look: files of this format are read by
other servers and by later versions, so it stays as it is when the stored form changes.
"""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Iterable
from typing import IO, Any

import orjson

from backchat.domain.conversation import Conversation
from backchat.domain.message import File, Foreign, Image, Message, Part, Reasoning, Text, ToolCall, ToolResult, Usage
from backchat.domain.settings import ModelSettings
from backchat.domain.times import stamp
from backchat.services.extents import Rooting

CONVERSATION_FORMAT = "backchat-conversation"
LINES_FORMAT = "backchat-export"
MANIFEST_FORMAT = "backchat-manifest"
VERSION = 1
"""Grows with a change that a reader must not pass over. Keys may be added without: readers ignore what is new."""


class PortableWriter:
    """Writes one conversation: ``begin``, then ``messages`` in the order of their seqs, then ``file``, then ``end``.

    The messages come in pages, and each is encoded by itself: what a store could hold is not too deep to be written.

    images  id to mime of the images that the messages so far refer to, in their order
    count   how many messages there are so far;  ``sha256`` is of all bytes so far, in hex
    """

    def __init__(self, sink: IO[bytes]) -> None:
        self._sink, self._hash = sink, hashlib.sha256()
        self._files = 0
        self._rooting = Rooting()
        self.images: dict[str, str] = {}
        self.count = 0

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()

    def begin(self, conversation: Conversation, assistant: str | None) -> None:
        """``assistant`` is the name of the one that answers in it."""
        head = {"format": CONVERSATION_FORMAT, "version": VERSION}
        self._write(orjson.dumps(head)[:-1] + b',"conversation":')
        self._write(orjson.dumps(conversation_dict(conversation, assistant)) + b',"messages":[')

    def messages(self, page: Iterable[Message]) -> None:
        """A message whose parent was deleted is a root."""
        for message in self._rooting.next(page):
            self._write((b"," if self.count else b"") + orjson.dumps(message_dict(message)))
            self.images.update({p.file: p.mime for p in message.parts if type(p) is Image})
            self.count += 1

    def file(self, id: str, mime: str, data: bytes) -> None:
        self._write(b"," if self._files else b'],"files":{')
        file = {"mime": mime, "data": b64encode(data).decode()}
        self._write(orjson.dumps(id) + b":" + orjson.dumps(file))
        self._files += 1

    def end(self) -> None:
        self._write(b"}}" if self._files else b'],"files":{}}')

    def _write(self, data: bytes) -> None:
        self._hash.update(data)
        self._sink.write(data)


def conversation_dict(c: Conversation, assistant: str | None) -> dict[str, Any]:
    return {
        "id": c.id,
        "title": c.title,
        "created_at": stamp(c.created_at),
        "updated_at": stamp(c.updated_at),
        "archived_at": stamp(c.archived_at) if c.archived_at else None,
        "pinned": c.pinned,
        "tags": list(c.tags),
        "channel": c.channel,
        "source": c.source,
        "assistant": assistant,
        "leaf": c.leaf,
        "completed": c.completed,
        "settings": settings_dict(c.settings),
        "options": c.options,
        "metadata": c.metadata,
    }


def settings_dict(s: ModelSettings) -> dict[str, Any]:
    """What is not set is left out."""
    sampling = s.sampling
    every: dict[str, Any] = {
        "provider": s.provider,
        "model": s.model,
        "system": s.system or None,
        "agent": s.agent,
        "temperature": sampling.temperature,
        "max_tokens": sampling.max_tokens,
        "top_p": sampling.top_p,
        "frequency_penalty": sampling.frequency_penalty,
        "presence_penalty": sampling.presence_penalty,
        "parameters": sampling.parameters or None,
    }
    return {name: value for name, value in every.items() if value is not None}


def message_dict(m: Message) -> dict[str, Any]:
    """What a message does not have is left out, but for its parent."""
    optional: dict[str, Any] = {
        "updated_at": stamp(m.updated_at) if m.updated_at else None,
        "provider": m.provider,
        "model": m.model,
        "usage": usage_dict(m.usage) if m.usage else None,
        "metadata": m.metadata or None,
        "extra": m.extra or None,
    }
    return {
        "id": m.id,
        "parent": m.parent,
        "role": m.role,
        "status": m.status,
        "created_at": stamp(m.created_at),
        "parts": [part_dict(p) for p in m.parts],
    } | {name: value for name, value in optional.items() if value is not None}


def usage_dict(u: Usage) -> dict[str, int]:
    told = {
        "input_tokens": u.input_tokens,
        "output_tokens": u.output_tokens,
        "cached_tokens": u.cached_tokens,
        "reasoning_tokens": u.reasoning_tokens,
    }
    return told | {"cache_write_tokens": u.cache_write_tokens} if u.cache_write_tokens else told


def part_dict(part: Part) -> dict[str, Any]:
    """Without seals: a service refuses what is not its own, and nobody could tell on the way back."""
    match part:
        case Text(text):
            return {"type": "text", "text": text}
        case Reasoning(text):
            return {"type": "reasoning", "text": text}
        case Image(file, mime):
            return {"type": "image", "file": file, "mime": mime}
        case File(document, name):
            return {"type": "file", "document": document, "name": name}
        case ToolCall(id, name, arguments):
            return {"type": "tool_call", "id": id, "name": name, "arguments": arguments}
        case ToolResult(call, content):
            return {"type": "tool_result", "call": call, "content": content}
        case Foreign(data):
            return {"type": "foreign", "data": data}
