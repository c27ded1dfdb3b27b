"""Bytes that messages refer to, kept in chunks so that no record grows past what every backend takes."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Sequence
from datetime import datetime

from backchat.domain.conversation import Conversation
from backchat.domain.times import stamp
from backchat.ports.providers import ImageData
from backchat.ports.storage import Condition, Kind, Put, Query, RecordStore

FILE = Kind(name="file", fields=("conversation", "seq"), indexes=(("conversation", "seq"),), partition="conversation")
FILE_CHUNK = Kind(
    name="file_chunk",
    fields=("file", "conversation", "seq"),
    indexes=(("conversation", "file"), ("conversation", "seq")),
    partition="conversation",
)
CHUNK = 1 << 20


def file_puts(id: str, conversation: Conversation, image: ImageData, created: datetime) -> list[Put]:
    """The changes that store an image of the conversation's next message; apply them together with it."""
    chunks = [image.data[i : i + CHUNK] for i in range(0, len(image.data), CHUNK)]
    place = {"conversation": conversation.id, "seq": conversation.next_seq}
    doc = {
        **place,
        "owner": conversation.owner,
        "mime": image.mime,
        "size": len(image.data),
        "chunks": len(chunks),
        "created": stamp(created),
    }
    puts = [Put("file", id, doc, 0)]
    for n, chunk in enumerate(chunks):
        puts.append(Put("file_chunk", f"{id}.{n:06d}", {**place, "file": id, "data": b64encode(chunk).decode()}, 0))
    return puts


async def file_bytes(store: RecordStore, ids: Sequence[str]) -> dict[str, bytes]:
    """The bytes of each file that there is."""
    found: dict[str, bytes] = {}
    for id in ids:
        record = await store.get("file", id)
        if record is None:
            continue
        where: tuple[Condition, ...] = (("conversation", (record.doc["conversation"],)), ("file", (id,)))
        chunks = await store.find(Query(kind="file_chunk", where=where, limit=record.doc["chunks"]))
        found[id] = b"".join([b64decode(c.doc["data"]) for c in chunks])
    return found
