"""What belongs to conversations, and to users, and goes with them."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from backchat.errors import StaleWrite
from backchat.ports.storage import Change, Delete, Purge, Put, Query, Range, Record, RecordStore
from backchat.services.account_records import API_KEY, USER
from backchat.services.files import FILE, FILE_CHUNK
from backchat.services.kinds import KINDS
from backchat.services.runlog import events_purge
from backchat.services.runstate import CANCEL, RUN
from backchat.services.stored import CONVERSATION, MESSAGE

PAGE = 200
PATIENCE = 10.0
POLL = 0.1
"""Seconds: how long a forgotten user's replies are waited for, and between two looks."""


async def belongings(store: RecordStore, conversation: str, below: int | None = None) -> list[Change]:
    """What deletes a conversation's messages of seqs under ``below`` (None: all), with their files, runs and logs."""
    where = (("conversation", (conversation,)),)
    ranges = (Range("seq", high=below),) if below is not None else ()
    changes: list[Change] = [Purge(kind.name, where, ranges) for kind in (MESSAGE, FILE, FILE_CHUNK, RUN)]
    last: tuple[str] | None = None
    while True:
        page = await store.find(Query(kind=RUN.name, where=where, ranges=ranges, after=last, limit=PAGE))
        changes += [events_purge(record.id) for record in page]
        if len(page) < PAGE:
            return changes
        last = (page[-1].id,)


async def forget(store: RecordStore, user: str) -> None:
    """Delete a user with everything that is theirs, and leave nothing of it in the files of the store.

    The account and its keys go first, so that nothing new comes in through them; then the replies that are being made
    are stopped, in whichever process. One that does not stop in time finds its conversation gone, and is dropped. What
    is begun and not finished, and what requests have stored that were let in before, is finished by the next call.
    """
    await store.apply([Delete(USER.name, user), Purge(API_KEY.name, (("user", (user,)),))])
    own = (("owner", (user,)),)
    stopped = await _stop_replies(store, user)
    while page := await store.find(Query(kind=CONVERSATION.name, where=own, limit=PAGE)):
        for record in page:
            # Stale when a reply has begun meanwhile, whose log would stay: then it is among the next ones found.
            with suppress(StaleWrite):
                gone = Delete(CONVERSATION.name, record.id, record.version)
                await store.apply([gone, *await belongings(store, record.id)])
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
