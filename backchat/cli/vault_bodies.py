"""The vault's own files: what ``POST /api/v1/push`` takes, one body or several on lines; or nothing but messages.

They are read like the files of every product, by an importer.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Any, BinaryIO, get_args

import orjson

from backchat.cli.vault_messages import TIMESTAMP
from backchat.domain.message import Role, Text
from backchat.domain.vault import VaultRole
from backchat.errors import InvalidInput
from backchat.ports.importing import Shape, SourceConversation, SourceMessage, Unreadable
from backchat.services.unpacking import Fields

MARK = "vault"
"""In the metadata of a conversation: what it is in a vault, in the words of a push; see ``Marked``."""
_ROLES: dict[str, Role] = {role: role for role in get_args(VaultRole)}
_TEXTS = ("title", "category", "topic", "model")


class VaultBodies:
    name = "vault"

    def recognises(self, shape: Shape) -> bool:
        return shape.keys >= ({"role", "content"} if shape.is_array else {"chatId", "messages"})

    def read(self, file: BinaryIO) -> Iterator[SourceConversation | Unreadable]:
        """Line by line. A file whose first line is not a whole value is one value, laid out in some way."""
        lines = ((number, line) for number, line in enumerate(file, 1) if line.strip())
        number, first = next(lines, (1, b""))
        value = _value(first)
        if value is None:
            value = _value(b"".join([first, *[line for _, line in lines]]))
            if value is None:
                raise InvalidInput("the file is no JSON, or breaks off")
        second = next(lines, None)
        if second is None:
            yield _conversation(value)
            return
        yield _at(number, _conversation(value))
        for number, line in chain([second], lines):
            value = _value(line)
            yield Unreadable(None, f"line {number} is no JSON") if value is None else _at(number, _conversation(value))


def _at(line: int, found: SourceConversation | Unreadable) -> SourceConversation | Unreadable:
    """What cannot be read says at which line."""
    return Unreadable(found.title, f"line {line}: {found.reason}") if isinstance(found, Unreadable) else found


def _value(text: bytes) -> Any:
    """None if it is no JSON, or null."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return None


def _conversation(value: Any) -> SourceConversation | Unreadable:
    title = None
    try:
        if isinstance(value, list):
            return SourceConversation(id=None, messages=_messages(value), leaf=_last(value), metadata={MARK: {}})
        body = Fields(value, "the entry")
        title = value["title"] if isinstance(value.get("title"), str) else None
        if "encryptedContent" in value:
            raise InvalidInput("it is sealed already: push seals what it sends")
        messages = body.list("messages")
        return SourceConversation(
            id=body.name("chatId"),
            messages=_messages(messages),
            title=title,
            leaf=_last(messages),
            metadata={MARK: _mark(body)},
        )
    except InvalidInput as problem:
        return Unreadable(title, str(problem))


def _mark(body: Fields) -> dict[str, Any]:
    """What is given of these; null is given as well, and clears."""
    mark: dict[str, Any] = {"chatId": body.text("chatId")}
    if (platform := body.text_or_none("platform")) is not None:
        mark["platform"] = platform
    mark |= {name: body.text_or_none(name) for name in _TEXTS if name in body.value}
    if "tags" in body.value:
        tags = body.value["tags"]
        if tags is not None and not (isinstance(tags, list) and all(isinstance(tag, str) for tag in tags)):
            raise InvalidInput("tags is no array of texts")
        mark["tags"] = tags
    if body.value.get("baseVersion") is not None:
        mark["baseVersion"] = body.count("baseVersion")
    return mark


def _messages(values: Any) -> list[SourceMessage]:
    found: list[SourceMessage] = []
    for n, value in enumerate(values):
        m = Fields(value, f"messages.{n}")
        found.append(
            SourceMessage(
                id=str(n),
                role=m.one_of("role", _ROLES),
                parts=(Text(m.text("content")),),
                parent=str(n - 1) if n else None,
                extra={TIMESTAMP: m.text_or_none(TIMESTAMP)},
            )
        )
    return found


def _last(messages: Any) -> str | None:
    return str(len(messages) - 1) if messages else None
