"""Tags, with which users mark their conversations."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from backchat.domain.conversation import Conversation
from backchat.domain.identity import Identity
from backchat.errors import Conflict, InvalidInput, NotFound
from backchat.ports.storage import Change, Condition, Delete, Put, Query, RecordStore
from backchat.services.conversations import Conversations
from backchat.services.deadlines import living
from backchat.services.paging import all_found
from backchat.services.retrying import retrying
from backchat.services.stored import CONVERSATION, conversation_of, conversation_put
from backchat.services.tag_records import LONGEST, MOST, TAG, Tag, tag_of, tag_put
from backchat.services.tagging import tags_for

PAGE = 1000
AT_ONCE = 8
"""Tags whose conversations are counted at the same time: the store has others to answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tags:
    """Whatever puts a tag on a conversation stores the tag anew as well, so that it cannot be renamed meanwhile."""

    store: RecordStore
    conversations: Conversations
    now: Callable[[], datetime]
    new_id: Callable[[], str]

    async def all(self, who: Identity) -> Sequence[Tag]:
        """By position."""
        there = [replace(tag, position=n) for n, tag in enumerate(await self._ordered(who.user), 1)]
        found: list[Tag] = []
        reach = await self._reach(who)
        for first in range(0, len(there), AT_ONCE):
            found += await asyncio.gather(*[self._counted(tag, reach) for tag in there[first : first + AT_ONCE]])
        return found

    async def create(
        self, who: Identity, tag: str, *, description: str | None = None, conversation: str | None = None
    ) -> Tag:
        """Make a tag, or find it if there is one; with ``conversation``, that gets it too.

        Raises InvalidInput for a name that is none, and NotFound for the conversation.
        """
        name = _name(tag, "body.tag")

        async def attempt() -> Tag:
            marked = None if conversation is None else await self.conversations.open(who, conversation, "update")
            owner = who.user if marked is None else marked.owner
            (wanted,) = await tags_for(self.store, owner, [name], self.now(), self.new_id)
            if not wanted.version:
                wanted = replace(wanted, description=description)
            changes: list[Change] = [] if wanted.version and marked is None else [tag_put(wanted)]
            if marked is not None and name not in marked.tags:
                changes.append(conversation_put(self._marked(marked, (*marked.tags, name), "body.tag")))
                changes += self.conversations.access.required(who, marked, "update")
            await self.store.apply(changes)
            return await self._read(who, replace(wanted, version=wanted.version + bool(changes)))

        return await retrying(attempt)

    async def update(
        self,
        who: Identity,
        tag: str,
        *,
        name: str | None = None,
        description: str | None = None,
        position: int | None = None,
    ) -> Tag:
        """Rename a tag on all conversations that have it, describe it, or move it. Raises NotFound, and Conflict.

        A position beyond the last is the last one, and one below 1 the first. What is None stays as it is.
        """
        wanted = tag if name is None else _name(name, "body.tag")

        async def attempt() -> Tag:
            there = await self._ordered(who.user)
            old = _named(there, tag)
            if wanted != tag and any(t.tag == wanted for t in there):
                raise Conflict("there is another tag of this name", field="body.tag")
            others = [t for t in there if t is not old]
            place = there.index(old) if position is None else min(max(position, 1), len(there)) - 1
            text = old.description if description is None else description
            new = replace(old, tag=wanted, description=text, updated_at=self.now())
            order = [*others[:place], new, *others[place:]]
            moved = [replace(t, position=n) for n, t in enumerate(order, 1) if t is new or t.position != n]
            renamed = await self._without(who, tag, wanted) if wanted != tag else []
            await self.store.apply([*map(tag_put, moved), *renamed])
            moved_to = replace(new, position=place + 1, version=new.version + 1)
            return await self._counted(moved_to, await self._reach(who))

        return await retrying(attempt)

    async def delete(self, who: Identity, tag: str) -> Tag:
        """Delete a tag, and take it off all conversations; returns what it was. Raises NotFound."""

        async def attempt() -> Tag:
            old = await self._read(who, _named(await self._ordered(who.user), tag))
            freed = await self._without(who, tag, None)
            await self.store.apply([Delete(TAG.name, old.id, old.version), *freed])
            return old

        return await retrying(attempt)

    async def attach(self, who: Identity, conversation: str, tags: Sequence[str]) -> Sequence[str]:
        """Give a conversation these tags and no others; those that there are not yet are made.

        Raises InvalidInput for a name that is none or too many of them, and NotFound for the conversation.
        """
        names = tuple(dict.fromkeys([_name(tag, "body.tags") for tag in tags]))

        async def attempt() -> Sequence[str]:
            marked = await self.conversations.open(who, conversation, "update")
            marked = self._marked(marked, names, "body.tags")
            tags = await tags_for(self.store, marked.owner, names, self.now(), self.new_id)
            member = self.conversations.access.required(who, marked, "update")
            await self.store.apply([*map(tag_put, tags), conversation_put(marked), *member])
            return names

        return await retrying(attempt)

    def _marked(self, conversation: Conversation, tags: tuple[str, ...], field: str) -> Conversation:
        if len(tags) > MOST:
            raise InvalidInput(f"a conversation has at most {MOST} tags", field=field)
        return replace(conversation, tags=tags, updated_at=self.now())

    async def _ordered(self, owner: str) -> list[Tag]:
        """All tags of a user as they are stored."""
        query = Query(kind=TAG.name, where=(("owner", (owner,)),), order=("position",), limit=PAGE)
        return [tag_of(record) for record in await all_found(self.store, query)]

    async def _read(self, who: Identity, tag: Tag) -> Tag:
        """A tag with its place among the others, and its count."""
        there = await self._ordered(tag.owner)
        place = next((n for n, t in enumerate(there, 1) if t.id == tag.id), len(there) + 1)
        return await self._counted(replace(tag, position=place), await self._reach(who))

    async def _reach(self, who: Identity) -> Condition:
        return await self.conversations.access.reach(who)

    async def _counted(self, tag: Tag, reach: Condition) -> Tag:
        """A tag with how many conversations have it that are in some list of the caller's."""
        where = (("owner", (tag.owner,)), ("tags", (tag.tag,)), ("temporary", (False,)), reach)
        count = await self.store.count(Query(kind=CONVERSATION.name, where=where, ranges=(living(self.now()),)))
        return replace(tag, count=count)

    async def _without(self, who: Identity, tag: str, instead: str | None) -> list[Put]:
        """What gives all conversations that have a tag another one in its place, or none.

        Also those in workspaces that the user has left, which they may not change: tags are between a user and their
        own conversations, and one that they come back to has no tag that is in no list.
        """
        where = (("owner", (who.user,)), ("tags", (tag,)))
        query = Query(kind=CONVERSATION.name, where=where, limit=PAGE)
        found = await all_found(self.store, query)

        def changed(conversation: Conversation) -> Conversation:
            tags = [instead if t == tag else t for t in conversation.tags]
            return replace(conversation, tags=tuple(dict.fromkeys([t for t in tags if t is not None])))

        return await asyncio.to_thread(lambda: [conversation_put(changed(conversation_of(r))) for r in found])


def _named(tags: Sequence[Tag], name: str) -> Tag:
    for tag in tags:
        if tag.tag == name:
            return tag
    raise NotFound("tag not found")


def _name(text: str, field: str) -> str:
    name = text.strip()
    if not 1 <= len(name) <= LONGEST:
        raise InvalidInput(f"a tag has 1 to {LONGEST} characters", field=field)
    return name
