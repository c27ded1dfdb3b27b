"""A conversation of any product as the vault has it: one line of messages, each of them text.

Of a tree it is the active path. Texts stay as they are. What a tool answered is a message of the role ``tool``, between
what was said before and after it; its call, an image, a file and whatever else is no text is named in brackets.
Reasoning is left out, and messages that consist of nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

from backchat.domain.message import File, Foreign, Image, Part, Reasoning, Text, ToolCall, ToolResult
from backchat.domain.times import stamp
from backchat.domain.vault import VaultMessage, VaultRole
from backchat.ports.importing import SourceConversation, SourceMessage
from backchat.services.import_trees import ordered, sane
from backchat.services.storable import whole

TIMESTAMP = "timestamp"
"""In the extra of a message that was in a vault: its timestamp as it was there, or None."""
TOOL = {"role": "tool"}
"""In the metadata of a message that was a tool's in a vault, and is the model's here."""
_KINDS = ("type", "content_type")


def messages_of(path: Iterable[SourceMessage], *, from_vault: bool) -> list[VaultMessage]:
    """``from_vault``: the messages may tell what their roles and timestamps were in a vault."""
    return [said for message in path for said in _said(message, from_vault)]


def active_path(source: SourceConversation, now: datetime) -> list[SourceMessage]:
    """From the root to the message that the product showed last, or to the newest one."""
    nodes = ordered(source, now)
    place = next((node for node in nodes if node.name == source.leaf), nodes[-1] if nodes else None)
    path: list[SourceMessage] = []
    while place is not None:
        path.append(place.message)
        place = place.parent
    return path[::-1]


def _said(message: SourceMessage, from_vault: bool) -> Iterator[VaultMessage]:
    timestamp = _timestamp(message, from_vault)
    role: VaultRole = "tool" if from_vault and message.metadata.get("role") == "tool" else message.role
    pieces: list[str] = []

    def gathered(speaker: VaultRole) -> Iterator[VaultMessage]:
        if pieces:
            yield VaultMessage(speaker, whole("\n".join(pieces)), timestamp)
            pieces.clear()

    for part in message.parts:
        if isinstance(part, ToolResult):
            yield from gathered(role)
            pieces.append(part.content)
            yield from gathered("tool")
        elif (text := _text(part)) is not None:
            pieces.append(text)
    pieces += [f"[file {name}]" for name in _files(message)]
    yield from gathered(role)


def _timestamp(message: SourceMessage, from_vault: bool) -> str | None:
    """Never one that was made up: a message without a time would be another one with every push."""
    if from_vault and TIMESTAMP in message.extra:
        told = message.extra[TIMESTAMP]
        if told is None or isinstance(told, str):
            return told
    moment = sane(message.created_at)
    return stamp(moment) if moment is not None else None


def _text(part: Part) -> str | None:
    match part:
        case Text(text):
            return text
        case ToolCall(_, name, arguments):
            return f"[calls {name}: {arguments}]"
        case Image(_, mime):
            return f"[image {mime}]"
        case File(_, name):
            return f"[file {name}]"
        case Foreign(data):
            kind = next((data[name] for name in _KINDS if isinstance(data.get(name), str)), "something else")
            return f"[{kind}]"
        case Reasoning() | ToolResult():
            return None


def _files(message: SourceMessage) -> Iterator[str]:
    """Names of what was attached, where importers keep it: the bytes are not in the files of other products."""
    files: Any = message.extra.get("files")
    for file in files if isinstance(files, list | tuple) else ():
        name = file.get("filename") if isinstance(file, dict) else None
        if isinstance(name, str) and name:
            yield name
