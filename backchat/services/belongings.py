"""What belongs to conversations, and to users, and goes with them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress

from backchat.errors import StaleWrite
from backchat.ports.storage import Change, Delete, Purge, Put, Query, Range, Record, RecordStore
from backchat.services.account_records import API_KEY, USER
from backchat.services.files import FILE, FILE_CHUNK
from backchat.services.import_records import IMPORT
from backchat.services.kinds import KINDS
from backchat.services.runlog import events_purge
from backchat.services.runstate import CANCEL, RUN
from backchat.services.session_records import SESSION
from backchat.services.share_records import SHARE
from backchat.services.stored import CONVERSATION, MESSAGE

PAGE = 200
PATIENCE = 10.0
POLL = 0.1
"""Seconds: how long a forgotten user's replies are waited for, and between two looks."""


async def belongings(store: RecordStore, conversations: Sequence[str], below: int | None = None) -> list[Change]:
    """What deletes messages of seqs under ``below``, with their files, runs and logs; None: all, and share links."""
    where = (("conversation", tuple(conversations)),)
    ranges = (Range("seq", high=below),) if below is not None else ()
    changes: list[Change] = [Purge(kind.name, where, ranges) for kind in (MESSAGE, FILE, FILE_CHUNK, RUN)]
    if below is None:
        changes.append(Purge(SHARE.name, where))
    last: tuple[str] | None = None
    while True:
        page = await store.find(Query(kind=RUN.name, where=where, ranges=ranges, after=last, limit=PAGE))
        changes += [events_purge(record.id) for record in page]
        if len(page) < PAGE:
            return changes
        last = (page[-1].id,)


async def forget(store: RecordStore, user: str) -> None:
    """Delete a user with everything that is theirs, and leave nothing of it in the files of the store.

    The account, its keys, sessions and imports go first, so that nothing new comes in through them; then the replies that
    are being made are stopped, in whichever process. One that does not stop in time finds its conversation gone, and is
    dropped. What is begun and not finished, and what requests have stored that were let in before, is finished by the
    next call.
    """
    own = (("owner", (user,)),)
    ways_in = [Purge(API_KEY.name, (("user", (user,)),)), Purge(SESSION.name, own), Purge(IMPORT.name, own)]
    await store.apply([Delete(USER.name, user), *ways_in])
    stopped = await _stop_replies(store, user)
    while page := await store.find(Query(kind=CONVERSATION.name, where=own, limit=PAGE)):
        for record in page:
            # Stale when a reply has begun meanwhile, whose log would stay: then it is among the next ones found.
            with suppress(StaleWrite):
                gone = Delete(CONVERSATION.name, record.id, record.version)
                await store.apply([gone, *await belongings(store, [record.id])])
    rest = [Purge(kind.name, own) for kind in KINDS if kind.partition == "owner" and kind is not CONVERSATION]
    await store.apply([*rest, *[Delete(CANCEL.name, run) for run in stopped]])
    await store.compact()


async def _stop_replies(store: RecordStore, user: str) -> set[str]:
    """Cancel the running replies of a user and wait a while for their ends; returns which they were.

    What a reply says after its conversation is gone would stay in the files until something else is written there.
    """
    stopped: set[str] = set()
    try:
        async with asyncio.timeout(PATIENCE):
            while running := await _running(store, user):
                fresh = [run for run in running if run.id not in stopped]
                await store.apply([Put(CANCEL.name, run.id, {"worker": run.doc["worker"]}) for run in fresh])
                stopped |= {run.id for run in fresh}
                await asyncio.sleep(POLL)
    except TimeoutError:
        pass
    return stopped


async def _running(store: RecordStore, user: str) -> list[Record]:
    """The runs of a user that are worked on. There are few of all users: no more than replies at this moment."""
    found: list[Record] = []
    last: tuple[str] | None = None
    where = (("status", ("running",)),)
    while True:
        page = await store.find(Query(kind=RUN.name, where=where, after=last, limit=PAGE))
        found += [record for record in page if record.doc["owner"] == user]
        if len(page) < PAGE:
            return found
        last = (page[-1].id,)
