"""Storing what was imported: each conversation with everything in one batch, and only what is not there yet."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, MutableMapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from weakref import WeakValueDictionary

from backchat.domain.conversation import Conversation
from backchat.domain.identity import Identity
from backchat.domain.limits import Retention
from backchat.errors import InvalidInput, NotFound, StaleWrite
from backchat.ports.importing import SourceConversation
from backchat.ports.storage import Change, Query, Record, RecordStore, Require
from backchat.services.access import Access
from backchat.services.files import FILE
from backchat.services.import_building import MOST, Built, Choice, Origin, another, built
from backchat.services.import_records import IMPORT
from backchat.services.stored import CONVERSATION, MESSAGE, conversation_of, conversation_put
from backchat.services.tag_records import tag_put
from backchat.services.tagging import tags_for

PAGE = 200
ATTEMPTS = 50
"""How often somebody else may get ahead with the same conversation, or the same tags."""
TAKEN = "it cannot be stored: the ids that it could have are taken"


class Stopped(Exception):
    """The import ends before its time."""


@dataclass(frozen=True, slots=True)
class Ready:
    """A conversation of a file, with the changes that store it if nothing of it is there."""

    source: SourceConversation
    origin: Origin
    built: Built
    changes: Sequence[Change]


@dataclass(frozen=True, slots=True)
class Ids:
    """Which messages and images of it are there, or were: ``here``, by kind and id. ``choice`` is what their ids are
    instead of what they would be, and those of others for which that is taken.
    """

    here: set[tuple[str, str]]
    choice: dict[tuple[str, str], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Writing:
    """``id`` is that of the import: nothing is stored any more when its record is gone, as when its owner is.

    A conversation that the owner of the import may not rewrite, like one in a workspace that they have left, has its id
    as those of others have theirs: what is imported becomes another one.
    """

    store: RecordStore
    access: Access
    id: str
    retention: Retention
    now: Callable[[], datetime]
    new_id: Callable[[], str]
    stopped: Callable[[], bool]
    turns: MutableMapping[str, asyncio.Lock] = field(default_factory=WeakValueDictionary)

    def prepare(
        self, source: SourceConversation, origin: Origin, *, id: str | None = None, choice: Choice | None = None
    ) -> Ready:
        """Takes as long as the conversation is large."""
        made = built(source, origin, self.retention, self.now(), id=id, choice=choice or {})
        return Ready(source, origin, made, made.changes())

    async def write(self, ready: Ready) -> bool:
        """Store it, or what is new of it; False if all of it was there. What was changed here stays as it is.

        Raises InvalidInput if it cannot be stored now, NotFound if the import is gone, and Stopped.
        """
        # Of one that a file has twice the second finds what became of the first. Those with tags would make each other
        # stale, again and again.
        turn = "tags" if ready.built.conversation.tags else ready.built.homes[0]
        async with self.turns.setdefault(turn, asyncio.Lock()):
            for attempt in range(ATTEMPTS):
                if self.stopped():
                    raise Stopped
                try:
                    return await self._attempt(ready, again=attempt > 0)
                except StaleWrite:
                    if await self.store.get(IMPORT.name, self.id) is None:
                        raise NotFound("import not found") from None
        raise InvalidInput("it cannot be stored now: it is being changed all the time")

    async def _attempt(self, ready: Ready, *, again: bool) -> bool:
        """What is new gets the ids that are derived for it; whether others have those is looked up when that failed.

        Of ids that the file names, and of those beside an earlier import, it is looked up at once: in a sharded cluster
        the same id in two conversations is nothing that fails.
        """
        made, owner = ready.built, ready.origin.owner
        known = {record.id: record for record in await self._found(CONVERSATION.name, made.homes)}
        who = Identity(user=owner)
        there = await self._there(who, [known[id] for id in made.homes if id in known])
        id = there.id if there is not None else next((id for id in made.names if id not in known), None)
        if id is None:
            raise InvalidInput(TAKEN)
        if id != made.conversation.id:
            ready = await asyncio.to_thread(self.prepare, ready.source, ready.origin, id=id)
        ids = Ids(set(), {})
        if known or again or id == ready.source.id:
            ids = await self._ids(ready.built, there)
        if ids.choice:
            ready = await asyncio.to_thread(self.prepare, ready.source, ready.origin, id=id, choice=ids.choice)
        changes = ready.changes if there is None else await self._grown(ready.built, there, ids.here)
        if not changes:
            return False
        names = ready.built.conversation.tags if there is None else ()
        tags = await tags_for(self.store, owner, names, self.now(), self.new_id)
        member = self.access.required(who, there, "rewrite") if there is not None else []
        await self.store.apply([Require(IMPORT.name, self.id), *changes, *map(tag_put, tags), *member])
        return True

    async def _there(self, who: Identity, homes: Sequence[Record]) -> Conversation | None:
        """The first that is the user's, and that they may rewrite."""
        for record in homes:
            if record.doc["owner"] == who.user:
                conversation = conversation_of(record)
                if await self.access.allows(who, "rewrite", conversation):
                    return conversation
        return None

    async def _ids(self, made: Built, there: Conversation | None) -> Ids:
        """Ids that nothing outside of the conversation has, and which are those of what is in it, or was."""
        ids = Ids(set(), {})
        home, is_there = made.conversation.id, there is not None
        removed = set(there.removed) if there is not None else set()
        files = [id for has in made.images.values() for id, _ in has]
        for kind, wished in ((MESSAGE.name, [m.id for m in made.messages]), (FILE.name, files)):
            free: dict[str, str] = {}
            asked = {id: id for id in wished}
            for n in range(2, MOST + 2):
                found = {r.id: r.doc["conversation"] for r in await self._found(kind, list(asked.values()))}
                for wish, id in asked.items():
                    if is_there and (found.get(id) == home or (kind == MESSAGE.name and id in removed)):
                        free[wish] = id
                        ids.here.add((kind, id))
                    elif id not in found:
                        free.setdefault(wish, id)
                # What is here may have another id, because another thing had its own at that time.
                left = [w for w, id in asked.items() if (is_there and (kind, id) not in ids.here) or w not in free]
                asked = {wish: another(wish, home, n) for wish in left}
            if len(free) < len(set(wished)):
                raise InvalidInput(TAKEN)
            ids.choice.update({(kind, wish): id for wish, id in free.items() if id != wish})
        return ids

    async def _grown(self, made: Built, there: Conversation, here: set[tuple[str, str]]) -> list[Change]:
        """What adds the messages that are new; nothing if there are none.

        Those that were deleted here are not new, and what follows one of them follows what that did. The active path
        goes on to what is new if it goes on there, unless a reply is being made on it.
        """
        now = self.now()
        if there.expires_at is not None and there.expires_at < now:
            raise InvalidInput("it was imported before, and is being deleted because its time is over")
        fresh = [m for m in made.messages if (MESSAGE.name, m.id) not in here]
        if not fresh:
            return []
        gone = set(there.removed)
        places: dict[str | None, str | None] = {None: None}
        for m in made.messages:
            places[m.id] = places[m.parent] if m.id in gone else m.id
        fresh = [replace(m, seq=seq, parent=places[m.parent]) for seq, m in enumerate(fresh, there.next_seq)]
        leaf = there.leaf
        if there.active_run is None and (leaf is None or leaf in _path(made)):
            leaf = places[made.conversation.leaf] or leaf
        conversation = replace(
            there,
            updated_at=max(there.updated_at, made.conversation.updated_at),
            leaf=leaf,
            next_seq=there.next_seq + len(fresh),
            messages=there.messages + len(fresh),
            characters=there.characters + sum([len(m.text) for m in fresh]),
            expires_at=self.retention.deadline(there.temporary, now),
        )
        images = {m: [(id, data) for id, data in has if (FILE.name, id) not in here] for m, has in made.images.items()}
        puts = await asyncio.to_thread(replace(made, images=images).message_puts, conversation, fresh)
        return [conversation_put(conversation), *puts]

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
