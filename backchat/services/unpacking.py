"""backchat's own format, read back: strict about what is there, and blind to keys that it does not know.

Unlike ``backchat.services.stored``, which reads what this program wrote itself, it trusts nothing.
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar, get_args

from backchat.domain.message import (
    File,
    Foreign,
    Image,
    MessageStatus,
    Part,
    Reasoning,
    Role,
    Text,
    ToolCall,
    ToolResult,
    Usage,
)
from backchat.domain.settings import ModelSettings, Sampling
from backchat.errors import InvalidInput
from backchat.ports.importing import SourceConversation, SourceMessage
from backchat.services.portable import CONVERSATION_FORMAT, VERSION

_Known = TypeVar("_Known")
_ROLES: dict[str, Role] = {role: role for role in get_args(Role)}
_STATUSES: dict[str, MessageStatus] = {status: status for status in get_args(MessageStatus)}


def unpacked(value: object) -> SourceConversation:
    """Raises InvalidInput with a sentence that names the place and repeats nothing of the content."""
    whole = Fields(value, "the entry")
    if whole.text("format") != CONVERSATION_FORMAT:
        raise InvalidInput("its format is not that of a conversation of backchat")
    known_version(value)
    c = whole.fields("conversation")
    files = whole.fields("files", default={})
    return SourceConversation(
        id=c.name("id"),
        messages=[message_of(m, f"messages[{n}]") for n, m in enumerate(whole.list("messages"))],
        title=c.text("title", default=""),
        untitled="",
        created_at=c.time("created_at"),
        updated_at=c.time("updated_at"),
        leaf=c.text_or_none("leaf"),
        channel=c.text("channel", default="import"),
        archived_at=c.time_or_none("archived_at"),
        pinned=c.flag("pinned"),
        tags=tuple([_text(tag, f"conversation.tags[{n}]") for n, tag in enumerate(c.list("tags", default=()))]),
        completed=c.flag("completed"),
        settings=_settings(c.fields("settings", default={})),
        options=c.object("options", default={}),
        metadata=c.object("metadata", default={}),
        files={id: _data(files, id) for id in files.value},
        exact=True,
    )


def _settings(s: Fields) -> ModelSettings:
    return ModelSettings(
        provider=s.text_or_none("provider"),
        model=s.text_or_none("model"),
        system=s.text("system", default=""),
        agent=s.text_or_none("agent"),
        sampling=Sampling(
            temperature=s.number_or_none("temperature"),
            max_tokens=s.count_or_none("max_tokens"),
            top_p=s.number_or_none("top_p"),
            frequency_penalty=s.number_or_none("frequency_penalty"),
            presence_penalty=s.number_or_none("presence_penalty"),
            parameters=s.object("parameters", default={}),
        ),
    )


def known_version(value: object) -> None:
    """Raises InvalidInput for a version that this program does not know."""
    version = value.get("version") if isinstance(value, dict) else None
    if type(version) is not int or version < 1:
        raise InvalidInput("version must be a number from 1")
    if version > VERSION:
        raise InvalidInput(f"it was written by a newer backchat: version {version}, and this one reads {VERSION}")


def message_of(value: object, where: str) -> SourceMessage:
    m = Fields(value, where)
    usage = m.fields("usage", default={})
    return SourceMessage(
        id=m.name("id"),
        role=m.one_of("role", _ROLES),
        parts=tuple([part_of(p, f"{where}.parts[{n}]") for n, p in enumerate(m.list("parts"))]),
        parent=m.text_or_none("parent"),
        created_at=m.time("created_at"),
        updated_at=m.time_or_none("updated_at"),
        status=m.one_of("status", _STATUSES),
        provider=m.text_or_none("provider"),
        model=m.text_or_none("model"),
        usage=_usage(usage) if usage.value else None,
        metadata=m.object("metadata", default={}),
        extra=m.object("extra", default={}),
    )


def part_of(value: object, where: str) -> Part:
    """One of a type that is not known is kept as it is."""
    p = Fields(value, where)
    match p.text("type"):
        case "text":
            return Text(p.text("text"))
        case "reasoning":
            return Reasoning(p.text("text"))
        case "image":
            return Image(p.text("file"), p.text("mime"))
        case "file":
            return File(p.text("document"), p.text("name"))
        case "tool_call":
            return ToolCall(p.text("id"), p.text("name"), p.text("arguments"))
        case "tool_result":
            return ToolResult(p.text("call"), p.text("content"))
        case "foreign":
            return Foreign(p.object("data"))
    return Foreign(p.value)


_NEEDED: Any = object()


class Fields:
    """The members of an object of the file. Every method raises InvalidInput for one of another type.

    Without a default a member must be there; null is taken for one that is not.
    """

    def __init__(self, value: object, where: str) -> None:
        self.value: Mapping[str, Any] = _object(value, where)
        self._prefix = "" if where == "the entry" else f"{where}."

    def text(self, name: str, *, default: str = _NEEDED) -> str:
        return _text(self._get(name, default), self._prefix + name)

    def name(self, name: str) -> str:
        if not (text := self.text(name)):
            raise InvalidInput(f"{self._prefix}{name} is empty")
        return text

    def text_or_none(self, name: str) -> str | None:
        return None if self.value.get(name) is None else self.text(name)

    def time(self, name: str) -> datetime:
        where = self._prefix + name
        try:
            moment = datetime.fromisoformat(_text(self._get(name, _NEEDED), where))
            if moment.tzinfo is not None:
                return moment.astimezone(UTC)
        except (ValueError, OverflowError):
            pass
        raise InvalidInput(f"{where} is no time with an offset from UTC")

    def time_or_none(self, name: str) -> datetime | None:
        return None if self.value.get(name) is None else self.time(name)

    def flag(self, name: str) -> bool:
        value = self._get(name, False)
        if type(value) is not bool:
            raise InvalidInput(f"{self._prefix}{name} is neither true nor false")
        return value

    def count(self, name: str) -> int:
        value = self._get(name, 0)
        if type(value) is not int or value < 0:
            raise InvalidInput(f"{self._prefix}{name} is no number from 0")
        return value

    def count_or_none(self, name: str) -> int | None:
        return None if self.value.get(name) is None else self.count(name)

    def number_or_none(self, name: str) -> float | None:
        value = self.value.get(name)
        if value is not None and (type(value) not in (int, float) or not -1000 <= value <= 1000):
            raise InvalidInput(f"{self._prefix}{name} is no number between -1000 and 1000")
        return value

    def one_of(self, name: str, known: Mapping[str, _Known]) -> _Known:
        value = self.text(name)
        if value not in known:
            raise InvalidInput(f"{self._prefix}{name} is none of {', '.join(known)}")
        return known[value]

    def list(self, name: str, *, default: Any = _NEEDED) -> Sequence[Any]:
        value = self._get(name, default)
        if not isinstance(value, list | tuple):
            raise InvalidInput(f"{self._prefix}{name} is no array")
        return value

    def object(self, name: str, *, default: Any = _NEEDED) -> Mapping[str, Any]:
        return _object(self._get(name, default), self._prefix + name)

    def fields(self, name: str, *, default: Any = _NEEDED) -> Fields:
        return Fields(self._get(name, default), self._prefix + name)

    def _get(self, name: str, default: Any) -> Any:
        value = self.value.get(name)
        if value is not None:
            return value
        if default is _NEEDED:
            raise InvalidInput(f"{self._prefix}{name} is missing")
        return default


def _object(value: object, where: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise InvalidInput(f"{where} is no object")
    return value


def _text(value: object, where: str) -> str:
    if not isinstance(value, str):
        raise InvalidInput(f"{where} is no text")
    return value


def _usage(u: Fields) -> Usage:
    return Usage(
        u.count("input_tokens"),
        u.count("output_tokens"),
        u.count("cached_tokens"),
        u.count("reasoning_tokens"),
        u.count("cache_write_tokens") if "cache_write_tokens" in u.value else 0,
    )


def _data(files: Fields, id: str) -> bytes:
    try:
        data = Fields(files.value[id], "files[]").text("data")
        return b64decode(data, validate=True)
    except ValueError:
        raise InvalidInput("files[].data is no base64") from None
