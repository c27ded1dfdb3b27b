"""Storing what was imported: each conversation with everything in one batch, and only what is not there yet."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, MutableMapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from weakref import WeakValueDictionary

from backchat.domain.conversation import Conversation
from backchat.domain.limits import Retention
from backchat.errors import InvalidInput, NotFound, StaleWrite
from backchat.ports.importing import SourceConversation
from backchat.ports.storage import Change, Query, Record, RecordStore, Require
from backchat.services.files import FILE
from backchat.services.import_building import Built, Origin, built
from backchat.services.import_records import IMPORT
from backchat.services.import_tags import missing_tags
from backchat.services.retrying import retrying
from backchat.services.stored import CONVERSATION, MESSAGE, conversation_of, conversation_put

PAGE = 200


@dataclass(frozen=True, slots=True)
class Ready:
    """A conversation of a file, with the changes that store it if nothing of it is there."""

    source: SourceConversation
    origin: Origin
    built: Built
    changes: Sequence[Change]


@dataclass(frozen=True, slots=True, kw_only=True)
class Writing:
    """``id`` is that of the import: nothing is stored any more when its record is gone, as when its owner is."""

    store: RecordStore
    id: str
    retention: Retention
    now: Callable[[], datetime]
    new_id: Callable[[], str]
    turns: MutableMapping[str, asyncio.Lock] = field(default_factory=WeakValueDictionary)

    def prepare(
        self, source: SourceConversation, origin: Origin, *, exact: bool = True, taken: Collection[str] = ()
    ) -> Ready:
        """Takes as long as the conversation is large."""
        made = built(source, origin, self.retention, self.now(), exact=exact, taken=taken)
        return Ready(source, origin, made, made.changes())

    async def write(self, ready: Ready) -> bool:
        """Store it, or what is new of it; False if all of it was there. What was changed here stays as it is.

        Raises InvalidInput if it cannot be stored now, and NotFound if the import is gone.
        """

        async def attempt() -> bool:
            return await self._attempt(ready)

        # Of one that a file has twice the second finds what became of the first.
        async with self.turns.setdefault(ready.built.otherwise, asyncio.Lock()):
            return await retrying(attempt)

    async def _attempt(self, ready: Ready) -> bool:
        if ready.built.exact:
            ready = await self._free(ready)
        made = ready.built
        record = await self.store.get(CONVERSATION.name, made.conversation.id)
        if record is None:
            changes = ready.changes
        else:
            grown = await self._grown(made, conversation_of(record))
            if not grown:
                return False
            changes = grown
        tags = made.conversation.tags if record is None else ()
        missing = await missing_tags(self.store, made.conversation.owner, tags, self.now(), self.new_id)
        try:
            await self.store.apply([Require(IMPORT.name, self.id), *changes, *missing])
        except StaleWrite:
            if await self.store.get(IMPORT.name, self.id) is None:
                raise NotFound("import not found") from None
            raise
        return True

    async def _free(self, ready: Ready) -> Ready:
        """The same under ids that nothing else has: other ones, if it was stored under those before, or its own one or
        one of its messages is taken. What there is of it under its own id keeps that.
        """
        made, c = ready.built, ready.built.conversation

        async def rebuilt(*, exact: bool, taken: Collection[str] = ()) -> Ready:
            return await asyncio.to_thread(self.prepare, ready.source, ready.origin, exact=exact, taken=taken)

        if await self.store.get(CONVERSATION.name, made.otherwise) is not None:
            return await rebuilt(exact=False)
        record = await self.store.get(CONVERSATION.name, c.id)
        if record is not None and record.doc["owner"] != c.owner:
            return await rebuilt(exact=False)
        messages = await self._found(MESSAGE.name, [m.id for m in made.messages])
        files = await self._found(FILE.name, [id for has in made.images.values() for id, _ in has])
        taken = {found.id for found in (*messages, *files) if found.doc["conversation"] != c.id}
        return await rebuilt(exact=record is not None, taken=taken) if taken else ready

    async def _grown(self, made: Built, there: Conversation) -> list[Change]:
        """What adds the messages that are not there yet; nothing if there are none.

        The active path goes on to what is new if it goes on there, unless a reply is being made on it.
        """
        if there.expires_at is not None and there.expires_at < self.now():
            raise InvalidInput("it was imported before, and is being deleted because its time is over")
        present = await self._ids(MESSAGE.name, [m.id for m in made.messages])
        fresh = [m for m in made.messages if m.id not in present]
        if not fresh:
            return []
        files = await self._ids(FILE.name, [id for m in fresh for id, _ in made.images.get(m.id, ())])
        fresh = [replace(m, seq=seq) for seq, m in enumerate(fresh, there.next_seq)]
        leaf = there.leaf
        if there.active_run is None and (leaf is None or leaf in _path(made)):
            leaf = made.conversation.leaf
        conversation = replace(
            there,
            updated_at=max(there.updated_at, made.conversation.updated_at),
            leaf=leaf,
            next_seq=there.next_seq + len(fresh),
            messages=there.messages + len(fresh),
            characters=there.characters + sum([len(m.text) for m in fresh]),
            expires_at=made.conversation.expires_at,
        )
        fitting = replace(
            made, images={m: [(id, data) for id, data in has if id not in files] for m, has in made.images.items()}
        )
        puts = await asyncio.to_thread(fitting.message_puts, conversation, fresh)
        return [conversation_put(conversation), *puts]

    async def _ids(self, kind: str, ids: Sequence[str]) -> set[str]:
        return {record.id for record in await self._found(kind, ids)}

    async def _found(self, kind: str, ids: Sequence[str]) -> list[Record]:
        """Those of the records that there are."""
        found: list[Record] = []
        for start in range(0, len(ids), PAGE):
            some = tuple(ids[start : start + PAGE])
            found += await self.store.find(Query(kind=kind, where=(("id", some),), limit=PAGE))
        return found


def _path(made: Built) -> set[str]:
    """The ids of its active path."""
    parents = {m.id: m.parent for m in made.messages}
    path: set[str] = set()
    leaf = made.conversation.leaf
    while leaf is not None:
        path.add(leaf)
        leaf = parents[leaf]
    return path
