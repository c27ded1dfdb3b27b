"""From stored messages to what a provider is asked."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import replace
from itertools import islice, takewhile

from backchat.domain.message import File, Foreign, Image, Message, Part, Reasoning, Role, Text, ToolCall, ToolResult
from backchat.ports.providers import Abilities, FileData, ImageData, PromptMessage, PromptPart
from backchat.ports.storage import RecordStore
from backchat.services import blobs
from backchat.services.document_records import DOCUMENT, document_of
from backchat.services.filenames import image_type
from backchat.services.files import file_bytes

MOST_FILES = 20 << 20
"""Bytes of documents that a model is shown as they are; services take some 30 MB in a request, as base64."""


async def prompt_messages(store: RecordStore, messages: Sequence[Message], abilities: Abilities) -> list[PromptMessage]:
    """Messages with the bytes of their images; a line of text in place of each that the model cannot see. So there is
    in place of each document, unless the model reads such ones itself: then its bytes, of the newest ones.

    Left out is what services refuse: messages of nothing but reasoning, as a cancelled reply may be, or of nothing at
    all; tool calls that the messages right after theirs do not answer, results of no call in the message right before
    them, or of one that has its result, as deleting messages leaves them, and those that imported answers have in them;
    and parts that mean nothing here.
    """
    wanted = [p.file for m in messages for p in m.parts if type(p) is Image] if abilities.vision else []
    data = await file_bytes(store, wanted) if wanted else {}
    documents = await _documents(store, messages, abilities.files) if abilities.files else {}

    def part(p: Part, role: Role, asked: set[str], answered: Set[str]) -> PromptPart | None:
        if isinstance(p, Foreign) or (isinstance(p, ToolCall) and p.id not in answered):
            return None
        if isinstance(p, ToolResult):
            if role != "tool" or p.call not in asked:
                return None
            asked.discard(p.call)
        if isinstance(p, File):
            return documents.get(p.document) or Text(f"\n[file: {p.name}]")
        if not isinstance(p, Image):
            return p
        bytes = data.get(p.file)
        mime = (image_type(bytes) if bytes is not None else None) or p.mime
        return ImageData(mime, bytes) if bytes is not None and abilities.sees(mime) else _described(mime)

    prompt: list[PromptMessage] = []
    asked: set[str] = set()
    for n, message in enumerate(messages):
        # By place, not by id alone: models use an id again in a later reply.
        if message.role != "tool":
            asked = {p.id for p in message.parts if isinstance(p, ToolCall)}
        answers = takewhile(lambda m: m.role == "tool", islice(messages, n + 1, None))
        answered = {p.call for m in answers for p in m.parts if isinstance(p, ToolResult)}
        parts = tuple([shown for p in message.parts if (shown := part(p, message.role, asked, answered)) is not None])
        if any(not isinstance(p, Reasoning) and p != Text("") for p in parts):
            prompt.append(PromptMessage(message.role, parts))
    return prompt


def seen(messages: Sequence[PromptMessage], abilities: Abilities) -> list[PromptMessage]:
    """The messages for a model with these abilities: a line of text in place of each image that it cannot see."""

    def shown(part: PromptPart) -> PromptPart:
        return _described(part.mime) if type(part) is ImageData and not abilities.sees(part.mime) else part

    return [replace(m, parts=tuple([shown(p) for p in m.parts])) for m in messages]


async def _documents(store: RecordStore, messages: Sequence[Message], readable: Set[str]) -> dict[str, FileData]:
    """Those of the messages' documents that a model reads itself, by id, as far as they are not too large together."""
    found: dict[str, FileData] = {}
    left = MOST_FILES
    newest = dict.fromkeys([p.document for m in reversed(messages) for p in m.parts if type(p) is File])
    for id in newest:
        record = await store.get(DOCUMENT.name, id)
        if record is None:
            continue
        document = document_of(record)
        if document.mime in readable and document.size <= left:
            data = await blobs.read(store, document.owner, document.sha256)
            found[id] = FileData(document.filename, document.mime, data)
            left -= document.size
    return found


def _described(mime: str) -> Text:
    return Text(f"[image: {mime}]")
