"""A store with all kinds of records in it, and a digest of all that one holds, made without the code that copies."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import orjson

from backchat.domain.document import Document
from backchat.ports.storage import Put, Query, RecordStore
from backchat.services.blobs import kept
from backchat.services.document_records import Piece, document_put, piece_put
from backchat.services.kinds import KINDS
from backchat.services.vault_records import counter_put
from bench.prefill import Language, conversation, fill, moments
from bench.vault_filled import Vaults

PER_CONVERSATION = 40
ENTRIES, DOCUMENTS, PIECES, LARGE, OTHERS = 10_000, 300, 20, 12, 200
LARGE_BYTES = 5 << 20
ACTED_UPON = ("api_key", "cancel", "event", "idempotency", "import", "job", "run", "signing_key", "usage")
"""Kinds that servers work on by themselves: of these there is what a server has made."""
NOT_COPIED = ("copying", "worker")


async def fill_all(store: RecordStore, owner: str, messages: int) -> None:
    """So many messages of the owner, a vault, documents, and some of every other kind."""
    language = Language()
    await fill(store, _conversations(language, owner, messages))
    vaults = Vaults(language)
    await fill(store, (put for number in range(1, ENTRIES + 1) for put in vaults.puts(owner, number)))
    await store.apply([counter_put(owner, ENTRIES, 0)])
    for number in range(DOCUMENTS):
        await store.apply(await _document(store, language, owner, number))
    without = [kind.name for kind in KINDS if not await store.find(Query(kind=kind.name, limit=1))]
    rest = [kind for kind in without if kind not in (*ACTED_UPON, *NOT_COPIED)]
    await fill(store, (_any(kind, n) for kind in rest for n in range(OTHERS)))


def _conversations(language: Language, owner: str, messages: int) -> Iterator[Put]:
    for moment in moments(messages // PER_CONVERSATION):
        texts = [language.text() for _ in range(PER_CONVERSATION)]
        yield from conversation(owner, texts, moment)[1]


async def _document(store: RecordStore, language: Language, owner: str, number: int) -> list[Put]:
    size = LARGE_BYTES + number if number < LARGE else language.random.randint(1_000, 60_000)
    data = language.random.randbytes(size)
    id, scope, now, sha = (
        f"document-{number:05d}",
        "assistant:bench",
        datetime.now(UTC),
        hashlib.sha256(data).hexdigest(),
    )
    name = f"{id}.txt"
    document = Document(
        id=id,
        owner=owner,
        filename=name,
        mime="text/plain",
        size=size,
        sha256=sha,
        created_at=now,
        updated_at=now,
        assistant="bench",
        status="indexed",
        chunks=PIECES,
    )
    pieces = [
        piece_put(
            Piece(document=id, owner=owner, scope=scope, n=n, text=language.text(), filename=name, start=n, end=n + 1)
        )
        for n in range(PIECES)
    ]
    return [document_put(document), *pieces, *await kept(store, owner, sha, data)]


def _any(kind: str, n: int) -> Put:
    """As far as the kind declares it."""
    declared = next(each for each in KINDS if each.name == kind)
    doc: dict[str, Any] = {field: f"z-{field}-{n:05d}" for field in (*declared.fields, *declared.text)}
    doc |= {field: [f"z-{n % 7}", f"z-{n}"] for field in declared.lists}
    return Put(kind, f"z-{kind}-{n:05d}", {**doc, "floats": [n / 7, 1e300], "text": "naïve \U0001f600"})


async def digests(store: RecordStore) -> dict[str, tuple[int, str]]:
    """Of each kind that is copied, how many records there are, and a digest of them, their ids and documents."""
    found: dict[str, tuple[int, str]] = {}
    for kind in KINDS:
        if kind.name in NOT_COPIED:
            continue
        seen, count = hashlib.sha256(), 0
        query = Query(kind=kind.name, limit=20)
        while page := await store.find(query):
            for record in page:
                seen.update(orjson.dumps([record.id, record.doc], option=orjson.OPT_SORT_KEYS))
            count += len(page)
            query = Query(kind=kind.name, limit=20, after=(page[-1].id,))
        found[kind.name] = count, seen.hexdigest()
    return found
