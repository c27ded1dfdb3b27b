"""The documents of assistants and conversations: which there are, and what goes with them."""

from __future__ import annotations

from collections.abc import Sequence

from backchat.domain.document import Document
from backchat.ports.storage import Change, Condition, Delete, Purge, Query, RecordStore
from backchat.services import blobs
from backchat.services.document_records import CHUNK, DOCUMENT, VECTORS, document_of, scope_of
from backchat.services.jobs import jobs_purge
from backchat.services.paging import all_found

PAGE = 500
UNREAD = ("pending", "processing")
"""The states of documents that are still being read."""


async def documents_in(
    store: RecordStore, owners: Sequence[str] | None, scopes: Sequence[str], *, status: Sequence[str] = ()
) -> list[Document]:
    """Oldest first. Ids of assistants and conversations are nobody's twice: a scope has one owner.

    ``owners`` are those of all the scopes; None if they are not known.
    """
    if not scopes:
        return []
    where: list[Condition] = [("scope", scopes)] if owners is None else [("owner", owners), ("scope", scopes)]
    if status:
        where.append(("status", status))
    query = Query(kind=DOCUMENT.name, where=tuple(where), order=("created",), limit=PAGE)
    return [document_of(record) for record in await all_found(store, query)]


async def removed(store: RecordStore, documents: Sequence[Document]) -> list[Change]:
    """What deletes documents of one owner, which are all that there are in their scopes.

    It is stale when one of them changes meanwhile. In one batch there is one such list: two would count the bytes that
    documents of both have in common from the same number.
    """
    if not documents:
        return []
    owner = documents[0].owner
    scopes = tuple({scope_in(d) for d in documents})
    where: tuple[Condition, ...] = (("owner", (owner,)), ("scope", scopes))
    changes: list[Change] = [Delete(DOCUMENT.name, d.id, d.version) for d in documents]
    changes += [Purge(kind.name, where) for kind in (CHUNK, VECTORS)]
    for first in range(0, len(documents), PAGE):
        changes.append(jobs_purge(owner, [line_of(d.id) for d in documents[first : first + PAGE]]))
    return [*changes, *await blobs.released(store, owner, [d.sha256 for d in documents])]


def scope_in(document: Document) -> str:
    return scope_of(assistant=document.assistant, conversation=document.conversation)


def line_of(document: str) -> str:
    """The line of the jobs on a document."""
    return f"document {document}"
