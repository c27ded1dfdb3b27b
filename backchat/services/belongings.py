"""What belongs to conversations, and to users, and goes with them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress

from backchat.domain.conversation import Conversation
from backchat.errors import StaleWrite
from backchat.ports.storage import Change, Delete, Purge, Put, Query, Range, Record, RecordStore
from backchat.services.account_records import API_KEY, USER
from backchat.services.departing import depart
from backchat.services.document_records import DOCUMENT, scope_of
from backchat.services.document_scopes import UNREAD, documents_in, removed
from backchat.services.files import FILE, FILE_CHUNK
from backchat.services.import_records import IMPORT
from backchat.services.jobs import jobs_purge
from backchat.services.kinds import KINDS
from backchat.services.paging import all_found, purge_all
from backchat.services.public_links import PUBLIC_LINK
from backchat.services.runlog import events_purge
from backchat.services.runstate import CANCEL, RUN
from backchat.services.session_records import SESSION
from backchat.services.share_records import SHARE
from backchat.services.stored import CONVERSATION, MESSAGE, conversation_of
from backchat.services.summary_records import SUMMARY, line_of
from backchat.services.workspace_records import MEMBERSHIP

PAGE = 200
AT_ONCE = 20
"""Conversations that are deleted in one batch, with all that is in them."""
ROUNDS = 10
"""How often a forgotten user's things are looked for while new ones come."""
PATIENCE = 10.0
POLL = 0.1
"""Seconds: how long a forgotten user's replies are waited for, and between two looks."""


async def belongings(store: RecordStore, conversations: Sequence[str], below: int | None = None) -> list[Change]:
    """What deletes messages of seqs under ``below``, with their files, runs and logs; None: all, with all links and
    summaries.
    """
    where = (("conversation", tuple(conversations)),)
    ranges = (Range("seq", high=below),) if below is not None else ()
    changes: list[Change] = [Purge(kind.name, where, ranges) for kind in (MESSAGE, FILE, FILE_CHUNK, RUN)]
    if below is None:
        changes += [Purge(kind.name, where) for kind in (SHARE, PUBLIC_LINK, SUMMARY)]
    runs = await all_found(store, Query(kind=RUN.name, where=where, ranges=ranges, limit=PAGE))
    return [*changes, *[events_purge(run.id) for run in runs]]


async def erasure(store: RecordStore, conversations: Sequence[Conversation]) -> list[Change]:
    """What deletes conversations of one owner with everything that belongs to them, their documents too.

    It is stale when anything is written to one of them meanwhile.
    """
    ids = [c.id for c in conversations]
    owners = [*{c.owner for c in conversations}]
    documents = await documents_in(store, owners, [scope_of(conversation=id) for id in ids])
    gone = [Delete(CONVERSATION.name, c.id, c.version) for c in conversations]
    begun = [jobs_purge(owner, [line_of(id) for id in ids]) for owner in owners]
    return [*gone, *await belongings(store, ids), *begun, *await removed(store, documents)]


async def being_read(store: RecordStore, conversations: Sequence[Conversation]) -> list[Conversation]:
    """Those of the conversations that have documents which are being read."""
    scopes = {scope_of(conversation=c.id): c for c in conversations}
    where = (("owner", [*{c.owner for c in conversations}]), ("scope", tuple(scopes)), ("status", UNREAD))
    found = await store.values(Query(kind=DOCUMENT.name, where=where, limit=len(scopes)), "scope")
    return [scopes[str(scope)] for scope in found]


async def forget(store: RecordStore, user: str) -> None:
    """Delete a user with everything that is theirs, and leave nothing of it in the files of the store.

    The account, its keys, sessions, memberships and imports go first, so that nothing new comes in through them; then
    the replies that are being made are stopped, in whichever process. One that does not stop in time finds its
    conversation gone, and is dropped. What requests that were let in before store meanwhile is looked for and deleted
    as well, until there is nothing left; whatever they store even later, and what is begun here and not finished, is
    for the next call.

    What becomes of their workspaces, ``departing`` says. What they have said in conversations of others is part of
    those, and what was spent for them stays on the books: ids and numbers.
    """
    own = (("owner", (user,)),)
    kinds = [*[kind.name for kind in KINDS if kind.partition == "owner"], SHARE.name]
    by_user = [Purge(kind.name, (("user", (user,)),)) for kind in (API_KEY, MEMBERSHIP)]
    ways_in = [*by_user, Purge(SESSION.name, own), Purge(IMPORT.name, own)]
    await store.apply([Delete(USER.name, user), *ways_in])
    for _ in range(ROUNDS):
        stopped = await _stop_replies(store, user)
        while page := await store.find(Query(kind=CONVERSATION.name, where=own, limit=AT_ONCE)):
            # Stale when a reply has begun meanwhile, whose log would stay: then they are the next ones found.
            with suppress(StaleWrite):
                await store.apply(await erasure(store, [conversation_of(record) for record in page]))
        departed = await depart(store, user)
        for kind in kinds:
            if kind != CONVERSATION.name:
                await purge_all(store, kind, own)
        await store.apply([Delete(CANCEL.name, run) for run in stopped])
        if not any([departed, *[await store.find(Query(kind=kind, where=own, limit=1)) for kind in kinds]]):
            break
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
    query = Query(kind=RUN.name, where=(("status", ("running",)),), limit=PAGE)
    return [record for record in await all_found(store, query) if record.doc["owner"] == user]
