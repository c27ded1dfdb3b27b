"""Memories, their vectors and the operations that make them, as records."""

from __future__ import annotations

from base64 import b64decode, b64encode
from datetime import datetime

from backchat.domain.memory import Former, Memory, MemoryOperation
from backchat.domain.times import moment, stamp
from backchat.ports.storage import Change, Condition, Delete, Kind, Purge, Put, Record
from backchat.services.memory_words import digest

MEMORY = Kind(
    name="memory",
    fields=("owner", "assistant", "created", "updated", "digest"),
    text=("content",),
    within=("assistant",),
    indexes=(("owner", "assistant", "created"), ("owner", "assistant", "updated")),
    unique=(("owner", "assistant", "digest"),),
    partition="owner",
)
MEMORY_VECTOR = Kind(
    name="memory_vector",
    fields=("owner", "assistant", "signature", "written"),
    indexes=(("owner", "assistant", "signature", "written"),),
    partition="owner",
)
"""One for each memory that has a vector, under the memory's id; see ``vectors.signature``."""
MEMORY_OPERATION = Kind(
    name="memory_operation",
    fields=("owner", "assistant", "status"),
    indexes=(("owner", "assistant", "status"),),
    partition="owner",
)
MEMORY_RESET = Kind(name="memory_reset", fields=("owner",), partition="owner")
"""When everything was forgotten, under the assistant's id: turns that began before teach nothing."""


def memory_put(m: Memory) -> Put:
    """Store a memory as the successor of the version it carries; version 0 is a new one."""
    doc = {
        "owner": m.owner,
        "assistant": m.assistant,
        "content": m.content,
        "digest": digest(m.content),
        "created": stamp(m.created_at),
        "updated": stamp(m.updated_at),
        "sources": list(m.sources),
        "history": [[f.content, stamp(f.until)] for f in m.history],
        "metadata": m.metadata,
    }
    return Put("memory", m.id, doc, m.version)


def memory_of(record: Record) -> Memory:
    d = record.doc
    return Memory(
        id=record.id,
        owner=d["owner"],
        assistant=d["assistant"],
        content=d["content"],
        created_at=moment(d["created"]),
        updated_at=moment(d["updated"]),
        sources=tuple(d["sources"]),
        history=tuple([Former(content, moment(until)) for content, until in d["history"]]),
        metadata=d["metadata"],
        version=record.version,
    )


def vector_put(m: Memory, signature: str, vector: bytes, now: datetime) -> Put:
    """Store the vector of a memory's content; apply it together with the memory."""
    doc = {
        "owner": m.owner,
        "assistant": m.assistant,
        "signature": signature,
        "written": stamp(now),
        "data": b64encode(vector).decode(),
    }
    return Put("memory_vector", m.id, doc)


def vector_of(record: Record) -> bytes:
    return b64decode(record.doc["data"])


def memory_deletes(m: Memory) -> list[Change]:
    """What deletes a memory, if it still stands at its version."""
    return [Delete("memory", m.id, m.version), Delete("memory_vector", m.id)]


def memories_purge(owner: str, assistant: str) -> list[Change]:
    """What deletes all memories of an assistant."""
    where: tuple[Condition, ...] = (("owner", (owner,)), ("assistant", (assistant,)))
    return [Purge(kind, where) for kind in ("memory", "memory_vector")]


def operation_put(o: MemoryOperation) -> Put:
    doc = {
        "owner": o.owner,
        "assistant": o.assistant,
        "status": o.status,
        "created": stamp(o.created_at),
        "updated": stamp(o.updated_at),
        "memories": list(o.memories),
        "problem": o.problem,
    }
    return Put("memory_operation", o.id, doc, o.version)


def operation_of(record: Record) -> MemoryOperation:
    d = record.doc
    return MemoryOperation(
        id=record.id,
        owner=d["owner"],
        assistant=d["assistant"],
        created_at=moment(d["created"]),
        updated_at=moment(d["updated"]),
        status=d["status"],
        memories=tuple(d["memories"]),
        problem=d["problem"],
        version=record.version,
    )


def reset_put(owner: str, assistant: str, now: datetime) -> Put:
    return Put("memory_reset", assistant, {"owner": owner, "at": stamp(now)})


def reset_of(record: Record) -> datetime:
    return moment(record.doc["at"])
