"""Tags, with which users mark their conversations."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from backchat.domain.conversation import Conversation
from backchat.domain.identity import Identity
from backchat.errors import Conflict, InvalidInput, NotFound
from backchat.ports.storage import Change, Delete, Query, Record, RecordStore
from backchat.services.conversations import Conversations, living
from backchat.services.retrying import retrying
from backchat.services.stored import CONVERSATION, conversation_of, conversation_put
from backchat.services.tag_records import TAG, Tag, tag_of, tag_put

LONGEST = 100
"""Characters of a tag."""
PAGE = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Tags:
    """Whatever puts a tag on a conversation stores the tag anew as well, so that it cannot be renamed meanwhile."""

    store: RecordStore
    conversations: Conversations
    now: Callable[[], datetime]
    new_id: Callable[[], str]

    async def all(self, who: Identity) -> Sequence[Tag]:
        """By position."""
        there = await self._ordered(who)
        return await asyncio.gather(*[self._read(tag, there) for tag in there])

    async def create(
        self, who: Identity, tag: str, *, description: str | None = None, conversation: str | None = None
    ) -> Tag:
        """Make a tag, or find it if there is one; with ``conversation``, that gets it too.

        Raises InvalidInput for a name that is none, and NotFound for the conversation.
        """
        name = _name(tag, "body.tag")

        async def attempt() -> Tag:
            marked = None if conversation is None else await self.conversations.open(who, conversation)
            there = await self._ordered(who)
            found = next((t for t in there if t.tag == name), None)
            wanted = found or self._new(who, name, _end(there) + 1, description)
            changes: list[Change] = [] if found and marked is None else [tag_put(wanted)]
            if marked is not None and name not in marked.tags:
                changes.append(conversation_put(self._marked(marked, (*marked.tags, name))))
            await self.store.apply(changes)
            return await self._read(replace(wanted, version=wanted.version + bool(changes)), there)

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
            there = await self._ordered(who)
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
            await self.store.apply([*map(tag_put, moved), *map(conversation_put, renamed)])
            return await self._read(replace(new, position=place + 1, version=new.version + 1), order)

        return await retrying(attempt)

    async def delete(self, who: Identity, tag: str) -> Tag:
        """Delete a tag, and take it off all conversations; returns what it was. Raises NotFound."""

        async def attempt() -> Tag:
            there = await self._ordered(who)
            old = await self._read(_named(there, tag), there)
            freed = await self._without(who, tag, None)
            await self.store.apply([Delete(TAG.name, old.id, old.version), *map(conversation_put, freed)])
            return old

        return await retrying(attempt)

    async def attach(self, who: Identity, conversation: str, tags: Sequence[str]) -> Sequence[str]:
        """Give a conversation these tags and no others; those that there are not yet are made.

        Raises InvalidInput for a name that is none, and NotFound for the conversation.
        """
        names = tuple(dict.fromkeys([_name(tag, "body.tags") for tag in tags]))

        async def attempt() -> Sequence[str]:
            marked = self._marked(await self.conversations.open(who, conversation), names)
            there = await self._ordered(who)
            known = {t.tag: t for t in there}
            fresh = [name for name in names if name not in known]
            made = [self._new(who, name, _end(there) + n, None) for n, name in enumerate(fresh, 1)]
            kept = [known[name] for name in names if name in known]
            await self.store.apply([*map(tag_put, [*kept, *made]), conversation_put(marked)])
            return names

        return await retrying(attempt)

    def _new(self, who: Identity, name: str, position: int, description: str | None) -> Tag:
        now = self.now()
        return Tag(
            id=self.new_id(),
            owner=who.user,
            tag=name,
            description=description,
            position=position,
            created_at=now,
            updated_at=now,
        )

    def _marked(self, conversation: Conversation, tags: tuple[str, ...]) -> Conversation:
        return replace(conversation, tags=tags, updated_at=self.now())

    async def _ordered(self, who: Identity) -> list[Tag]:
        """All tags of the caller as they are stored."""
        found: list[Record] = []
        after: tuple[int, str] | None = None
        while True:
            where = (("owner", (who.user,)),)
            page = await self.store.find(
                Query(kind=TAG.name, where=where, order=("position",), after=after, limit=PAGE)
            )
            found += page
            if len(page) < PAGE:
                return [tag_of(record) for record in found]
            after = (page[-1].doc["position"], page[-1].id)

    async def _read(self, tag: Tag, there: Sequence[Tag]) -> Tag:
        """A tag with its place among the others, and how many conversations have it that are in some list."""
        where = (("owner", (tag.owner,)), ("tags", (tag.tag,)), ("temporary", (False,)))
        count = await self.store.count(Query(kind=CONVERSATION.name, where=where, ranges=(living(self.now()),)))
        place = next((n for n, t in enumerate(there, 1) if t.id == tag.id), len(there) + 1)
        return replace(tag, count=count, position=place)

    async def _without(self, who: Identity, tag: str, instead: str | None) -> list[Conversation]:
        """The conversations that have a tag, as they are with another one in its place, or with none."""
        where = (("owner", (who.user,)), ("tags", (tag,)))
        found: list[Record] = []
        after: tuple[str] | None = None
        while True:
            page = await self.store.find(Query(kind=CONVERSATION.name, where=where, after=after, limit=PAGE))
            found += page
            if len(page) < PAGE:
                break
            after = (page[-1].id,)
        changed = []
        for conversation in map(conversation_of, found):
            tags = [instead if t == tag else t for t in conversation.tags]
            changed.append(replace(conversation, tags=tuple(dict.fromkeys([t for t in tags if t is not None]))))
        return changed


def _end(tags: Sequence[Tag]) -> int:
    """The last position that is taken."""
    return tags[-1].position if tags else 0


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
