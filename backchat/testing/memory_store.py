"""The reference store: everything in dicts, written to be obviously right. Other stores are compared with it."""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Container, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import orjson

from backchat.errors import Conflict
from backchat.ports.abilities import Place
from backchat.ports.checks import check_change, check_field, check_order, check_query, known_kind, missing, stale, taken
from backchat.ports.mailbox import Mailbox
from backchat.ports.storage import (
    Change,
    Condition,
    Kind,
    OnCommit,
    Purge,
    Put,
    Query,
    Range,
    Record,
    RecordStore,
    Require,
    Scalar,
)
from backchat.ports.words import words

Row = tuple[int, bytes]
"""Version and the document as JSON: what a caller does to its document afterwards changes nothing here."""
Tables = dict[str, dict[str, Row]]


class Journal:
    """What was changed. A position is its random name and how many places it has up to there."""

    def __init__(self) -> None:
        self.name = secrets.token_hex(8)
        self.places: list[Place] = []

    def position(self, number: int) -> str:
        return f"{self.name}.{number}"

    def number(self, position: str) -> int | None:
        """None if it is none of this journal."""
        name, _, number = position.rpartition(".")
        known = name == self.name and number.isdecimal() and int(number) <= len(self.places)
        return int(number) if known else None


class MemoryStore:
    """A ``RecordStore`` that forgets everything. It never gives way to another task, so every call is alone."""

    def __init__(self, kinds: Sequence[Kind], on_commit: OnCommit = lambda _: None) -> None:
        self._kinds = {k.name: k for k in kinds}
        self._tables: Tables = {k.name: {} for k in kinds}
        self._on_commit = on_commit
        self._watches: list[tuple[str, Container[str], Mailbox]] = []
        self._journal: Journal | None = None

    async def get(self, kind: str, id: str) -> Record | None:
        self._kind(kind)
        row = self._tables[kind].get(id)
        return _record(kind, id, row) if row else None

    async def find(self, query: Query) -> Sequence[Record]:
        check_query(self._kind(query.kind), query)
        found = self._matching(query)
        if query.any_word:
            relevance = self._relevance(query)
            found.sort(key=lambda r: (-relevance[r.id], r.id))
        else:
            found.sort(key=lambda r: _place(query, r), reverse=query.descending)
            if query.after is not None:
                last = [_ordered(v) for v in query.after]
                found = [r for r in found if (_place(query, r) < last if query.descending else _place(query, r) > last)]
        page = found[query.offset : query.offset + query.limit]
        check_order(query, page)
        return page

    async def count(self, query: Query) -> int:
        check_query(self._kind(query.kind), query)
        return len(self._matching(query))

    async def values(self, query: Query, field: str) -> Sequence[Scalar]:
        kind = self._kind(query.kind)
        check_query(kind, query)
        check_field(kind, field)
        found = dict.fromkeys(_value(r, field) for r in self._matching(query))
        found.pop(None, None)
        return list(found)[: query.limit]

    async def compact(self) -> None:
        """Deleted records are gone at once."""

    async def apply(self, changes: Sequence[Change]) -> None:
        for change in changes:
            check_change(self._kind(change.kind), change)
        tables = {name: dict(rows) for name, rows in self._tables.items()}
        for change in changes:
            self._change(tables, change)
        for kind in {c.kind for c in changes if isinstance(c, Put)}:
            self._check_unique(self._kinds[kind], tables[kind])
        before, self._tables = self._tables, tables
        self._tell(before)
        self._on_commit(1)

    @asynccontextmanager
    async def watch(
        self, kind: str, partitions: Container[str]
    ) -> AsyncGenerator[AsyncIterator[Sequence[Record]], None]:
        """See ``Watched``."""
        watch = (kind, partitions, Mailbox())
        self._watches.append(watch)
        try:
            yield watch[2]
        finally:
            self._watches.remove(watch)

    async def begin_journal(self) -> str:
        self._journal = self._journal or Journal()
        return self._journal.position(len(self._journal.places))

    async def journal(self, position: str, limit: int) -> tuple[Sequence[Place], str]:
        if self._journal is None or (after := self._journal.number(position)) is None:
            raise Conflict("the changes after this position are not noted in this store, or not any more")
        places = self._journal.places[after : after + max(1, limit)]
        return places, self._journal.position(after + len(places))

    async def end_journal(self) -> None:
        self._journal = None

    @asynccontextmanager
    async def frozen(self) -> AsyncGenerator[RecordStore, None]:
        """See ``Frozen``. A batch never changes these tables, it puts others in their place."""
        then = _FrozenStore(tuple(self._kinds.values()))
        then._tables = self._tables
        yield then

    def _tell(self, before: Tables) -> None:
        """Those who watch, and the journal, of what a batch has changed."""
        if not self._watches and self._journal is None:
            return
        now = self._tables
        changed = [
            (kind, id)
            for kind in now
            for id in {**before[kind], **now[kind]}
            if before[kind].get(id) is not now[kind].get(id)
        ]
        if self._journal is not None:
            self._journal.places += changed
        for watched, partitions, box in self._watches:
            put = [_record(kind, id, now[kind][id]) for kind, id in changed if kind == watched and id in now[kind]]
            partition = self._kinds[watched].partition
            box.put([r for r in put if partition and r.doc[partition] in partitions])

    def _change(self, tables: Tables, change: Change) -> None:
        rows = tables[change.kind]
        if isinstance(change, Purge):
            kind = self._kinds[change.kind]
            for id, row in list(rows.items()):
                if _meets(kind, _record(change.kind, id, row), change.where, change.ranges):
                    del rows[id]
            return
        if isinstance(change, Require):
            if change.id not in rows:
                raise missing(change)
            return
        version = rows[change.id][0] if change.id in rows else 0
        if change.expect is not None and change.expect != version:
            raise stale(change)
        if isinstance(change, Put):
            rows[change.id] = (version + 1, orjson.dumps(change.doc))
        else:
            rows.pop(change.id, None)

    @staticmethod
    def _check_unique(kind: Kind, rows: Mapping[str, Row]) -> None:
        docs = [orjson.loads(doc) for _, doc in rows.values()]
        for group in kind.unique:
            values = [tuple(doc.get(f) for f in group) for doc in docs]
            checked = [v for v in values if None not in v]
            if len(set(checked)) != len(checked):
                raise taken(kind.name, group)

    def _matching(self, query: Query) -> list[Record]:
        kind = self._kinds[query.kind]
        records = [_record(kind.name, id, row) for id, row in self._tables[kind.name].items()]
        found = [r for r in records if _meets(kind, r, query.where, query.ranges)]
        if query.words:
            wanted = words(query.words)
            found = [r for r in found if wanted and _begun(wanted, _held(kind, r)) == set(wanted)]
        if query.any_word:
            relevance = self._relevance(query)
            found = [r for r in found if r.id in relevance]
        return found

    def _relevance(self, query: Query) -> dict[str, float]:
        """Of each record with one of the words: every word counts by how rare it is. A store may measure better."""
        kind = self._kinds[query.kind]
        wanted = words(query.any_word)
        rows = self._tables[kind.name].items()
        hits = {id: _begun(wanted, _held(kind, _record(kind.name, id, row))) for id, row in rows}
        frequency = Counter(w for begun in hits.values() for w in begun)
        return {id: sum(1 / frequency[w] for w in begun) for id, begun in hits.items() if begun}

    def _kind(self, name: str) -> Kind:
        return known_kind(self._kinds, name)


class _FrozenStore(MemoryStore):
    async def apply(self, changes: Sequence[Change]) -> None:
        raise ValueError("a frozen store takes no changes")


@asynccontextmanager
async def open_memory(kinds: Sequence[Kind], on_commit: OnCommit = lambda _: None) -> AsyncGenerator[MemoryStore, None]:
    """A fresh MemoryStore, in the shape in which backends are opened."""
    yield MemoryStore(kinds, on_commit)


def _record(kind: str, id: str, row: Row) -> Record:
    return Record(kind, id, orjson.loads(row[1]), row[0])


def _value(record: Record, field: str) -> Any:
    return record.id if field == "id" else record.doc.get(field)


def _ordered(value: Scalar) -> tuple[int, Scalar]:
    """Null first, then numbers, then text by code point."""
    return (0 if value is None else 2 if isinstance(value, str) else 1, value)


def _place(query: Query, record: Record) -> list[tuple[int, Scalar]]:
    return [_ordered(_value(record, f)) for f in (*query.order, "id")]


def _meets(kind: Kind, record: Record, where: Sequence[Condition], ranges: Sequence[Range]) -> bool:
    for field, values in where:
        held = record.doc.get(field) or [] if field in kind.lists else [_value(record, field)]
        if not any(v in values for v in held):
            return False
    for r in ranges:
        value = _ordered(_value(record, r.field))
        if value[1] is None:
            return False
        if (r.low is not None and value < _ordered(r.low)) or (r.high is not None and value >= _ordered(r.high)):
            return False
    return True


def _held(kind: Kind, record: Record) -> set[str]:
    return {w for field in kind.text for w in words(record.doc.get(field) or "")}


def _begun(wanted: Sequence[str], held: set[str]) -> set[str]:
    """Those of the wanted words that begin a held one."""
    return {w for w in wanted if any(h.startswith(w) for h in held)}
