"""All conversations of a user as one file, written as a stream: a zip, or lines of JSON."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from tempfile import SpooledTemporaryFile
from typing import IO, Literal, Protocol
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

import orjson

from backchat.domain.identity import Identity
from backchat.domain.times import stamp
from backchat.errors import NotFound
from backchat.ports.storage import Query, RecordStore
from backchat.services.access import Access
from backchat.services.deadlines import living
from backchat.services.paging import pages
from backchat.services.portable import LINES_FORMAT, MANIFEST_FORMAT, VERSION
from backchat.services.snapshots import Snapshot, Snapshots
from backchat.services.stored import CONVERSATION

ExportFormat = Literal["zip", "jsonl"]
PAGE = 200
PIECE = 1 << 18
IN_MEMORY = 8 << 20
"""Bytes: of the file that are made at a time, and of one conversation before it is put on the disk until it is done."""
_PLAIN = re.compile(r"[0-9A-Za-z_-]{1,128}")


@dataclass(frozen=True, slots=True)
class Bundles:
    """Memory is bounded by some megabytes, an image, and a line of the manifest for each conversation."""

    store: RecordStore
    access: Access
    now: Callable[[], datetime]

    async def count(self, who: Identity) -> int:
        """How many conversations there are to write, at this moment."""
        return await self.store.count(await self._query(who))

    async def write(
        self, who: Identity, format: ExportFormat, done: Callable[[int], None] = lambda n: None
    ) -> AsyncIterator[bytes]:
        """Each conversation as it is when it is its turn; one that is deleted before is left out."""
        packing: Packing = Zipped(self.now()) if format == "zip" else Lines(self.now())
        snapshots = Snapshots(self.store, self.access)
        async for piece in _in_threads(packing.begin()):
            yield piece
        written = 0
        async for id in self._ids(who):
            with SpooledTemporaryFile(max_size=IN_MEMORY) as spool:
                try:
                    snapshot = await snapshots.write(who, id, spool)
                except NotFound:
                    continue
                async for piece in _in_threads(packing.add(snapshot, spool)):
                    yield piece
            written += 1
            done(written)
        async for piece in _in_threads(packing.end()):
            yield piece

    async def _ids(self, who: Identity) -> AsyncIterator[str]:
        """Oldest first: a place in this order never changes, so nothing is missed or met twice."""
        async for page in pages(self.store, await self._query(who)):
            for record in page:
                yield record.id

    async def _query(self, who: Identity) -> Query:
        return Query(
            kind=CONVERSATION.name,
            where=(("owner", (who.user,)), ("temporary", (False,)), await self.access.reach(who)),
            ranges=(living(self.now()),),
            order=("created",),
            limit=PAGE,
        )


async def _in_threads(pieces: Iterator[bytes]) -> AsyncIterator[bytes]:
    while (piece := await asyncio.to_thread(next, pieces, None)) is not None:
        yield piece


class Packing(Protocol):
    """What stands around conversations. The iterators do I/O and are to be exhausted, one after the other."""

    def begin(self) -> Iterator[bytes]: ...
    def add(self, snapshot: Snapshot, spool: IO[bytes]) -> Iterator[bytes]: ...
    def end(self) -> Iterator[bytes]: ...


class Lines:
    """A header, a conversation a line, and the manifest as the last line."""

    def __init__(self, now: datetime) -> None:
        self._now, self._manifest = now, _Entries()

    def begin(self) -> Iterator[bytes]:
        yield orjson.dumps({"format": LINES_FORMAT, "version": VERSION, "created_at": stamp(self._now)}) + b"\n"

    def add(self, snapshot: Snapshot, spool: IO[bytes]) -> Iterator[bytes]:
        self._manifest.add({"id": snapshot.conversation.id, "sha256": snapshot.sha256, "messages": snapshot.messages})
        spool.write(b"\n")
        spool.seek(0)
        yield from iter(lambda: spool.read(PIECE), b"")

    def end(self) -> Iterator[bytes]:
        yield b'{"manifest":' + self._manifest.array() + b"}\n"


class Zipped:
    """A member for each conversation, and ``manifest.json`` as the last one."""

    def __init__(self, now: datetime) -> None:
        self._now, self._manifest = now, _Entries()
        self._out = _Outlet()
        self._zip = ZipFile(self._out, "w")

    def begin(self) -> Iterator[bytes]:
        yield from ()

    def add(self, snapshot: Snapshot, spool: IO[bytes]) -> Iterator[bytes]:
        conversation = snapshot.conversation
        name = f"conversations/{_file_name(conversation.id)}.json"
        size = spool.tell()
        spool.seek(0)
        yield from self._member(name, conversation.updated_at, size, iter(lambda: spool.read(PIECE), b""))
        self._manifest.add(
            {
                "name": name,
                "id": conversation.id,
                "sha256": snapshot.sha256,
                "bytes": size,
                "messages": snapshot.messages,
            }
        )

    def end(self) -> Iterator[bytes]:
        head = {
            "format": MANIFEST_FORMAT,
            "version": VERSION,
            "created_at": stamp(self._now),
            "count": self._manifest.count,
        }
        manifest = orjson.dumps(head)[:-1] + b',"members":' + self._manifest.array() + b"}\n"
        yield from self._member("manifest.json", self._now, len(manifest), iter([manifest]))
        self._zip.close()
        yield self._out.taken()

    def _member(self, name: str, changed: datetime, size: int, content: Iterator[bytes]) -> Iterator[bytes]:
        info = ZipInfo(name, _zip_time(changed))
        # The size is known before, so that one of more than 2 GB gets the header that it needs.
        info.compress_type, info.external_attr, info.file_size = ZIP_DEFLATED, 0o600 << 16, size
        with self._zip.open(info, "w") as member:
            for piece in content:
                member.write(piece)
                if self._out.held >= PIECE:
                    yield self._out.taken()
        yield self._out.taken()


class _Outlet:
    """A file that cannot seek: what is written to it can be taken away once."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self.held = 0

    def write(self, data: bytes) -> int:
        self._pieces.append(bytes(data))
        self.held += len(data)
        return len(data)

    def flush(self) -> None: ...
    def close(self) -> None: ...

    def taken(self) -> bytes:
        taken = b"".join(self._pieces)
        self._pieces, self.held = [], 0
        return taken


class _Entries:
    """The entries of a manifest as the JSON that they become: a hundred bytes each."""

    def __init__(self) -> None:
        self._json = bytearray()
        self.count = 0

    def add(self, entry: dict[str, str | int]) -> None:
        self._json += (b"," if self._json else b"") + orjson.dumps(entry)
        self.count += 1

    def array(self) -> bytes:
        return b"[" + self._json + b"]"


def _file_name(id: str) -> str:
    """The id, if it can be part of a file name anywhere."""
    return id if _PLAIN.fullmatch(id) else sha256(id.encode()).hexdigest()


def _zip_time(moment: datetime) -> tuple[int, int, int, int, int, int]:
    """UTC, within the years that a zip can tell."""
    t = min(max(moment.astimezone(UTC), datetime(1980, 1, 1, tzinfo=UTC)), datetime(2107, 12, 31, tzinfo=UTC))
    return t.year, t.month, t.day, t.hour, t.minute, t.second
