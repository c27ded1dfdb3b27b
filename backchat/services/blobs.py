"""The bytes of documents. The same bytes of one owner are kept once, for as long as some document has them."""

from __future__ import annotations

import asyncio
from base64 import b64decode, b64encode
from collections import Counter
from collections.abc import Iterable, Sequence
from hashlib import sha256

from backchat.errors import Internal
from backchat.ports.storage import Change, Condition, Delete, Kind, Purge, Put, Query, Record, RecordStore

BLOB = Kind(name="blob", fields=("owner",), indexes=(("owner",),), partition="owner")
BLOB_CHUNK = Kind(name="blob_chunk", fields=("owner", "blob", "n"), indexes=(("owner", "blob"),), partition="owner")
CHUNK = 1 << 20
PAGE = 8
"""Chunks that are read at a time."""


async def digest(data: bytes) -> str:
    """The SHA-256 in hex, without holding up the loop."""
    return await asyncio.to_thread(lambda: sha256(data).hexdigest())


async def kept(store: RecordStore, owner: str, sha: str, data: bytes) -> list[Put]:
    """The changes that keep the bytes for one more document. Stale if somebody changes the same blob meanwhile."""
    id = blob_id(owner, sha)
    record = await store.get(BLOB.name, id)
    if record is not None:
        return [Put(BLOB.name, id, {**record.doc, "uses": record.doc["uses"] + 1}, record.version)]
    pieces = await asyncio.to_thread(_encoded, data)
    doc = {"owner": owner, "size": len(data), "chunks": len(pieces), "uses": 1}
    return [
        Put(BLOB.name, id, doc, 0),
        *(
            Put(BLOB_CHUNK.name, f"{id}.{n:06d}", {"owner": owner, "blob": id, "n": n, "data": piece}, 0)
            for n, piece in enumerate(pieces)
        ),
    ]


async def shared(store: RecordStore, owner: str, shas: Iterable[str]) -> list[Change]:
    """The changes that keep blobs which are there already for one more document each."""
    return await _counted(store, owner, Counter(shas), 1)


async def released(store: RecordStore, owner: str, shas: Iterable[str]) -> list[Change]:
    """The changes after which one document each has the blobs no more; nobody's is deleted."""
    return await _counted(store, owner, Counter(shas), -1)


async def read(store: RecordStore, owner: str, sha: str) -> bytes:
    """All of a blob's bytes. Raises Internal if they are not there."""
    if (data := await found(store, owner, sha)) is None:
        raise Internal("the bytes of a document are missing")
    return data


async def found(store: RecordStore, owner: str, sha: str) -> bytes | None:
    """All of a blob's bytes; None if they are not there, or are being deleted."""
    id = blob_id(owner, sha)
    record = await store.get(BLOB.name, id)
    data = bytearray()
    count = record.doc["chunks"] if record is not None else 0
    for first in range(0, count, PAGE):
        ids = tuple(f"{id}.{n:06d}" for n in range(first, min(first + PAGE, count)))
        where: tuple[Condition, ...] = (("id", ids), ("owner", (owner,)))
        page = await store.find(Query(kind=BLOB_CHUNK.name, where=where, limit=PAGE))
        data += await asyncio.to_thread(_decoded, page)
    return bytes(data) if record is not None and len(data) == record.doc["size"] else None


def blob_id(owner: str, sha: str) -> str:
    return f"{owner}.{sha}"


async def _counted(store: RecordStore, owner: str, uses: Counter[str], sign: int) -> list[Change]:
    changes: list[Change] = []
    for sha, count in uses.items():
        id = blob_id(owner, sha)
        record = await store.get(BLOB.name, id)
        if record is None:
            continue
        left = record.doc["uses"] + sign * count
        if left > 0:
            changes.append(Put(BLOB.name, id, {**record.doc, "uses": left}, record.version))
        else:
            where: tuple[Condition, ...] = (("owner", (owner,)), ("blob", (id,)))
            changes += [Delete(BLOB.name, id, record.version), Purge(BLOB_CHUNK.name, where)]
    return changes


def _decoded(page: Sequence[Record]) -> bytes:
    return b"".join([b64decode(r.doc["data"]) for r in page])


def _encoded(data: bytes) -> list[str]:
    return [b64encode(data[i : i + CHUNK]).decode() for i in range(0, len(data), CHUNK)]
