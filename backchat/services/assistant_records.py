"""Assistants as records."""

from __future__ import annotations

from backchat.domain.assistant import Assistant
from backchat.domain.times import moment, stamp
from backchat.ports.storage import Kind, Put, Record

ASSISTANT = Kind(
    name="assistant",
    fields=("owner", "name", "created", "main"),
    indexes=(("owner", "created"), ("owner", "name", "created")),
    # The default one: ``main`` is the owner's id, null in all others.
    unique=(("owner", "main"),),
    partition="owner",
)


def assistant_put(a: Assistant) -> Put:
    """Store an assistant as the successor of the version it carries; version 0 is a new one."""
    doc = {
        "owner": a.owner,
        "name": a.name,
        "created": stamp(a.created_at),
        "updated": stamp(a.updated_at),
        "main": a.owner if a.default else None,
        "description": a.description,
        "system": a.system,
        "tools": list(a.tools),
        "top_k": a.top_k,
        "embedder": a.embedder,
        "embedding_model": a.embedding_model,
        "embedding_dims": a.embedding_dims,
        "extraction_prompt": a.extraction_prompt,
        "update_prompt": a.update_prompt,
        "memory": a.memory,
        "metadata": a.metadata,
    }
    return Put("assistant", a.id, doc, a.version)


def assistant_of(record: Record) -> Assistant:
    d = record.doc
    return Assistant(
        id=record.id,
        owner=d["owner"],
        name=d["name"],
        created_at=moment(d["created"]),
        updated_at=moment(d["updated"]),
        description=d["description"],
        system=d["system"],
        tools=tuple(d["tools"]),
        top_k=d["top_k"],
        embedder=d["embedder"],
        embedding_model=d["embedding_model"],
        embedding_dims=d["embedding_dims"],
        extraction_prompt=d["extraction_prompt"],
        update_prompt=d["update_prompt"],
        memory=d.get("memory"),
        default=d["main"] is not None,
        metadata=d["metadata"],
        version=record.version,
    )
