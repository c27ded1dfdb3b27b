"""Deadlines of conversations: what is read until when, what moves them, and what is left afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from backchat.domain.conversation import Conversation
from backchat.domain.identity import Identity
from backchat.domain.limits import Retention, Titling
from backchat.domain.message import Text
from backchat.errors import NotFound
from backchat.ports.providers import ImageData
from backchat.ports.storage import Change, Delete, Query, RecordStore
from backchat.services.archive import Wanted
from backchat.services.kinds import KINDS
from backchat.services.retention import Keeper
from backchat.services.saying import Once, Say
from backchat.services.stored import conversation_put
from backchat.services.trees import NewMessage
from backchat.testing.memory_store import MemoryStore
from backchat.testing.provider import ScriptedProvider
from nodes import ANN, BOB, Node, SlowStore
from sqlite_files import opened

DAY, MS = timedelta(days=1), timedelta(milliseconds=1)
START = datetime(2026, 1, 1, tzinfo=UTC)
PNG = ImageData("image/png", b"not really")


class Shelf(Node):
    """Its clock stands still unless a test moves it."""

    def __init__(self, store: SlowStore, *providers: ScriptedProvider, **more: Any) -> None:
        super().__init__(store, *(providers or (ScriptedProvider(),)), **more)
        self.keeper = Keeper(store, self.conversations, more.get("retention") or Retention(), self.now)

    def now(self) -> datetime:
        return self.time

    async def temporary(self, text: str = "psst", who: Identity = ANN) -> str:
        new = NewMessage(parts=(Text(text),))
        return (await self.services.trees.begin(who, new, temporary=True, channel="web")).conversation

    async def until(self, id: str) -> datetime | None:
        return (await self.conversations.open(ANN, id)).expires_at

    async def held(self) -> set[tuple[str, str]]:
        """Kind and id of all that is stored."""
        return {(k.name, r.id) for k in KINDS for r in await self.store.find(Query(kind=k.name, limit=1000))}


@asynccontextmanager
async def shelf(*providers: ScriptedProvider, store: SlowStore | None = None, **more: Any) -> AsyncIterator[Shelf]:
    made = Shelf(store or SlowStore(), *providers, **more)
    try:
        yield made
    finally:
        await made.runs.drain(0)
        await made.jobs.__aexit__()


async def all_of(pieces: Any) -> list[Any]:
    return [piece async for piece in pieces]


WEEK = Retention(conversations=7 * DAY)


@pytest.mark.parametrize(
    ("retention", "temporary", "span"),
    [
        (Retention(), False, None),
        (Retention(), True, 30 * DAY),
        (Retention(temporary=None), True, None),
        (WEEK, False, 7 * DAY),
        (WEEK, True, 7 * DAY),
        (Retention(temporary=DAY, conversations=7 * DAY), True, DAY),
        (Retention(temporary=DAY, conversations=7 * DAY), False, 7 * DAY),
    ],
)
async def test_the_shorter_time_counts(retention: Retention, temporary: bool, span: timedelta | None) -> None:
    async with shelf(retention=retention) as here:
        id = await here.temporary() if temporary else (await here.turns.note(ANN, Say(text="hi"))).conversation
        assert await here.until(id) == (None if span is None else here.time + span)


async def test_what_a_user_says_moves_the_deadline_and_a_reply_does_not() -> None:
    gate = asyncio.Event()
    async with shelf(ScriptedProvider([gate, "yes"]), retention=WEEK) as here:
        run = await here.say("hi")
        here.time += DAY
        gate.set()
        await here.runs.result(ANN, run.id)
        assert await here.until(run.conversation) == START + 7 * DAY
        await here.conversations.rename(ANN, run.conversation, "Another title")
        assert await here.until(run.conversation) == START + 7 * DAY
        here.time = START + 7 * DAY
        await here.say("and now?", conversation=run.conversation)
        assert await here.until(run.conversation) == START + 14 * DAY
        here.time += MS
        assert await here.keeper.purge() == 0
        await here.conversations.open(ANN, run.conversation)


async def test_every_read_keeps_to_the_millisecond() -> None:
    async with shelf(retention=WEEK) as here:
        do = here.services
        run = await here.say("Where is the marmalade?")
        id = run.conversation
        await here.runs.result(ANN, run.id)
        (said, _) = await do.trees.whole(ANN, id)
        share = await do.shares.create(ANN, id)
        reads: dict[str, Callable[[], Awaitable[Any]]] = {
            "open": lambda: here.conversations.open(ANN, id),
            "whole": lambda: here.conversations.whole(ANN, id),
            "transcript": lambda: here.conversations.transcript(ANN, id, limit=10),
            "browse": lambda: here.conversations.browse(ANN, limit=10),
            "page": lambda: here.conversations.page(ANN, skip=0, limit=10),
            "tree": lambda: do.trees.whole(ANN, id),
            "message": lambda: do.trees.open(ANN, id, said.id),
            "messages": lambda: _hits(do.trees.search(ANN, "marmalade", limit=10)),
            "list": lambda: _listed(do.archive.find(ANN, Wanted())),
            "found": lambda: _listed(do.archive.find(ANN, Wanted(words="marmalade"))),
            "export": lambda: do.exports.portable(ANN, id),
            "markdown": lambda: do.exports.markdown(ANN, id),
            "title": lambda: do.titles.title(ANN, id, 1),
            "documents": lambda: _empty(do.documents.of(ANN, conversation=id)),
            "run": lambda: here.runs.open(ANN, run.id),
            "replay": lambda: here.runs.replayable(ANN, run.id),
            "cancel": lambda: here.runs.cancel(ANN, run.id),
            "share": lambda: do.shares.read(share.id),
            "shares": lambda: _hits(do.shares.find(ANN)),
            "share of": lambda: do.shares.of(ANN, id),
        }
        others: dict[str, Callable[[], Awaitable[Any]]] = {
            "rename": lambda: here.conversations.rename(ANN, id, "x"),
            "truncate": lambda: here.conversations.truncate(ANN, id, 1),
            "say": lambda: here.say("x", conversation=id),
            "note": lambda: here.turns.note(ANN, Say(text="x", conversation=id)),
            "put": lambda: do.trees.put(ANN, id, NewMessage(parts=(Text("x"),))),
            "edit": lambda: do.trees.edit(ANN, id, said.id, "x"),
            "remove": lambda: do.trees.remove(ANN, id, said.id),
            "fork": lambda: do.forks.fork(ANN, id, said.id, "path"),
            "duplicate": lambda: do.forks.duplicate(ANN, id),
            "archive": lambda: do.archive.put_away(ANN, id, True),
            "pin": lambda: do.archive.pin(ANN, id, True),
            "tag": lambda: do.tags.attach(ANN, id, ["x"]),
            "document": lambda: do.documents.add(ANN, filename="a.mp3", mime="", data=b"x", conversation=id),
            "share again": lambda: do.shares.create(ANN, id, target=said.id),
            "go on": lambda: do.shares.continue_(BOB, share.id),
        }
        here.time = START + 7 * DAY
        gone = [name for name, read in reads.items() if await _is_gone(read)]
        assert gone == []
        here.time += MS
        left = [name for name, read in (reads | others).items() if not await _is_gone(read)]
        assert left == []
        assert await here.store.count(Query(kind="message")) == 2  # all that time it was there
        assert await _is_gone(lambda: here.conversations.discard(ANN, id))
        assert await here.store.count(Query(kind="message")) == 0


async def _is_gone(read: Callable[[], Awaitable[Any]]) -> bool:
    """Not found, or not in the list."""
    try:
        return bool((await read()) == [])
    except NotFound:
        return True


async def _hits(found: Awaitable[tuple[Sequence[Any], object]]) -> list[Any]:
    return list((await found)[0])


async def _listed(page: Awaitable[Any]) -> list[Any]:
    return list((await page).conversations)


async def _empty(found: Awaitable[Sequence[Any]]) -> str:
    assert await found == []
    return "readable"


async def test_nothing_of_it_is_left() -> None:
    namer, gate = ScriptedProvider(["Sky"], name="namer"), asyncio.Event()
    speaker = ScriptedProvider(["one"], ["bob's"], ["two"], [gate, "three"])
    async with shelf(speaker, namer, retention=WEEK, titles=Titling(provider="namer")) as here:
        do = here.services

        async def furnish(who: Identity, secret: str) -> str:
            run = await here.say(f"{secret}?", who, images=[PNG])
            id = run.conversation
            await here.runs.result(who, run.id)
            assert await here.jobs.settled([f"title {id}"], 5)
            leaf = (await here.conversations.open(who, id)).leaf
            await do.shares.create(who, id)
            await do.shares.create(who, id, target=leaf)
            await do.documents.add(who, filename="a.mp3", mime="", data=secret.encode(), conversation=id)
            return id

        await furnish(BOB, "bobs")
        before = await here.held()
        here.time -= DAY
        id = await furnish(ANN, "anns")
        running = await here.say("more", conversation=id)
        assert here.runs.live.keys() == {running.id}
        kinds = {kind for kind, _ in await here.held() - before}
        own = {"conversation", "message", "file", "file_chunk", "run", "event", "share", "document"}
        assert kinds == {*own, "usage"} | {kind for kind, _ in before if kind.startswith("blob")}
        here.time = START + 6 * DAY + MS
        assert await here.keeper.purge() == 1
        assert {kind for kind, _ in await here.held() ^ before} == {"usage"}  # what was spent stays booked
        assert not here.runs.live
        assert speaker.open == 0


async def test_only_what_is_over_is_purged() -> None:
    async with shelf(retention=WEEK) as here:
        for n in range(5):
            here.time = START + n * DAY
            await here.say(f"{n}")
        here.time = START + 9 * DAY
        assert await here.keeper.purge() == 2
        assert [c.title for c in await here.conversations.browse(ANN, limit=10)] == ["4", "3", "2"]
        assert await here.store.count(Query(kind="conversation")) == 3
        here.time += MS
        assert await here.keeper.purge() == 1


async def test_one_in_which_something_is_said_at_the_last_moment_stays() -> None:
    """The keeper has found it, and waits for the end of its reply, when the user speaks again."""

    class Late(SlowStore):
        async def find(self, query: Query) -> Any:
            found = await super().find(query)
            if query.kind == "conversation" and query.order == ("expires",) and found:
                late = replace(await here.conversations.open(ANN, id), expires_at=here.time + DAY)
                await MemoryStore.apply(self, [conversation_put(late)])
            return found

    async with shelf(store=Late(), retention=WEEK) as here:
        id = (await here.turns.note(ANN, Say(text="hi"))).conversation
        here.time += 7 * DAY

        keeper = Keeper(here.store, here.conversations, WEEK, lambda: here.time + MS)
        assert await keeper.purge() == 0
        assert (await here.conversations.open(ANN, id)).expires_at == here.time + DAY


async def test_several_processes_at_once() -> None:
    store = SlowStore()
    async with shelf(store=store, retention=WEEK) as here, shelf(store=store, retention=WEEK) as there:
        for n in range(20):
            await here.turns.note(ANN, Say(text=f"{n}"))
        here.time = there.time = START + 8 * DAY
        purged = await asyncio.gather(*[node.keeper.purge() for node in (here, there) for _ in range(2)])
        assert sum(purged) == 20
        assert await store.count(Query(kind="conversation")) == 0
        assert await store.count(Query(kind="message")) == 0


async def test_one_that_cannot_be_deleted_keeps_none_of_the_others(capsys: pytest.CaptureFixture[str]) -> None:
    class Stubborn(SlowStore):
        async def apply(self, changes: Sequence[Change]) -> None:
            if any(isinstance(c, Delete) and c.id == bad for c in changes):
                raise OSError("disk full")
            await super().apply(changes)

    bad = ""
    async with shelf(store=Stubborn(), retention=WEEK) as here:
        ids = [(await here.turns.note(ANN, Say(text=f"{n} marmalade"))).conversation for n in range(3)]
        here.time += 8 * DAY
        bad = ids[1]
        assert await here.keeper.purge() == 2
        bad = ""
        assert await here.keeper.purge() == 1
        logged = capsys.readouterr().err
        assert "retention.failed" in logged
        assert "marmalade" not in logged


async def test_those_from_before_there_was_a_retention_get_a_deadline() -> None:
    store = SlowStore()
    async with shelf(store=store, retention=Retention(temporary=None)) as before:
        old = [(await before.turns.note(ANN, Say(text=f"{n}"))).conversation for n in range(3)]
        fleeting = await before.temporary()
        before.time += 3 * DAY
        young = (await before.turns.note(ANN, Say(text="young"))).conversation
        empty = (await before.conversations.create(ANN, channel="web")).id
        assert await before.keeper.purge() == 0
        assert await before.until(young) is None
    async with shelf(store=store, retention=Retention(temporary=DAY, conversations=7 * DAY)) as after:
        after.time = START + DAY
        assert await after.keeper.purge() == 0
        assert {await after.until(id) for id in old} == {START + 7 * DAY}
        assert await after.until(fleeting) == START + DAY
        assert await after.until(young) == await after.until(empty) == START + 10 * DAY
        opened = await after.conversations.open(ANN, young)
        assert opened.updated_at == START + 3 * DAY
        after.time = START + 8 * DAY
        commits = len(store.commits)
        assert await after.keeper.purge() == 4
        assert len(store.commits) == commits + 4
        after.time = START + 11 * DAY
        assert await after.keeper.purge() == 2


async def test_long_lists_are_gone_through_page_by_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backchat.services.retention.PAGE", 3)
    async with shelf() as here:
        for n in range(9):
            await here.store.apply([conversation_put(made(f"{n}", START))])
        keeper = Keeper(here.store, here.conversations, WEEK, here.now)
        here.time = START + 7 * DAY
        assert await keeper.purge() == 0
        here.time += MS
        assert await keeper.purge() == 9


async def test_it_works_in_the_background_and_again_after_a_failure() -> None:
    class Telling(SlowStore):
        """Says what became of the next deletion of a conversation."""

        def __init__(self) -> None:
            super().__init__()
            self.outcome: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

        async def apply(self, changes: Sequence[Change]) -> None:
            deletes, well = any(isinstance(c, Delete) and c.kind == "conversation" for c in changes), False
            try:
                await super().apply(changes)
                well = True
            finally:
                if deletes and not self.outcome.done():
                    self.outcome.set_result(well)

    async with shelf(store=(store := Telling()), retention=WEEK) as here:
        here.keeper = Keeper(store, here.conversations, WEEK, here.now, pause=0.001)
        await here.turns.note(ANN, Say(text="one"))
        here.time += 8 * DAY
        async with asyncio.timeout(5), here.keeper:
            assert await store.outcome
            assert await store.count(Query(kind="conversation")) == 0
            store.broken, store.outcome = True, asyncio.get_running_loop().create_future()
            await MemoryStore.apply(store, [conversation_put(made("two", START, START + DAY))])
            assert not await store.outcome
            store.broken, store.outcome = False, asyncio.get_running_loop().create_future()
            assert await store.outcome
            assert await store.count(Query(kind="conversation")) == 0


async def test_an_assistant_is_deleted_with_what_is_over() -> None:
    async with shelf(retention=WEEK) as here:
        assistant = await here.services.assistants.create(ANN, name="Helper")
        ids = [(await here.turns.note(ANN, Say(text="hi", assistant=assistant.id))).conversation for _ in range(2)]
        here.time += DAY
        await here.turns.note(ANN, Say(text="still here", conversation=ids[0]))
        here.time += 6 * DAY + MS
        await here.services.assistants.discard(ANN, assistant.id)
        assert await here.store.count(Query(kind="conversation")) == 0
        assert await here.store.count(Query(kind="message")) == 0


async def test_a_key_of_a_request_does_not_lead_to_what_is_over() -> None:
    async with shelf(retention=Retention(conversations=timedelta(hours=1))) as here:
        once = Once("key", "same")
        run = await here.say("hi", once=once)
        await here.runs.result(ANN, run.id)
        assert (await here.say("hi", once=once)).id == run.id
        here.time += timedelta(hours=1, milliseconds=1)
        with pytest.raises(NotFound):
            await here.say("hi", once=once)


async def test_a_document_goes_out_of_sight_with_its_conversation() -> None:
    async with shelf(retention=WEEK) as here:
        do = here.services.documents
        id = (await here.turns.note(ANN, Say(text="hi"))).conversation
        document = (await do.add(ANN, filename="a.mp3", mime="", data=b"x", conversation=id)).id
        here.time += 7 * DAY
        assert await do.content(ANN, document) == b"x"
        here.time += MS
        for read in (do.open, do.content, do.discard):
            with pytest.raises(NotFound):
                await read(ANN, document)


async def test_in_sqlite(tmp_path: Path) -> None:
    async with opened(tmp_path / "own.db", KINDS) as store:
        await purge_in(store)


async def purge_in(store: RecordStore) -> None:
    async with shelf(retention=WEEK) as here:
        conversations = replace(here.conversations, store=store)
        await store.apply([conversation_put(made(f"{n}", START, START + n * DAY)) for n in range(1, 4)])
        await store.apply([conversation_put(made("for ever", START - 5 * DAY))])
        keeper = Keeper(store, conversations, WEEK, here.now)
        here.time = START + 2 * DAY
        assert await keeper.purge() == 1
        here.time += MS
        assert await keeper.purge() == 2
        assert [r.id for r in await store.find(Query(kind="conversation"))] == ["3"]


def made(id: str, updated: datetime, expires: datetime | None = None) -> Conversation:
    return Conversation(id=id, owner="ann", title=id, created_at=updated, updated_at=updated, expires_at=expires)
