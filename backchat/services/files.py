"""Bytes that messages refer to, kept in chunks so that no record grows past what every backend takes."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from datetime import datetime

from backchat.domain.times import stamp
from backchat.ports.storage import Kind, Put, Query, RecordStore

FILE = Kind(name="file", fields=("conversation",), indexes=(("conversation",),), partition="conversation")
FILE_CHUNK = Kind(name="file_chunk", fields=("file",), indexes=(("file",),), partition="file")
CHUNK = 1 << 20


def file_puts(id: str, conversation: str, owner: str, mime: str, data: bytes, created: datetime) -> list[Put]:
    """The changes that store a file; apply them together with whatever refers to it."""
    chunks = [data[i : i + CHUNK] for i in range(0, len(data), CHUNK)]
    doc = {
        "conversation": conversation,
        "owner": owner,
        "mime": mime,
        "size": len(data),
        "chunks": len(chunks),
        "created": stamp(created),
    }
    puts = [Put("file", id, doc, 0)]
    for n, chunk in enumerate(chunks):
        puts.append(Put("file_chunk", f"{id}.{n:06d}", {"file": id, "data": base64.b64encode(chunk).decode()}, 0))
    return puts


async def file_bytes(store: RecordStore, ids: Sequence[str]) -> dict[str, bytes]:
    """The bytes of each file that there is."""
    found: dict[str, bytes] = {}
    for id in ids:
        record = await store.get("file", id)
        if record is None:
            continue
        count = record.doc["chunks"]
        chunks = await store.find(Query(kind="file_chunk", where=(("file", (id,)),), limit=count))
        found[id] = b"".join([base64.b64decode(c.doc["data"]) for c in chunks])
    return found
