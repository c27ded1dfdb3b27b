"""The text of a document as that of another one."""

from __future__ import annotations

from dataclasses import replace

from backchat.domain.document import Document
from backchat.ports.storage import Condition, Put, Query, RecordStore
from backchat.services.document_records import (
    CHUNK,
    VECTORS,
    piece_of,
    piece_put,
    scope_of,
    vectors_of,
    vectors_put,
)

PAGE = 500


async def copied_text(store: RecordStore, document: Document, copy: Document) -> list[Put]:
    """What stores the pieces and vectors of a document for its copy, which may belong elsewhere."""
    scope = scope_of(assistant=copy.assistant, conversation=copy.conversation)
    puts: list[Put] = []
    where: tuple[Condition, ...] = (("document", (document.id,)), ("owner", (document.owner,)))
    for kind in (CHUNK, VECTORS):
        last: tuple[str] | None = None
        while True:
            page = await store.find(Query(kind=kind.name, where=where, after=last, limit=PAGE))
            for record in page:
                if kind is CHUNK:
                    piece = replace(piece_of(record), document=copy.id, scope=scope, version=0)
                    puts.append(piece_put(piece))
                else:
                    vectors = replace(vectors_of(record), document=copy.id, scope=scope, version=0)
                    puts.append(vectors_put(vectors))
            if len(page) < PAGE:
                break
            last = (page[-1].id,)
    return puts
