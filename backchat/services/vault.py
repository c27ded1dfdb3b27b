"""The vault: pushed conversations, version by version, sealed before they reach the storage."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from weakref import WeakValueDictionary

from backchat.domain.identity import Identity
from backchat.domain.limits import VaultLimits
from backchat.domain.vault import PlainPush, Push, Pushed, SealedText, VaultEntry, VaultVersion
from backchat.errors import Internal, InvalidCredentials, InvalidInput, NotFound, StaleWrite, VersionConflict
from backchat.ports.storage import Change, Condition, Put, Query, RecordStore, Require
from backchat.services.account_records import API_KEY
from backchat.services.aside import aside
from backchat.services.paging import all_found
from backchat.services.retrying import retrying
from backchat.services.vault_contents import ForeignContent, Fresh, Incoming, Place, PlainContent
from backchat.services.vault_keys import Bearer, VaultKeys
from backchat.services.vault_reading import (
    NUMBERS,
    entry_numbered,
    grouped,
    is_damaged,
    numbered,
    with_contents,
)
from backchat.services.vault_records import (
    CONTENT,
    COUNTER,
    ENTRY,
    VERSION,
    VERSION_WEIGHT,
    counter_put,
    entry_of,
    lineage,
    text_of,
    version_id,
    version_of,
)
from backchat.services.vault_writing import Writing, described, new_entry, removal, removal_of_damaged

PAGE = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class VaultFilter:
    """Which entries: all of it must hold. ``platform`` in any case; ``words`` begin words of the title or the topic."""

    platform: str | None = None
    category: str | None = None
    chat: str | None = None
    tags: Sequence[str] = field(default=(), repr=False)
    words: str = field(default="", repr=False)


class Vault:
    """Entries of others are as if they were not there: NotFound.

    What makes an entry what it is changes in one batch, and whoever has read it before begins again. Pushes of one
    conversation, and new ones of one user, would do that to each other all the time: those of this process queue up.
    Content is read as the text that is stored.
    """

    def __init__(
        self, store: RecordStore, keys: VaultKeys, limits: VaultLimits, *, now: Callable[[], datetime]
    ) -> None:
        self._store, self._keys, self._limits, self._now = store, keys, limits, now
        self._chats: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._counting: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def push(self, bearer: Bearer, push: Push) -> Pushed:
        """Store what is new of a conversation: a version if its content is, its details if they are, nothing else.

        Raises InvalidInput (``body.platform`` if neither the push nor the token has one; ``body.iv`` for one that the
        user has used with other bytes under the same key: from when content under it was first stored, so that of a
        push that changed nothing is free), Forbidden for a plain push without a vault key, VersionConflict if ``base``
        is not the current version, and InvalidCredentials if the bearer's token is deleted meanwhile, with its user.
        """
        platform = bearer.who.platform if push.platform is None else push.platform
        if platform is None:
            raise InvalidInput("a platform is needed: the credential of this request has none", field="body.platform")
        place = Place(bearer.who.user, platform.lower(), push.chat)
        content: Incoming
        if isinstance(push.content, PlainPush):
            content = await PlainContent.of(self._keys, bearer, place, push.content.messages)
        else:
            content = ForeignContent(self._store, place.owner, push.content)

        async def attempt() -> Pushed:
            record = await self._store.get(ENTRY.name, place.id)
            entry = entry_of(record) if record is not None else None
            current = entry.latest if entry is not None else 0
            if push.base is not None and push.base != current:
                raise VersionConflict(f"the current version is {current}, not the one this was made from", current)
            if entry is None:
                return await self._create(bearer, place, push, await content.fresh())
            fresh, now_described = await content.unless_in(entry), described(entry, push.details)
            if fresh is None and now_described == entry:
                return Pushed(entry.number, entry.latest, "unchanged")
            return await self._write(bearer, now_described, fresh)

        async with self._chats.setdefault(place.id, asyncio.Lock()):
            return await retrying(attempt)

    async def _create(self, bearer: Bearer, place: Place, push: Push, fresh: Fresh) -> Pushed:
        async with self._counting.setdefault(place.owner, asyncio.Lock()):
            counter = await self._store.get(COUNTER.name, place.owner)
            last, expect = (counter.doc["last"], counter.version) if counter is not None else (0, 0)
            number = max(last, await self._highest(place.owner)) + 1
            entry = described(new_entry(place, number, self._now()), push.details)
            return await self._write(bearer, entry, fresh, counter_put(place.owner, number, expect))

    async def _highest(self, owner: str) -> int:
        """The highest number of an owner's entries: a counter that was lost must not give one that is taken."""
        where = (("owner", (owner,)),)
        found = await self._store.find(Query(kind=ENTRY.name, where=where, order=("number",), descending=True, limit=1))
        return entry_of(found[0]).number if found else 0

    async def _write(self, bearer: Bearer, entry: VaultEntry, fresh: Fresh | None, *more: Put) -> Pushed:
        writing = Writing(token=bearer.who.key, now=self._now(), keep=self._limits.versions)
        size = len(fresh.sealed.data) if fresh is not None else 0
        outcome, changes = await aside(size, lambda: writing.changes(entry, fresh))
        try:
            await self._store.apply([*changes, *more, *_proof(bearer)])
        except StaleWrite:
            await self._check(bearer, entry)
            raise
        return Pushed(entry.number, entry.latest + (fresh is not None), outcome)

    async def _check(self, bearer: Bearer, entry: VaultEntry) -> None:
        """Raise what makes a push of this entry stale each time anew."""
        if bearer.token is not None and await self._store.get(API_KEY.name, bearer.token.id) is None:
            raise InvalidCredentials("this API key has been deleted")
        if entry.version and await is_damaged(self._store, entry):
            raise Internal(f"the versions of entry {entry.number} of the vault are not those that it should have")

    async def count(self, who: Identity, wanted: VaultFilter) -> int:
        return await self._store.count(_query(who, wanted))

    async def pull(
        self, who: Identity, wanted: VaultFilter, *, limit: int, offset: int = 0
    ) -> AsyncGenerator[Sequence[tuple[VaultEntry, SealedText]], None]:
        """Entries with the content of their latest versions, last changed first, then by number, newest first.

        They come in groups of so many bytes that one does not fill the memory. What is deleted meanwhile is left out.
        """
        query = replace(_query(who, wanted), limit=limit, offset=offset)
        for group in grouped([entry_of(record) for record in await self._store.find(query)]):
            if found := await with_contents(self._store, query, group):
                yield found

    async def entry(self, who: Identity, number: int) -> tuple[VaultEntry, SealedText]:
        read = await entry_numbered(self._store, who, number)
        found = await with_contents(self._store, numbered(who, number), [read])
        if not found:
            raise NotFound("entry not found")
        return found[0]

    async def versions(self, who: Identity, number: int) -> tuple[VaultEntry, Sequence[VaultVersion]]:
        """All versions that are kept, oldest first."""
        entry = await entry_numbered(self._store, who, number)
        where = (("owner", (who.user,)), ("entry", (lineage(entry),)))
        query = Query(kind=VERSION.name, where=where, order=("number",), limit=PAGE)
        found = await all_found(self._store, query)
        if not found:
            raise NotFound("entry not found")
        return entry, await aside(len(found) * VERSION_WEIGHT, lambda: [version_of(record) for record in found])

    async def version(self, who: Identity, number: int, version: int) -> tuple[VaultEntry, VaultVersion, SealedText]:
        entry = await entry_numbered(self._store, who, number)
        if version not in NUMBERS:
            raise NotFound("version not found")
        id = version_id(lineage(entry), version)
        record = await self._store.get(VERSION.name, id)
        sealed = await self._store.get(CONTENT.name, id) if record is not None else None
        if record is None or sealed is None:
            raise NotFound("version not found")
        return entry, version_of(record), text_of(sealed)

    async def delete(self, who: Identity, number: int) -> None:
        """The entry with all its versions, also those that come meanwhile. One that is damaged goes as well."""

        async def attempt() -> None:
            entry = await entry_numbered(self._store, who, number)
            try:
                await self._store.apply(removal(entry))
            except StaleWrite:
                if not await is_damaged(self._store, entry):
                    raise
                await self._store.apply(removal_of_damaged(entry))

        await retrying(attempt)


def _proof(bearer: Bearer) -> list[Change]:
    """That the token is still there: what is pushed beside the deletion of its user would stay, and nobody see it."""
    return [Require(API_KEY.name, bearer.token.id)] if bearer.token is not None else []


def _query(who: Identity, wanted: VaultFilter) -> Query:
    where: list[Condition] = [("owner", (who.user,))]
    if wanted.platform is not None:
        where.append(("platform", (wanted.platform.lower(),)))
    if wanted.category is not None:
        where.append(("category", (wanted.category,)))
    if wanted.chat is not None:
        where.append(("chat", (wanted.chat,)))
    where += [("tags", (tag,)) for tag in dict.fromkeys(wanted.tags)]
    return Query(kind=ENTRY.name, where=tuple(where), words=wanted.words, order=("updated", "number"), descending=True)
