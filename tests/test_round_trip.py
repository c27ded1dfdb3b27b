"""What an export writes, an import reads back to the same conversations, wherever it is done."""

from __future__ import annotations

import io
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any, get_args
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backchat.domain.identity import Identity
from backchat.domain.limits import ImportLimits, Retention
from backchat.domain.message import Foreign, Image, MessageStatus, Text
from backchat.ports.storage import Query, Record, RecordStore
from backchat.services.access import Access, by_table
from backchat.services.bundles import ExportFormat
from backchat.services.import_records import Import
from backchat.services.imports import Imports
from backchat.services.kinds import KINDS
from backchat.services.stored import conversation_of, conversation_put, message_of, message_put
from backchat.testing.memory_store import open_memory
from backchat_importers.backchat import Backchat
from kept import ANN, LATER, Kept, called, exports, gathered, talk, trees
from sqlite_files import opened

FORMATS: Sequence[ExportFormat] = get_args(ExportFormat)
number = count(1)
C1 = str(UUID(int=1 << 64))


@dataclass(frozen=True)
class Sides:
    """Two installations: one that writes files and one that reads them."""

    here: RecordStore
    there: RecordStore
    imports: Imports

    async def read(self, file: bytes, who: Identity = ANN) -> Import:
        begun = await self.imports.begin(who, io.BytesIO(file), name="export")
        return await self.imports.ended(who, begun.id, 30)


def importing(store: RecordStore) -> Imports:
    ids = count(1)
    limits, retention = ImportLimits(), Retention(temporary=timedelta(days=1))
    access = Access(store, by_table, lambda: LATER)
    return Imports(
        store, access, [Backchat()], limits, retention, "w1", now=lambda: LATER, new_id=lambda: f"n{next(ids)}"
    )


@pytest.fixture(params=["memory", "sqlite"])
async def sides(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Sides]:
    async with AsyncExitStack() as stack:
        stores = [
            await stack.enter_async_context(
                open_memory(KINDS) if request.param == "memory" else opened(tmp_path / name, KINDS)
            )
            for name in ("here.db", "there.db")
        ]
        yield Sides(stores[0], stores[1], await stack.enter_async_context(importing(stores[1])))


async def all_of(store: RecordStore, kind: str, owner: str) -> dict[str, Record]:
    found = await store.find(Query(kind=kind, where=(("owner", (owner,)),), limit=10_000))
    return {record.id: record for record in found}


async def written(store: RecordStore, who: Identity = ANN) -> dict[str, Any]:
    """Every conversation of a user as a file says, but where it is said to come from."""
    found = {}
    for id in await all_of(store, "conversation", who.user):
        portable = await exports(store).portable(who, id)
        del portable["conversation"]["source"]
        found[id] = portable
    return found


async def everything_stored(store: RecordStore, who: Identity) -> Sequence[object]:
    """The records of a user, versions and all, and how many there are of files, whoever's they are."""
    return [
        *[await all_of(store, kind, who.user) for kind in ("conversation", "message", "tag")],
        *[await store.count(Query(kind=kind)) for kind in ("file", "file_chunk")],
    ]


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(kept=st.lists(trees(), max_size=3), format=st.sampled_from(FORMATS))
async def test_the_same_conversations_and_the_second_time_nothing(
    sides: Sides, kept: list[Kept], format: ExportFormat
) -> None:
    who = Identity(user=f"u{next(number)}")
    for k in kept:
        k = called(k, str(UUID(int=next(number))))
        own = [replace(m, owner=who.user) for m in k.messages]
        await sides.here.apply(Kept(replace(k.conversation, owner=who.user), own, k.files).changes)
    file = await gathered(sides.here, format, who)
    done = await sides.read(file, who)
    if kept or format == "jsonl":
        assert (done.status, done.imported, done.skipped, done.failed) == ("done", len(kept), 0, 0)
    before, after = await written(sides.here, who), await written(sides.there, who)
    assert after == before
    stored = await everything_stored(sides.there, who)
    again = await sides.read(file, who)
    assert (again.imported, again.skipped, again.failed) == (0, len(kept) if done.status == "done" else 0, 0)
    assert await everything_stored(sides.there, who) == stored


async def test_one_conversation_laid_out_for_people(sides: Sides) -> None:
    await sides.here.apply(talk(C1, "a", "b", tags=("x",)).changes)
    file = json.dumps(await exports(sides.here).portable(ANN, C1), indent=2).encode()
    assert (await sides.read(file)).imported == 1
    assert await written(sides.there) == await written(sides.here)


async def test_it_can_be_continued_and_searched(sides: Sides) -> None:
    """The counters are right, so that the next message finds its place."""
    await sides.here.apply(talk(C1, "aardvark", "bee", "cat").changes)
    await sides.read(await gathered(sides.here, "zip"))
    conversation = conversation_of((await all_of(sides.there, "conversation", "ann"))[C1])
    assert (conversation.next_seq, conversation.messages, conversation.characters) == (4, 3, len("aardvarkbeecat"))
    assert (conversation.leaf, conversation.active_run) == (f"{C1}-3", None)
    assert [r.id for r in await sides.there.find(Query(kind="message", words="aardvark"))] == [f"{C1}-1"]


async def test_nothing_works_on_a_reply_where_it_is_read(sides: Sides) -> None:
    kept = talk(C1, "a", "b", "c")
    statuses: Sequence[MessageStatus] = ("running", "waiting", "failed")
    messages = [replace(m, status=s) for m, s in zip(kept.messages, statuses, strict=True)]
    await sides.here.apply(replace(kept, messages=messages).changes)
    await sides.read(await gathered(sides.here, "jsonl"))
    found = (await all_of(sides.there, "message", "ann")).values()
    assert {m.id: m.status for m in map(message_of, found)} == {
        f"{C1}-1": "interrupted",
        f"{C1}-2": "interrupted",
        f"{C1}-3": "failed",
    }


async def test_what_was_said_since_is_added_and_nothing_is_undone(sides: Sides) -> None:
    kept = talk(C1, "a", "b", "c", "d")
    two = Kept(replace(kept.conversation, leaf=f"{C1}-2", next_seq=3, messages=2), kept.messages[:2], {})
    await sides.here.apply(two.changes)
    await sides.read(await gathered(sides.here, "jsonl"))
    grown = [conversation_put(replace(kept.conversation, version=1)), *map(message_put, kept.messages[2:])]
    await sides.here.apply(grown)
    done = await sides.read(await gathered(sides.here, "jsonl"))
    assert (done.imported, done.skipped) == (1, 0)
    assert (await written(sides.there))[C1]["messages"] == (await written(sides.here))[C1]["messages"]


async def test_somebody_elses_copy_gets_ids_of_its_own(sides: Sides) -> None:
    """What bob is given of ann, on the installation where she has it."""
    await sides.there.apply(talk(C1, "a", "b").changes)
    file = await gathered(sides.there, "zip")
    bob = Identity(user="bob")
    for imported in (1, 0):
        assert (await sides.read(file, bob)).imported == imported
    (copy,) = (await written(sides.there, bob)).values()
    assert copy["conversation"]["id"] != C1
    assert [m["parts"] for m in copy["messages"]] == [[{"type": "text", "text": t}] for t in "ab"]
    assert copy["messages"][1]["parent"] == copy["messages"][0]["id"] != f"{C1}-1"
    assert list(await written(sides.there)) == [C1]


async def test_an_image_whose_bytes_are_lost_is_still_named(sides: Sides) -> None:
    kept = talk(C1, "a")
    message = replace(kept.messages[0], parts=(Text("a"), Image("i1", "image/png")))
    await sides.here.apply(replace(kept, messages=[message]).changes)
    assert (await sides.read(await gathered(sides.here, "jsonl"))).imported == 1
    (found,) = map(message_of, (await all_of(sides.there, "message", "ann")).values())
    assert found.parts == (Text("a"), Foreign({"type": "image", "file": "i1", "mime": "image/png"}))


async def test_a_line_that_was_changed_is_imported_and_told(sides: Sides) -> None:
    await sides.here.apply(talk(C1, "good").changes)
    file = (await gathered(sides.here, "jsonl")).replace(b"good", b"evil")
    done = await sides.read(file)
    assert (done.status, done.imported, done.failed) == ("done", 1, 1)
    assert done.problems[0].reason == (
        "1 conversation is not in the file as the manifest at its end says: changed, or missing"
    )
