"""Entries of the vault with their contents: so many at a time that they do not fill the memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from backchat.domain.vault import SealedContent, VaultEntry
from backchat.errors import Internal
from backchat.ports.storage import Query, RecordStore
from backchat.services.aside import aside
from backchat.services.vault_records import CONTENT, content_of, entry_of, latest_id

GROUP = 4 << 20
"""Bytes of sealed content that are read at a time; an entry that has more is alone."""


def grouped(entries: Sequence[VaultEntry]) -> Iterator[Sequence[VaultEntry]]:
    group: list[VaultEntry] = []
    size = 0
    for entry in entries:
        if group and size + entry.size > GROUP:
            yield group
            group, size = [], 0
        group.append(entry)
        size += entry.size
    if group:
        yield group


async def with_contents(
    store: RecordStore, query: Query, entries: Sequence[VaultEntry]
) -> list[tuple[VaultEntry, SealedContent]]:
    """The entries, which the query has found, each with the content of its latest version.

    Content may be dropped between the two readings, for a newer one or with its entry: then the query is asked again
    for that entry, and it is left out if it is not found any more.
    """
    found: dict[str, tuple[VaultEntry, SealedContent]] = {}
    wanted = {e.id: e for e in entries}
    while wanted:
        contents = await _contents(store, list(wanted.values()))
        found |= {id: (e, contents[latest_id(e)]) for id, e in wanted.items() if latest_id(e) in contents}
        missed = {id: e for id, e in wanted.items() if id not in found}
        wanted = await _again(store, query, missed) if missed else {}
    return [found[e.id] for e in entries if e.id in found]


async def _contents(store: RecordStore, entries: Sequence[VaultEntry]) -> Mapping[str, SealedContent]:
    ids = tuple([latest_id(e) for e in entries])
    records = await store.find(Query(kind=CONTENT.name, where=(("id", ids),), limit=len(ids)))
    return await aside(sum([e.size for e in entries]), lambda: {r.id: content_of(r) for r in records})


async def _again(store: RecordStore, query: Query, missed: Mapping[str, VaultEntry]) -> dict[str, VaultEntry]:
    here = replace(query, where=(*query.where, ("id", tuple(missed))), limit=len(missed), offset=0)
    entries = {record.id: entry_of(record) for record in await store.find(here)}
    for id, entry in entries.items():
        if entry == missed[id]:
            raise Internal(f"the content of entry {entry.number} of the vault is missing")
    return entries
