"""Entries of the vault by their numbers, and with their contents: so many that they do not fill the memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from backchat.domain.identity import Identity
from backchat.domain.vault import SealedText, VaultEntry
from backchat.errors import Internal, NotFound
from backchat.ports.storage import Query, RecordStore
from backchat.services.vault_records import CONTENT, ENTRY, VERSION, entry_of, latest_id, lineage, text_of, version_id

GROUP = 4 << 20
"""Bytes of sealed content that are read at a time; an entry that has more is alone."""
NUMBERS = range(1, 1 << 53)
"""Of entries and versions: whole numbers that every client can hold."""


def numbered(who: Identity, number: int) -> Query:
    return Query(kind=ENTRY.name, where=(("owner", (who.user,)), ("number", (number,))), limit=1)


async def entry_numbered(store: RecordStore, who: Identity, number: int) -> VaultEntry:
    """Raises NotFound, also for another's."""
    found = await store.find(numbered(who, number)) if number in NUMBERS else []
    if not found:
        raise NotFound("entry not found")
    return entry_of(found[0])


async def is_damaged(store: RecordStore, entry: VaultEntry) -> bool:
    """Whether the entry, which has been read, has lost the record of its latest version, or has one of the next.

    False if it has changed since: then it is not known, and whoever read it has to begin again anyway.
    """
    latest = latest_id(entry)
    ids = (latest, version_id(lineage(entry), entry.latest + 1))
    where = (("owner", (entry.owner,)), ("id", ids))
    records = await store.find(Query(kind=VERSION.name, where=where, limit=len(ids)))
    if [record.id for record in records] == [latest]:
        return False
    now = await store.get(ENTRY.name, entry.id)
    return now is not None and (now.version, now.doc["number"]) == (entry.version, entry.number)


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
) -> list[tuple[VaultEntry, SealedText]]:
    """The entries, which the query has found, each with the content of its latest version.

    Content may be dropped between the two readings, for a newer one or with its entry: then the query is asked again
    for that entry, and it is left out if it is not found any more.
    """
    found: dict[str, tuple[VaultEntry, SealedText]] = {}
    wanted = {e.id: e for e in entries}
    while wanted:
        contents = await _contents(store, list(wanted.values()))
        found |= {id: (e, contents[latest_id(e)]) for id, e in wanted.items() if latest_id(e) in contents}
        missed = {id: e for id, e in wanted.items() if id not in found}
        wanted = await _again(store, query, missed) if missed else {}
    return [found[e.id] for e in entries if e.id in found]


async def _contents(store: RecordStore, entries: Sequence[VaultEntry]) -> Mapping[str, SealedText]:
    where = (("owner", tuple({e.owner for e in entries})), ("id", tuple([latest_id(e) for e in entries])))
    records = await store.find(Query(kind=CONTENT.name, where=where, limit=len(entries)))
    return {record.id: text_of(record) for record in records}


async def _again(store: RecordStore, query: Query, missed: Mapping[str, VaultEntry]) -> dict[str, VaultEntry]:
    here = replace(query, where=(*query.where, ("id", tuple(missed))), limit=len(missed), offset=0)
    entries = {record.id: entry_of(record) for record in await store.find(here)}
    for id, entry in entries.items():
        if entry == missed[id]:
            raise Internal(f"the content of entry {entry.number} of the vault is missing")
    return entries
