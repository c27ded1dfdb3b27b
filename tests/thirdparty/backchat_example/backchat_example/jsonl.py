"""The storage ``jsonl``: all records in memory, and every batch a line of one file.

It is small enough to be read, and keeps every promise of the port: a batch is all there or not at all, and on the disk
before ``apply`` returns. It is for some thousands of records and one process: every search looks at every record, and
the file is read as a whole at the start.
"""

import asyncio
import fcntl
import os
from collections import Counter
from contextlib import asynccontextmanager

import orjson
from marshmallow import RAISE, Schema, fields

from backchat import hookimpl
from backchat.errors import ConfigError
from backchat.ports.checks import check_change, check_field, check_order, check_query, known_kind, missing, stale, taken
from backchat.ports.component import Component
from backchat.ports.storage import Purge, Put, Require
from backchat.ports.words import words
from backchat_example.matching import begun, held, meets, ordered, place, record, value_of


class JsonlStore:
    """``rows`` holds, for each kind and id, the version and the document as JSON; ``file`` a descriptor."""

    def __init__(self, path, kinds, on_commit):
        self.path, self.on_commit = path, on_commit
        self.kinds = {kind.name: kind for kind in kinds}
        self.rows = {}
        self.turn = asyncio.Lock()
        self.under_way = set()
        self.lock = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self.lock)
            raise ConfigError("another process has the file open") from None
        self.file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        self.read()

    def read(self):
        """Every line is a batch. A last one that is not whole was never acknowledged, and goes."""
        with open(self.path, "rb") as lines:
            whole = 0
            for line in lines:
                if line.endswith(b"\n"):
                    self.keep(orjson.loads(line))
                    whole += len(line)
        os.ftruncate(self.file, whole)
        sync_folder_of(self.path)

    def keep(self, batch):
        """``batch``: kind, id, version and document as JSON of every record; version 0 for one that is gone."""
        for kind, id, version, doc in batch:
            held = self.rows.setdefault(kind, {})
            if version:
                held[id] = (version, doc)
            else:
                held.pop(id, None)

    async def close(self):
        await asyncio.gather(*self.under_way, return_exceptions=True)
        os.close(self.file)
        os.close(self.lock)

    # ---- writing ----------------------------------------------------------------------------------------------------

    async def apply(self, changes):
        docs = []  # as they are now, whatever the caller does to them while others have their turn
        for change in changes:
            check_change(self.kind(change.kind), change)
            docs.append(orjson.dumps(change.doc).decode() if isinstance(change, Put) else None)
        # A task of its own: a caller who gives up leaves nothing half done.
        work = asyncio.ensure_future(self.commit(list(zip(changes, docs, strict=True))))
        self.under_way.add(work)
        work.add_done_callback(self.under_way.discard)
        await asyncio.shield(work)

    async def commit(self, changes):
        async with self.turn:
            after = {kind: dict(self.rows.get(kind, {})) for kind in {change.kind for change, _ in changes}}
            for change, doc in changes:
                self.change(after[change.kind], change, doc)
            for kind in {change.kind for change, _ in changes if isinstance(change, Put)}:
                self.check_unique(self.kinds[kind], after[kind])
            batch = []
            for kind, rows in after.items():
                before = self.rows.get(kind, {})
                batch += [(kind, id, *row) for id, row in rows.items() if before.get(id) is not row]
                batch += [(kind, id, 0, None) for id in before if id not in rows]
            if batch:
                await asyncio.to_thread(write, self.file, orjson.dumps(batch) + b"\n")
            self.rows.update(after)
            self.on_commit(1)

    def change(self, rows, change, doc):
        if isinstance(change, Purge):
            kind = self.kinds[change.kind]
            for id in [id for id, row in rows.items() if meets(kind, record(kind.name, id, row), change)]:
                del rows[id]
        elif isinstance(change, Require):
            if change.id not in rows:
                raise missing(change)
        else:
            version = rows[change.id][0] if change.id in rows else 0
            if change.expect is not None and change.expect != version:
                raise stale(change)
            if isinstance(change, Put):
                rows[change.id] = (version + 1, doc)
            else:
                rows.pop(change.id, None)

    def check_unique(self, kind, rows):
        docs = [orjson.loads(doc) for _, doc in rows.values()] if kind.unique else []
        for group in kind.unique:
            values = [tuple(doc.get(field) for field in group) for doc in docs]
            whole = [value for value in values if None not in value]
            if len(set(whole)) < len(whole):
                raise taken(kind.name, group)

    async def compact(self):
        """Write a new file of what is there now, in the place of the old one."""
        async with self.turn:
            batch = [(kind, id, *row) for kind, rows in self.rows.items() for id, row in rows.items()]
            await asyncio.to_thread(self.rewrite, orjson.dumps(batch) + b"\n")

    def rewrite(self, line):
        fresh = os.open(f"{self.path}.new", os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)
        try:
            write(fresh, line)
            os.replace(f"{self.path}.new", self.path)
            sync_folder_of(self.path)
        except OSError:
            os.close(fresh)
            raise
        os.close(self.file)
        self.file = fresh

    # ---- reading ----------------------------------------------------------------------------------------------------

    async def get(self, kind, id):
        row = self.rows.get(self.kind(kind).name, {}).get(id)
        return record(kind, id, row) if row else None

    async def find(self, query):
        found = self.matching(query)
        if query.any_word:
            wanted = set(words(query.any_word))
            hits = {r.id: begun(wanted, held(self.kinds[query.kind], r)) for r in found}
            rarity = Counter(word for some in hits.values() for word in some)
            found.sort(key=lambda r: (-sum(1 / rarity[word] for word in hits[r.id]), r.id))
        else:
            found.sort(key=lambda r: place(query, r), reverse=query.descending)
            if query.after is not None:
                last = [ordered(value) for value in query.after]
                found = [r for r in found if (place(query, r) < last if query.descending else place(query, r) > last)]
        page = found[query.offset : query.offset + query.limit]
        check_order(query, page)
        return page

    async def count(self, query):
        return len(self.matching(query))

    async def values(self, query, field):
        check_field(self.kind(query.kind), field)
        found = dict.fromkeys(value_of(r, field) for r in self.matching(query))
        return [value for value in found if value is not None][: query.limit]

    def matching(self, query):
        kind = self.kind(query.kind)
        check_query(kind, query)
        records = [record(kind.name, id, row) for id, row in self.rows.get(kind.name, {}).items()]
        found = [r for r in records if meets(kind, r, query)]
        if query.words:
            wanted = set(words(query.words))
            found = [r for r in found if wanted and begun(wanted, held(kind, r)) == wanted]
        if query.any_word:
            wanted = set(words(query.any_word))
            found = [r for r in found if begun(wanted, held(kind, r))]
        return found

    def kind(self, name):
        return known_kind(self.kinds, name)


def write(file, line):
    """Append a line, all of it or nothing, and return when it is on the disk."""
    end = os.fstat(file).st_size
    try:
        done = 0
        while done < len(line):
            done += os.write(file, line[done:])
        os.fsync(file)
    except OSError:
        os.ftruncate(file, end)
        raise


def sync_folder_of(path):
    """Else a file that was just made, or renamed, may be gone after a power cut."""
    folder = os.open(os.path.dirname(path) or ".", os.O_RDONLY)
    os.fsync(folder)
    os.close(folder)


@asynccontextmanager
async def open_jsonl(settings, kinds, on_commit):
    try:
        store = await asyncio.to_thread(JsonlStore, settings["path"], kinds, on_commit)
    except OSError as error:
        raise ConfigError(f"the file cannot be used: {error.strerror}") from error
    try:
        yield store
    finally:
        await store.close()


PATH = fields.String(required=True, metadata={"description": "The file. It is made if it is missing."})


@hookimpl
def backchat_storages():
    return [Component("jsonl", Schema.from_dict({"path": PATH})(unknown=RAISE), open_jsonl)]
