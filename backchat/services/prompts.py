"""From stored messages to what a provider is asked."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence, Set
from dataclasses import replace
from itertools import groupby, islice, takewhile

from backchat.domain.document import Document
from backchat.domain.message import File, Foreign, Image, Message, Part, Reasoning, Role, Text, ToolCall, ToolResult
from backchat.ports.providers import Abilities, FileData, ImageData, PromptMessage, PromptPart
from backchat.ports.storage import RecordStore
from backchat.services import blobs
from backchat.services.document_records import DOCUMENT, document_of
from backchat.services.filenames import image_type
from backchat.services.files import file_bytes

MOST_FILES = 20 << 20
"""Bytes of documents that a model is shown as they are; services take some 30 MB in a request, as base64."""
_MARKS: Mapping[str, bytes] = {"application/pdf": b"%PDF-"}
"""What is in the first ``_HEAD`` bytes of a document of a type (PDF Reference 1.7, implementation note 13)."""
_HEAD = 1024

READ = ("indexed", "failed")
"""Documents that are shown: also those in which the server found no text, as in scans. A model may see more."""

Kept = MutableMapping[str, bytes | None]
"""Bytes of documents by the ids of their blobs; None for those that are not what their type says."""


async def prompt_messages(
    store: RecordStore,
    messages: Sequence[Message],
    abilities: Abilities,
    *,
    assistant: str | None = None,
    kept: Kept | None = None,
) -> list[PromptMessage]:
    """Messages with the bytes of their images; a line of text in place of each that the model cannot see. So there is
    in place of each document, unless the model reads such ones itself: then its bytes, of the newest ones.

    Only documents that the server has looked into, that are what their type says, and that are the conversation's own,
    or its owner's in ``assistant``: a message may name any. What ``kept`` has is not read again; it gets what is shown
    now, and loses all else.

    Left out is what services refuse: messages of nothing but reasoning, as a cancelled reply may be, or of nothing at
    all; tool calls that the messages right after theirs do not answer, results of no call in the message right before
    them, or of one that has its result, as deleting messages leaves them, and those that imported answers have in them;
    and parts that mean nothing here.
    """
    wanted = [p.file for m in messages for p in m.parts if type(p) is Image] if abilities.vision else []
    data = await file_bytes(store, wanted) if wanted else {}
    documents: Mapping[str, FileData] = {}
    if abilities.files:
        documents = await _documents(store, messages, abilities.files, assistant, {} if kept is None else kept)

    def part(p: Part, role: Role, asked: set[str], answered: Set[str]) -> PromptPart | None:
        if isinstance(p, Foreign) or (isinstance(p, ToolCall) and p.id not in answered):
            return None
        if isinstance(p, ToolResult):
            if role != "tool" or p.call not in asked:
                return None
            asked.discard(p.call)
        if isinstance(p, File):
            return documents.get(p.document) or _named(p.name)
        if not isinstance(p, Image):
            return p
        bytes = data.get(p.file)
        mime = (image_type(bytes) if bytes is not None else None) or p.mime
        return ImageData(mime, bytes) if bytes is not None and abilities.sees(mime) else _described(mime)

    prompt: list[PromptMessage] = []
    asked: set[str] = set()
    ordered = _in_order(messages)
    for n, message in enumerate(ordered):
        # By place, not by id alone: models use an id again in a later reply.
        if message.role != "tool":
            asked = {p.id for p in message.parts if isinstance(p, ToolCall)}
        answers = takewhile(lambda m: m.role == "tool", islice(ordered, n + 1, None))
        answered = {p.call for m in answers for p in m.parts if isinstance(p, ToolResult)}
        parts = tuple([shown for p in message.parts if (shown := part(p, message.role, asked, answered)) is not None])
        if any(not isinstance(p, Reasoning) and p != Text("") for p in parts):
            prompt.append(PromptMessage(message.role, parts))
    return prompt


def _in_order(messages: Sequence[Message]) -> Sequence[Message]:
    """The results of calls in the order of the calls, as services want it: they are stored as they came."""
    found: list[Message] = []
    place: dict[str, int] = {}
    for tools, group in groupby(messages, lambda m: m.role == "tool"):
        run = list(group)
        if tools:
            run.sort(key=lambda m: min([place.get(p.call, 0) for p in m.parts if isinstance(p, ToolResult)], default=0))
        else:
            place = {p.id: n for n, p in enumerate(run[-1].parts) if isinstance(p, ToolCall)}
        found += run
    return found


def seen(messages: Sequence[PromptMessage], abilities: Abilities) -> list[PromptMessage]:
    """The messages for a model with these abilities: a line of text in place of each image that it cannot see, and of
    each document that it does not read.
    """

    def shown(part: PromptPart) -> PromptPart:
        if type(part) is FileData and part.mime not in abilities.files:
            return _named(part.name)
        return _described(part.mime) if type(part) is ImageData and not abilities.sees(part.mime) else part

    return [replace(m, parts=tuple([shown(p) for p in m.parts])) for m in messages]


async def _documents(
    store: RecordStore, messages: Sequence[Message], readable: Set[str], assistant: str | None, kept: Kept
) -> dict[str, FileData]:
    """Those of the messages' documents that a model reads itself, by id, as far as they are not too large together."""
    newest: dict[str, Message] = {}
    for message in reversed(messages):
        for part in message.parts:
            if type(part) is File:
                newest.setdefault(part.document, message)
    shown: dict[str, FileData] = {}
    used: dict[str, bytes | None] = {}
    left = MOST_FILES
    for id, message in newest.items():
        document = await _own(store, id, message, assistant)
        if document is None or document.mime not in readable or document.size > left:
            continue
        blob = blobs.blob_id(document.owner, document.sha256)
        data = kept[blob] if blob in kept else await _bytes(store, document)
        used[blob] = data
        if data is not None:
            shown[id] = FileData(document.filename, document.mime, data, document.pages)
            left -= document.size
    kept.clear()
    kept.update(used)
    return shown


async def _own(store: RecordStore, id: str, message: Message, assistant: str | None) -> Document | None:
    """The document, if it has been read and is one that the message may show."""
    record = await store.get(DOCUMENT.name, id)
    document = document_of(record) if record is not None else None
    if document is None or document.owner != message.owner or document.status not in READ:
        return None
    if document.conversation is not None:
        return document if document.conversation == message.conversation else None
    return document if document.assistant == assistant else None


async def _bytes(store: RecordStore, document: Document) -> bytes | None:
    """None if they are not what the type says, or are being deleted."""
    data = await blobs.found(store, document.owner, document.sha256)
    return data if data is not None and _MARKS.get(document.mime, b"") in data[:_HEAD] else None


def _named(name: str) -> Text:
    return Text(f"\n[file: {name}]")


def _described(mime: str) -> Text:
    return Text(f"[image: {mime}]")
