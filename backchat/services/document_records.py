"""Documents, their pieces and the vectors of those as records: the only place that knows their stored form."""

from __future__ import annotations

from base64 import b64decode, b64encode
from dataclasses import dataclass

from backchat.domain.document import Document
from backchat.domain.times import moment, stamp
from backchat.ports.storage import Condition, Kind, Purge, Put, Record

DOCUMENT = Kind(
    name="document",
    fields=("owner", "scope", "status", "created"),
    indexes=(("owner", "scope", "created"), ("owner", "created")),
    partition="owner",
)
CHUNK = Kind(
    name="chunk",
    fields=("owner", "scope", "document", "n"),
    text=("text",),
    within=("scope",),
    indexes=(("document", "n"), ("scope", "document", "n")),
    partition="owner",
)
VECTORS = Kind(
    name="vectors",
    fields=("owner", "scope", "document", "embedder", "n"),
    indexes=(("document", "embedder", "n"), ("scope", "embedder", "document", "n")),
    partition="owner",
)
VECTOR_BYTES = 1 << 20
"""Raw bytes of vectors that one record holds at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A piece of a document's text, number ``n`` from 0; ``start`` and ``end`` as in ``Passage``."""

    document: str
    owner: str
    scope: str
    n: int
    text: str
    filename: str
    start: int
    end: int
    page: int | None = None
    version: int = 0

    @property
    def id(self) -> str:
        return piece_id(self.document, self.n)


@dataclass(frozen=True, slots=True, kw_only=True)
class Vectors:
    """Vectors of the pieces ``first`` to ``first + count - 1`` of a document, made by one embedder.

    n       counts the records of the document and embedder from 0
    data    ``count`` times ``dims`` float32, little-endian, one vector after the other; at most ``VECTOR_BYTES``
    """

    document: str
    owner: str
    scope: str
    embedder: str
    n: int
    first: int
    count: int
    dims: int
    data: bytes
    version: int = 0

    @property
    def id(self) -> str:
        return f"{self.document}.{self.n:06d}.{self.embedder}"


def scope_of(*, assistant: str | None = None, conversation: str | None = None) -> str:
    """Where documents belong, as one word: ``a:`` and the assistant's id or ``t:`` and the conversation's."""
    if (assistant is None) == (conversation is None):
        raise ValueError("documents belong to an assistant or to a conversation")
    return f"t:{conversation}" if assistant is None else f"a:{assistant}"


def piece_id(document: str, n: int) -> str:
    """The same whenever the document is read, so that reading it twice makes no second copy."""
    return f"{document}.{n:06d}"


def document_put(d: Document) -> Put:
    """Store a document as the successor of the version it carries; version 0 is a new one."""
    doc = {
        "owner": d.owner,
        "scope": scope_of(assistant=d.assistant, conversation=d.conversation),
        "assistant": d.assistant,
        "conversation": d.conversation,
        "filename": d.filename,
        "mime": d.mime,
        "size": d.size,
        "sha": d.sha256,
        "created": stamp(d.created_at),
        "updated": stamp(d.updated_at),
        "status": d.status,
        "problem": d.problem,
        "summary": d.summary,
        "chunks": d.chunks,
        "tokens": d.tokens,
        "pages": d.pages,
        "started": stamp(d.started_at) if d.started_at else None,
        "completed": stamp(d.completed_at) if d.completed_at else None,
        "metadata": d.metadata,
    }
    return Put("document", d.id, doc, d.version)


def document_of(record: Record) -> Document:
    d = record.doc
    return Document(
        id=record.id,
        owner=d["owner"],
        assistant=d["assistant"],
        conversation=d["conversation"],
        filename=d["filename"],
        mime=d["mime"],
        size=d["size"],
        sha256=d["sha"],
        created_at=moment(d["created"]),
        updated_at=moment(d["updated"]),
        status=d["status"],
        problem=d["problem"],
        summary=d["summary"],
        chunks=d["chunks"],
        tokens=d["tokens"],
        pages=d["pages"],
        started_at=moment(d["started"]) if d["started"] else None,
        completed_at=moment(d["completed"]) if d["completed"] else None,
        metadata=d["metadata"],
        version=record.version,
    )


def piece_put(p: Piece) -> Put:
    doc = {
        "owner": p.owner,
        "scope": p.scope,
        "document": p.document,
        "n": p.n,
        "text": p.text,
        "filename": p.filename,
        "start": p.start,
        "end": p.end,
        "page": p.page,
    }
    return Put("chunk", p.id, doc, p.version)


def piece_of(record: Record) -> Piece:
    d = record.doc
    return Piece(
        document=d["document"],
        owner=d["owner"],
        scope=d["scope"],
        n=d["n"],
        text=d["text"],
        filename=d["filename"],
        start=d["start"],
        end=d["end"],
        page=d["page"],
        version=record.version,
    )


def vectors_put(v: Vectors) -> Put:
    doc = {
        "owner": v.owner,
        "scope": v.scope,
        "document": v.document,
        "embedder": v.embedder,
        "n": v.n,
        "first": v.first,
        "count": v.count,
        "dims": v.dims,
        "data": b64encode(v.data).decode(),
    }
    return Put("vectors", v.id, doc, v.version)


def vectors_of(record: Record) -> Vectors:
    d = record.doc
    return Vectors(
        document=d["document"],
        owner=d["owner"],
        scope=d["scope"],
        embedder=d["embedder"],
        n=d["n"],
        first=d["first"],
        count=d["count"],
        dims=d["dims"],
        data=b64decode(d["data"]),
        version=record.version,
    )


def text_purges(owner: str, document: str) -> list[Purge]:
    """What removes the pieces and vectors of a document."""
    where: tuple[Condition, ...] = (("owner", (owner,)), ("document", (document,)))
    return [Purge(CHUNK.name, where), Purge(VECTORS.name, where)]
