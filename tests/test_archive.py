"""A user's conversations as a collection, over the store in memory and over SQLite."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from archive_made import ANN, BOB, Shelf, at, made, shelf
from backchat.domain.conversation import Conversation
from backchat.domain.document import Document, DocumentStatus
from backchat.domain.message import Text
from backchat.errors import InvalidInput, NotFound, NotOwned
from backchat.ports.storage import Change, Put, Query, Record
from backchat.services import archive as archiving
from backchat.services import list_search
from backchat.services.archive import Order, Wanted
from backchat.services.document_records import document_put
from backchat.services.kinds import KINDS
from backchat.services.saying import Say
from backchat.services.stored import CONVERSATION, conversation_put, message_of, message_put
from backchat.testing.memory_store import MemoryStore
from backchat.testing.provider import ScriptedProvider
from backchat_sqlite.pages import find_statement
from backchat_sqlite.tables import Table
from nodes import SlowStore, node
from sqlite_files import query


@pytest.fixture(params=["memory", "sqlite"])
async def it(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Shelf]:
    async with shelf(tmp_path if request.param == "sqlite" else None) as made:
        yield made


class TestLists:
    async def test_order_and_its_ties(self, it: Shelf) -> None:
        await it.add("a", title="x", created_at=at(1), updated_at=at(9))
        await it.add("b", title="B", created_at=at(2), updated_at=at(8.5))
        await it.add("c", title="x", created_at=at(2), updated_at=at(8))
        await it.add("d", title="", created_at=at(1), updated_at=at(9))
        await it.add("e", title="b", created_at=at(3), updated_at=at(8))
        expected = {
            "updated": ["d", "a", "b", "e", "c"],
            "created": ["e", "b", "c", "d", "a"],
            "title": ["a", "c", "e", "b", "d"],
        }
        for order, ids in expected.items():
            assert await it.find(order=order) == ids
            assert await it.find(order=order, descending=False) == ids[::-1]
            for limit in (1, 2, 4, 5):
                assert await it.all(order=order, limit=limit) == ids
                assert await it.all(order=order, limit=limit, descending=False) == ids[::-1]

    async def test_archived_ones_by_when_they_were_put_away(self, it: Shelf) -> None:
        await it.add("a", archived_at=at(5), created_at=at(1))
        await it.add("b", archived_at=at(5), created_at=at(2))
        await it.add("c", archived_at=at(6), created_at=at(0), updated_at=at(1))
        await it.add("d", updated_at=at(9))
        assert await it.find(order="archived", archived=True) == ["c", "b", "a"]
        assert await it.all(order="archived", archived=True, descending=False, limit=1) == ["a", "b", "c"]
        assert await it.find(archived=True) == ["c", "b", "a"]
        assert await it.find(order="archived") == ["d"]

    async def test_what_is_in_no_list(self, it: Shelf) -> None:
        await it.add("a", "tea", title="tea")
        await it.add("b", "tea", title="tea", temporary=True, expires_at=at(2000))
        await it.add("c", "tea", title="tea", expires_at=at(1000))
        await it.add("d", "tea", title="tea", owner="bob")
        for words in (None, "tea"):
            it.time = at(1000)
            assert await it.find(words=words) == ["c", "a"]
            assert await it.find(BOB, words=words) == ["d"]
            it.time = at(1000.001)
            assert await it.find(words=words) == ["a"]

    async def test_filters(self, it: Shelf) -> None:
        await it.add("a", tags=("x",), pinned=True)
        await it.add("b", tags=("x", "y"))
        await it.add("c", tags=("X",), pinned=True)
        await it.add("d", tags=("z",), archived_at=at(5))
        assert await it.find(tags=("x",)) == ["b", "a"]
        assert await it.find(tags=["y", "X", "none"]) == ["c", "b"]
        assert await it.find(tags=["z"]) == []
        assert await it.find(tags=["z"], archived=True) == ["d"]
        assert await it.find(pinned=True) == ["c", "a"]
        assert await it.find(pinned=True, tags=["x"]) == ["a"]
        assert await it.find() == ["c", "b", "a"]

    async def test_the_last_page_says_so(self, it: Shelf) -> None:
        for n in range(6):
            await it.add(f"c{n}", "tea")
        for words in (None, "tea"):
            assert [len(p.conversations) async for p in it.pages(limit=3, words=words)] == [3, 3]
            assert [len(p.conversations) async for p in it.pages(limit=4, words=words)] == [4, 2]
            assert [len(p.conversations) async for p in it.pages(limit=6, words=words)] == [6]
        assert [len(p.conversations) async for p in it.pages(tags=["none"])] == [0]

    async def test_a_place_belongs_to_its_order(self, it: Shelf) -> None:
        for n in range(4):
            await it.add(f"c{n}", "tea", title=f"t{n}")
        place = (await it.archive.find(ANN, Wanted(order="title", limit=2))).after
        assert place is not None
        assert await it.find(order="title", after=place) == ["c1", "c0"]
        wrong: Sequence[Any] = [
            {"order": "title", "descending": False},
            {"order": "updated"},
            {"order": "created"},
            *[{"order": "title", "after": bad} for bad in ((), place[:-1], (*place, "x"), place[2:], ("title",))],
            *[
                {"order": "title", "after": (*place[:n], v, *place[n + 1 :])}
                for n in (2, 3, 4)
                for v in (1, None, True)
            ],
        ]
        for more in wrong:
            for words in (None, "tea"):
                with pytest.raises(InvalidInput) as refused:
                    await it.archive.find(ANN, Wanted(**{"after": place, "words": words, **more}))
                assert refused.value.field == "query.cursor"

    @pytest.mark.parametrize("order", ["updated", "created", "title", "archived"])
    @pytest.mark.parametrize("many", [False, True])
    async def test_pages_come_from_an_index(self, tmp_path: Path, order: Order, many: bool) -> None:
        """Of however many conversations, no more are read and sorted than are shown, and tied with these."""
        asked: list[Query] = []

        class Listening(MemoryStore):
            async def find(self, query: Query) -> Sequence[Record]:
                asked.append(query)
                return await super().find(query)

        it = Shelf(Listening(KINDS))
        for n in range(3):
            await it.add(f"c{n}")
        assert len(await it.all(order=order, limit=1)) == 3
        page = asked[-1]
        if many:  # as a search that has found very many asks
            page = replace(page, where=(*page.where, ("id", [f"c{n}" for n in range(1000)])))
        async with shelf(tmp_path):
            statement = find_statement(Table(CONVERSATION), page)
            assert statement is not None
            rows = await query(tmp_path / "backchat.db", f"EXPLAIN QUERY PLAN {statement.sql}", *statement.values)
        plan = " ".join(row[3] for row in rows)
        assert "USING INDEX conversation(owner,archived," in plan
        assert "TEMP B-TREE FOR ORDER BY" not in plan


class TestSearch:
    async def test_words_of_a_title_or_of_one_message(self, it: Shelf) -> None:
        await it.add("a", "green tea", "with lemon", title="Drinks")
        await it.add("b", "coffee", title="Tea in the green salon")
        await it.add("c", "teapots", "GREEN!", title="Pots")
        await it.add("d", "greenish teapot", title="Pots", archived_at=at(1))
        await it.add("e", "green tea", title="Theirs", owner="bob")
        assert await it.find(words="tea green") == ["b", "a"]
        assert await it.find(words="tea") == ["c", "b", "a"]
        assert await it.find(words="tea", archived=True) == ["d"]
        assert await it.find(words="lemon") == ["a"]
        assert await it.find(words="lemon drinks") == []
        assert await it.find(words=" \t") == await it.find(words="") == ["c", "b", "a"]
        assert await it.find(words="***") == []
        assert await it.find(BOB, words="tea") == ["e"]

    async def test_what_is_written_is_found_at_once(self, it: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
        for far in (16, 0):
            monkeypatch.setattr(list_search, "FAR", far)
            id = f"c{far}"
            await it.add(id, "alpha", title="one")
            assert await it.find(words="alpha") == await it.find(words="one") == [id]
            await it.conversations.rename(ANN, id, "two")
            assert (await it.find(words="one"), await it.find(words="two")) == ([], [id])
            record = await it.store.get("message", f"{id}-1")
            assert record is not None
            changed = replace(message_of(record), parts=(Text("beta"),))
            await it.store.apply([message_put(changed)])
            assert (await it.find(words="alpha"), await it.find(words="beta")) == ([], [id])
            await it.conversations.discard(ANN, id)
            assert (await it.find(words="two"), await it.find(words="beta")) == ([], [])

    @pytest.mark.parametrize(
        "way",
        [
            {},
            {"VOLUME": 0},
            {"VOLUME": 60},
            {"LOOK": 3},
            {"LEAST": 1},
            {"LEAST": 1, "LOOK": 2},
            {"FAR": 0},
            {"FAR": 0, "SOME": 3},
            {"FAR": 0, "SOME": 3, "DEEP": 0},
            {"LEAST": 1, "FAR": 1, "SOME": 3, "DEEP": 2},
        ],
        ids=str,
    )
    async def test_both_ways_find_the_same(
        self, it: Shelf, monkeypatch: pytest.MonkeyPatch, way: dict[str, int]
    ) -> None:
        for name, value in way.items():
            monkeypatch.setattr(list_search, name, value)
        titles = ["tea", "cup", "tea cup", ""]
        changes: list[Change] = []
        texts = {}
        for n in range(60):
            said = [f"word{n % 4} m{m} {'rare' if n * m == 118 else 'often'}" for m in range(n % 7)]
            texts[f"c{n:02}"] = [titles[n % 4], *said]
            tags = ("x",) if n % 3 else ()
            changes += made(f"c{n:02}", *said, title=titles[n % 4], updated_at=at(n % 9), tags=tags)[0]
        await it.store.apply(changes)
        by_time = sorted(texts, key=lambda id: (at(int(id[1:]) % 9), id), reverse=True)
        for words in ("tea", "cup tea", "m5", "often word2", "rare", "rare m2", "wor m4", "none", "o"):
            have = [id for id in by_time if any(all(_begins(w, text) for w in words.split()) for text in texts[id])]
            assert await it.all(words=words, limit=4) == have
            assert await it.all(words=words, limit=25, descending=False) == have[::-1]
            assert await it.all(words=words, limit=4, tags=["x"]) == [id for id in have if int(id[1:]) % 3]

    async def test_no_more_is_looked_through_than_is_worth_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        looked = 0

        class Listening(MemoryStore):
            async def find(self, query: Query) -> Sequence[Record]:
                nonlocal looked
                page = await super().find(query)
                looked += len(page) if query.kind == "conversation" and "id" not in dict(query.where) else 0
                return page

        it = Shelf(Listening(KINDS))
        for n in range(300):
            await it.add(f"c{n:03}", "early" if n < 10 else "late", updated_at=at(n))
        assert len(await it.find(words="early", limit=10)) == 10
        assert looked <= list_search.LEAST
        monkeypatch.setattr(list_search, "SOME", 3)
        looked = 0
        assert len(await it.find(words="early", limit=10)) == 10
        assert 8 * 11 <= looked < 8 * 11 + 3 * list_search.LEAST

    async def test_a_long_conversation_on_top(self, it: Shelf) -> None:
        await it.add("long", *[f"line {n} here" for n in range(120)], updated_at=at(9))
        for n in range(40):
            await it.add(f"c{n:02}", f"short {n} here", updated_at=at(1))
        assert (await it.find(words="here", limit=2))[0] == "long"
        assert await it.find(words="line 119") == ["long"]
        assert await it.find(words="11") == ["long", "c11"]


class TestPutAway:
    async def test_there_and_back(self, it: Shelf) -> None:
        await it.add("a", updated_at=at(3))
        it.time = at(1001)
        first = await it.archive.put_away(ANN, "a", True)
        assert (first.archived_at, first.updated_at) == (at(1001), at(3))
        it.time = at(1002)
        again = await it.archive.put_away(ANN, "a", True)
        assert again == first == await it.conversations.open(ANN, "a")
        assert (await it.find(), await it.find(archived=True)) == ([], ["a"])
        back = await it.archive.put_away(ANN, "a", False)
        assert (back.archived_at, back.updated_at) == (None, at(3))
        assert back == await it.conversations.open(ANN, "a")
        with pytest.raises(NotOwned):
            await it.archive.put_away(BOB, "a", True)
        with pytest.raises(NotFound):
            await it.archive.put_away(ANN, "none", True)

    async def test_pins(self, it: Shelf) -> None:
        await it.add("a", updated_at=at(3))
        pinned = await it.archive.pin(ANN, "a", True)
        assert (pinned.pinned, pinned.updated_at) == (True, at(3))
        assert await it.find(pinned=True) == ["a"]
        assert await it.archive.pin(ANN, "a", True) == pinned == await it.conversations.open(ANN, "a")
        assert not (await it.archive.pin(ANN, "a", False)).pinned
        assert await it.find(pinned=True) == []
        with pytest.raises(NotOwned):
            await it.archive.pin(BOB, "a", True)

    async def test_everything(self, it: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(archiving, "BATCH", 3)
        for n in range(10):
            await it.add(f"c{n}", updated_at=at(n % 2))
        await it.add("old", archived_at=at(5))
        await it.add("theirs", owner="bob")
        await it.add("brief", temporary=True)
        assert await it.archive.put_all_away(ANN) == 10
        assert await it.find() == []
        assert await it.find(BOB) == ["theirs"]
        there = (await it.archive.find(ANN, Wanted(archived=True))).conversations
        assert {c.id: c.archived_at for c in there} == {**{f"c{n}": at(1000) for n in range(10)}, "old": at(5)}
        assert {c.updated_at for c in there if c.id != "old"} == {at(0), at(1)}
        assert await it.archive.put_all_away(ANN) == 0

    async def test_everything_while_others_write(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(archiving, "BATCH", 4)
        store = SlowStore()
        it = Shelf(store)
        for n in range(12):
            await it.add(f"c{n:02}", updated_at=at(n))
        done = asyncio.Event()
        renames = 0

        async def rename() -> None:
            nonlocal renames
            while not done.is_set():
                await it.conversations.rename(ANN, f"c{renames % 12:02}", f"name {renames}")
                renames += 1

        renaming = asyncio.ensure_future(rename())
        assert await it.archive.put_all_away(ANN) == 12
        done.set()
        await renaming
        assert renames
        there = (await it.archive.find(ANN, Wanted(archived=True))).conversations
        assert len(there) == 12
        assert {c.title for c in there} >= {f"name {n}" for n in range(max(0, renames - 12), renames)}


class TestDiscardAll:
    async def test_nothing_is_left(self, it: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(archiving, "BATCH", 3)
        for n in range(7):
            await it.add(f"c{n}", "tea", "cup", title="tea")
        await it.add("old", archived_at=at(5))
        await it.add("brief", "tea", temporary=True, expires_at=at(2000))
        await it.add("gone", "tea", expires_at=at(999))
        await it.add("theirs", "tea", owner="bob")
        shares = [
            Put("share", f"s{c}", {"owner": o, "conversation": c}, 0) for c, o in (("c1", "ann"), ("theirs", "bob"))
        ]
        pieces = [Put(kind, f"{kind}1", {"conversation": "c2", "seq": 1}, 0) for kind in ("file", "file_chunk", "run")]
        event = Put("event", "run1.00000001", {"run": "run1", "t": "x"}, 0)
        await it.store.apply([*shares, *pieces, event])
        gone = await it.archive.discard_all(ANN)
        assert sorted(c.id for c in gone) == ["brief", *[f"c{n}" for n in range(7)], "old"]
        left = {kind.name: [r.id for r in await it.store.find(Query(kind=kind.name))] for kind in KINDS}
        theirs = {"conversation": ["theirs"], "message": ["theirs-1"], "share": ["stheirs"]}
        assert {kind: ids for kind, ids in left.items() if ids} == theirs
        assert await it.find(words="tea") == []
        assert await it.archive.discard_all(ANN) == []

    async def test_what_begins_meanwhile_goes_too(self) -> None:
        late: list[Change] = []

        class Interfering(MemoryStore):
            async def find(self, query: Query) -> Sequence[Record]:
                found = await super().find(query)
                if query.kind == "run" and late:
                    changes = [*late]
                    late.clear()
                    await self.apply(changes)
                return found

        it = Shelf(Interfering(KINDS))
        conversation = await it.add("a", "tea")
        late += [conversation_put(replace(conversation, title="new", version=1))]
        late += [
            Put("run", "run1", {"conversation": "a", "seq": 2}, 0),
            Put("event", "run1.00000001", {"run": "run1"}, 0),
        ]
        assert [c.title for c in await it.archive.discard_all(ANN)] == ["new"]
        assert [await it.store.count(Query(kind=kind.name)) for kind in KINDS] == [0] * len(KINDS)

    async def test_documents_go_too_and_so_does_one_that_two_have(self) -> None:
        async with node(SlowStore()) as n:
            do = n.services.documents
            for number in range(3):
                id = (await n.turns.note(ANN, Say(text="hi"))).conversation
                for data in (b"the same", b"%d" % number):
                    await do.add(ANN, filename="a.mp3", mime="", data=data, conversation=id)
            assert await n.store.count(Query(kind="blob")) == 4
            async with asyncio.timeout(10):
                assert len(await n.services.archive.discard_all(ANN)) == 3
            left = {kind.name: await n.store.count(Query(kind=kind.name)) for kind in KINDS}
            assert {kind for kind, count in left.items() if count} <= {"worker", "cancel"}

    async def test_only_what_is_being_read_is_stopped(self) -> None:
        it, stopped = Shelf(MemoryStore(KINDS)), []

        async def attached(conversation: Conversation) -> None:
            stopped.append(conversation.id)

        conversations = replace(it.conversations, unread=attached)
        statuses: list[DocumentStatus] = ["pending", "processing", "indexed", "failed"]
        for n, status in enumerate(statuses):
            await it.add(f"c{n}", assistant="helper" if n % 2 else None)
            fields: dict[str, Any] = {"owner": "ann", "filename": "a", "mime": "", "size": 1, "sha256": ""}
            document = Document(
                id=f"d{n}", conversation=f"c{n}", created_at=at(1), updated_at=at(1), status=status, **fields
            )
            await it.store.apply([document_put(document)])
        await it.add("none")
        assert len(await replace(it.archive, conversations=conversations).discard_all(ANN)) == 5
        assert sorted(stopped) == ["c0", "c1"]
        assert await it.store.count(Query(kind="document")) == 0

    async def test_a_running_reply_is_stopped(self) -> None:
        held = asyncio.Event()
        async with node(SlowStore(), ScriptedProvider(["ok"], ["Hel", held, "lo"])) as n:
            await n.runs.result(ANN, (await n.say("hello")).id)
            running = await n.say("more")
            gone = await n.services.archive.discard_all(ANN)
            assert len(gone) == 2
            assert running.conversation in {c.id for c in gone}
            assert running.id not in n.runs.live
            left = {kind.name: await n.store.count(Query(kind=kind.name)) for kind in KINDS}
            stays = {"worker", "idempotency", "cancel", "usage", "spending"}
            assert {kind for kind, count in left.items() if count} <= stays


def _begins(word: str, text: str) -> bool:
    return any(w.startswith(word) for w in text.split())
