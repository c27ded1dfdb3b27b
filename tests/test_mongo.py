"""What is peculiar to the MongoDB backend: what it refuses, its indexes, its layout, what it asks the server for."""

from __future__ import annotations

import asyncio
import gc
import os
import shutil
import sys
import threading
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
from pymongo import AsyncMongoClient, monitoring
from pymongo.errors import OperationFailure

from backchat.config.opening import opened
from backchat.config.sections import Selected
from backchat.errors import ConfigError, TooLarge
from backchat.ports.storage import Delete, Kind, Purge, Put, Query, Range, RecordStore, Require
from backchat.testing.memory_store import MemoryStore
from backchat.testing.records import ANN, EVENT, LABEL, NOTE, event, ids, ignore, note
from backchat_mongo import documents, drivers, shapes
from backchat_mongo.component import MONGO
from backchat_mongo.layout import layout_of
from backchat_mongo.preparing import check_server
from bench.mongod import Mongod, free_port, roomy
from mongo_place import settings_of

SECRET = "hunter2-and-more"


@pytest.fixture
async def raw(mongo_url: str) -> AsyncGenerator[Any, None]:
    """A client of the tests' own, without any promises."""
    async with AsyncMongoClient[Any](mongo_url) as client:
        yield client


@pytest.fixture
async def settings(mongo_url: str, raw: Any) -> AsyncGenerator[Any, None]:
    """Of a database that is not there before, nor afterwards."""
    found = settings_of(mongo_url, f"peculiar{time.monotonic_ns()}")
    yield found
    await raw.drop_database(found["database"])


def opening(settings: Any, *kinds: Kind) -> Any:
    return MONGO.open(settings, kinds, ignore)


async def refusal(settings: Any, *kinds: Kind) -> str:
    """What opening is refused with."""
    with pytest.raises(ConfigError) as refused:
        async with opening(settings, *kinds):
            pass
    assert refused.value.__cause__ is None  # which would end in a log
    assert refused.value.__suppress_context__ or refused.value.__context__ is None
    return str(refused.value)


@pytest.fixture(scope="module")
def standalone() -> Iterator[Mongod]:
    server = Mongod(roomy("backchat-standalone-"), replica_set=None)
    try:
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(server.directory)


class TestRefusals:
    @pytest.mark.parametrize("driver", ["pymongo", "motor"])
    async def test_a_standalone_server(self, standalone: Mongod, driver: str) -> None:
        told = await refusal(settings_of(standalone.url, "refused", driver), LABEL)
        assert "standalone" in told
        assert "`mongod --replSet rs0 ...`" in told
        initiate = f'rs.initiate({{_id: "rs0", members: [{{_id: 0, host: "{standalone.address}"}}]}})'
        assert f"`mongosh --eval '{initiate}'` once" in told
        manual = (Path(__file__).parent.parent / "docs" / "operations.md").read_text("utf-8")
        assert f"mongosh --eval '{initiate.replace(standalone.address, '127.0.0.1:27017')}'\n" in manual
        assert "\n" not in told

    async def test_a_standalone_server_that_should_be_a_replica_set(self, standalone: Mongod) -> None:
        told = await refusal(settings_of(f"{standalone.url}?replicaSet=rs0", "refused", timeout=1), LABEL)
        assert "replica set" in told

    @pytest.mark.parametrize("driver", ["pymongo", "motor"])
    async def test_a_wrong_password(self, mongo_url: str, driver: str) -> None:
        url = mongo_url.replace("mongodb://", f"mongodb://someone:{SECRET}@")
        told = await refusal(settings_of(url, "refused", driver), LABEL)
        assert "does not accept the user name and the password" in told
        assert SECRET not in told

    async def test_a_user_without_the_right(self, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        async def refuse(*_: object) -> None:
            raise OperationFailure("not authorized", 13, {"code": 13})

        monkeypatch.setattr(shapes.Shapes, "read", refuse)
        told = await refusal(settings, LABEL)
        assert settings["database"] in told
        assert "readWrite" in told

    @pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")  # PyMongo's monitors, ended while they connect
    @pytest.mark.parametrize("driver", ["pymongo", "motor"])
    async def test_nobody_there(self, driver: str) -> None:
        url = f"mongodb://someone:{SECRET}@127.0.0.1:{free_port()}/"
        begun = time.monotonic()
        told = await refusal(settings_of(url, "refused", driver, timeout=1), LABEL)
        assert time.monotonic() - begun < 10
        assert "within 1 seconds" in told
        assert SECRET not in told
        gc.collect()

    @pytest.mark.parametrize("driver", ["pymongo", "motor"])
    @pytest.mark.parametrize(
        "url",
        [
            f"mongodb://someone:{SECRET}@@host/",
            f"mongodb://host:{SECRET}/",
            f"mongodb://someone:{SECRET}@host/?tls=perhaps",
            f"mongodb://someone:{SECRET}@host/?tlsCAFile=/nowhere/{SECRET}&tls=true",
            f"mongodb://:{SECRET}",
        ],
    )
    async def test_a_url_that_is_none(self, url: str, driver: str) -> None:
        told = await refusal(settings_of(url, "refused", driver, timeout=1), LABEL)
        assert "url" in told
        assert SECRET not in told

    @pytest.mark.parametrize(
        ("hello", "told"),
        [
            ({"maxWireVersion": 17, "setName": "rs0"}, None),
            ({"maxWireVersion": 13, "msg": "isdbgrid"}, None),
            ({"maxWireVersion": 12, "setName": "rs0"}, "older than MongoDB 5.0"),
            ({"maxWireVersion": 17}, "standalone"),
        ],
    )
    def test_what_servers_say_of_themselves(self, hello: Any, told: str | None) -> None:
        if told is None:
            check_server(hello, "there:1")
        else:
            with pytest.raises(ConfigError, match=told):
                check_server(hello, "there:1")

    @pytest.mark.parametrize(("driver", "extra"), [("pymongo", "backchat[mongo]"), ("motor", "backchat[motor]")])
    async def test_a_driver_that_is_not_installed(
        self, mongo_url: str, driver: str, extra: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        missing = {"pymongo": ("backchat_mongo.store", "pymongo"), "motor": ("motor", "motor.motor_asyncio")}[driver]
        for name in missing:
            monkeypatch.setitem(sys.modules, name, None)
        selected = Selected(
            path="storage", name="mongo", component=MONGO, settings=settings_of(mongo_url, "refused", driver)
        )
        with pytest.raises(ConfigError) as refused:
            async with opened(selected, [LABEL], ignore):
                pass
        assert f"pip install '{extra}'" in str(refused.value)
        assert str(refused.value).startswith("storage: ")


class TestIndexes:
    async def test_they_are_made_and_no_others(self, settings: Any, raw: Any) -> None:
        async with opening(settings, NOTE, LABEL, EVENT):
            pass
        made = await raw[settings["database"]]["note"].index_information()
        assert {name: [key for key, _ in index["key"]] for name, index in made.items()} == {
            "_id_": ["_id"],
            "backchat-unique-owner-code": ["owner", "code", "_loose-owner-code"],
            "backchat-order-owner-day": ["owner", "day", "_id"],
            "backchat-order-owner-weight": ["owner", "weight", "_id"],
            "backchat-list-tags": ["tags", "owner", "_id"],
            "backchat-list-readers": ["readers", "owner", "_id"],
            "backchat-words-owner": ["owner", "_words", "_id"],
            "backchat-words-shelf": ["shelf", "_words", "_id"],
        }
        assert [name for name, index in made.items() if index.get("unique")] == ["backchat-unique-owner-code"]
        # One begins with the partition, even if the kind asks for none.
        assert (await raw[settings["database"]]["event"].index_information())["backchat-order-run"]["key"] == [
            ("run", 1),
            ("_id", 1),
        ]

    async def test_a_partition_is_the_first_field_of_an_index_of_every_kind(self) -> None:
        from backchat.services.kinds import KINDS

        for kind in KINDS:
            indexes = layout_of(kind).indexes
            if kind.partition:
                assert any(index.keys[0] == kind.partition for index in indexes), kind.name
                assert all(index.keys[0] == kind.partition for index in indexes if index.unique), kind.name
            assert len({index.name for index in indexes}) == len(indexes)

    @pytest.mark.parametrize(
        ("keys", "options"),
        [
            (["owner", "weight", "_id"], {}),
            (["day", "owner", "_id"], {}),
            (["owner", "day", "_id"], {"unique": True}),
            (["owner", "day", "_id"], {"sparse": True}),
            (["owner", "day", "_id"], {"partialFilterExpression": {"day": {"$gt": 1}}}),
        ],
    )
    async def test_one_that_is_not_as_declared(self, settings: Any, raw: Any, keys: Any, options: Any) -> None:
        name = "backchat-order-owner-day"
        collection = raw[settings["database"]]["note"]
        await collection.create_index([(key, 1) for key in keys], name=name, **options)
        before = await collection.index_information()
        told = await refusal(settings, NOTE)
        assert f"note: the index {name} " in told
        command = f'db.getCollection("note").dropIndex("{name}")'
        assert command in told
        assert await collection.index_information() == before  # nothing is done behind anybody's back
        await collection.drop_index(name)
        async with opening(settings, NOTE):
            pass
        assert [k for k, _ in (await collection.index_information())[name]["key"]] == ["owner", "day", "_id"]

    async def test_those_of_others_are_left_alone(self, settings: Any, raw: Any) -> None:
        collection = raw[settings["database"]]["note"]
        await collection.create_index([("shelf", 1), ("day", -1)], name="mine", sparse=True)
        async with opening(settings, NOTE) as store:
            await store.apply([note(1)])
        information = await collection.index_information()
        assert information["mine"]["sparse"] is True
        assert len(information) == 9

    async def test_another_name_for_the_same_keys(self, settings: Any, raw: Any) -> None:
        collection = raw[settings["database"]]["note"]
        await collection.create_index([("owner", 1), ("day", 1), ("_id", 1)], name="mine")
        told = await refusal(settings, NOTE)
        assert told.startswith("note: ")
        assert "backchat-order-owner-day" in told

    async def test_records_that_share_what_is_unique_now(self, settings: Any) -> None:
        free = replace(LABEL, unique=())
        async with opening(settings, free) as store:
            await store.apply([Put("label", n, {"name": "same"}) for n in ("a", "b")])
        assert "records of label share name, which is now unique" in await refusal(settings, LABEL)
        async with opening(settings, free) as store:
            await store.apply([Delete("label", "b"), Put("label", "c", {"name": None}), Put("label", "d", {})])
        async with opening(settings, LABEL) as store:
            assert await ids(store, kind="label") == ["a", "c", "d"]

    async def test_one_that_makes_unique_what_no_longer_is(self, settings: Any, raw: Any) -> None:
        """Whether an older version still needs it, only the operator knows."""
        async with opening(settings, replace(LABEL, unique=(("name",), ("said",)), fields=("name", "said"))) as store:
            await store.apply([Put("label", "a", {"name": "a", "said": "same"})])
        told = await refusal(settings, LABEL)
        assert told.startswith("label: the index backchat-unique-said makes unique what may be there more than once")
        assert 'db.getCollection("label").dropIndex("backchat-unique-said")' in told
        await raw[settings["database"]]["label"].drop_index("backchat-unique-said")
        async with opening(settings, LABEL) as store:
            await store.apply([Put("label", "b", {"name": "b", "said": "same"})])


class TestLayout:
    async def test_what_is_stored(self, settings: Any, raw: Any) -> None:
        async with opening(settings, NOTE) as store:
            doc = {
                "owner": "ann",
                "pinned": True,
                "weight": float("inf"),
                "tags": ["a"],
                "title": "Tea, tea!",
                "x": [1],
            }
            await store.apply([Put("note", "n1", doc)])
            await store.apply([Put("note", "n2", {"owner": "ann", "code": "c"}), Put("note", "n3", {"owner": "ann"})])
            for n in ("n2", "n3"):
                await store.apply([Put("note", n, doc | {"code": n}, 1)])
        found = {row["_id"]: row async for row in raw[settings["database"]]["note"].find()}
        names = {"_id", "_version", *layout_of(NOTE).names}
        assert [set(row) - {"_required"} for row in found.values()] == [names] * 3
        one = found["n1"]
        assert (one["_doc"], one["_words"], one["pinned"], one["tags"], one["readers"]) == (
            '{"owner":"ann","pinned":true,"weight":null,"tags":["a"],"title":"Tea, tea!","x":[1]}',
            ["tea"],
            1,
            ["a"],
            [],
        )
        assert (one["weight"], one["day"]) == (None, None)
        assert [found[n]["_loose-owner-code"] for n in ("n1", "n2", "n3")] == ["n1", None, None]

    async def test_a_newer_one_is_refused(self, settings: Any, raw: Any) -> None:
        async with opening(settings, LABEL):
            pass
        book = raw[settings["database"]]["_backchat"]
        await book.update_one({"_id": "_layout"}, {"$inc": {"version": 1}})
        told = await refusal(settings, LABEL, NOTE)
        assert told == "the database has layout 2, this version of backchat knows 1; use a newer one"
        assert "note" not in await raw[settings["database"]].list_collection_names()

    async def test_several_open_an_empty_database_at_once(self, settings: Any) -> None:
        async def open_and_write(n: int) -> None:
            driven = settings | {"driver": "motor" if n % 2 else "pymongo"}
            async with opening(driven, NOTE, LABEL, EVENT) as store:
                await store.apply([note(n)])

        await asyncio.gather(*(open_and_write(n) for n in range(4)))
        async with opening(settings, NOTE) as store:
            assert await ids(store) == [f"n{n:03}" for n in range(4)]

    async def test_a_kind_that_changes(self, settings: Any, raw: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(shapes, "PAGE", 40)
        before = Kind(name="note", fields=("owner", "old"), text=("title",), within=("owner",))
        async with opening(settings, before) as store:
            await store.apply([note(n, body=f"body{n}", old=n, tags=[f"t{n}"]) for n in range(100)])
            assert await ids(store, ANN, words="body7") == []
        async with opening(settings, NOTE) as store:
            assert await ids(store, ANN, words="body7") == ["n007", *[f"n{n:03}" for n in range(70, 80)]]
            assert await ids(store, ("day", [3, 5])) == ["n003", "n005"]
            assert await ids(store, ("tags", ["t9"])) == ["n009"]
            assert [r.version for r in await store.find(Query(kind="note", limit=200))] == [1] * 100
        names = {"_id", "_version", *layout_of(NOTE).names}
        assert all([set(row) == names async for row in raw[settings["database"]]["note"].find()])

    async def test_words_that_are_others_now(self, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        with monkeypatch.context() as older:
            older.setattr(shapes, "definition", lambda: "older")
            older.setattr(documents, "words", lambda text: ["x" + word for word in text.split()])
            async with opening(settings, LABEL, EVENT) as store:
                await store.apply([Put("label", "a", {"said": "Straße zum Tee"}), event("r", 1)])
                assert await ids(store, kind="label", words="xzum") == ["a"]
        made: list[str] = []
        original = shapes._updates

        def noted(layout: Any, page: Sequence[Any], gone: Any) -> Any:
            made.extend(row["_id"] for row in page)
            return original(layout, page, gone)

        monkeypatch.setattr(shapes, "_updates", noted)
        for _ in range(2):
            async with opening(settings, LABEL, EVENT) as store:
                assert await ids(store, kind="label", words="xzum") == []
                assert await ids(store, kind="label", words="strasse tee") == ["a"]
        assert made == ["a"]  # once, and nothing of what has no words

    async def test_what_is_cut_off_goes_on_where_it_was(self, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(shapes, "PAGE", 10)
        pages: list[list[str]] = []
        original = shapes._updates

        def cut_off(layout: Any, page: Sequence[Any], gone: Any) -> Any:
            pages.append([row["_id"] for row in page])
            if len(pages) == 3:
                raise InterruptedError
            return original(layout, page, gone)

        async with opening(settings, replace(NOTE, text=("title",))) as store:
            await store.apply([note(n, body="later") for n in range(45)])
        monkeypatch.setattr(shapes, "_updates", cut_off)
        with pytest.raises(InterruptedError):
            async with opening(settings, NOTE):
                pass
        async with opening(settings, NOTE) as store:
            assert len(await ids(store, ANN, words="later")) == 45
        every = [f"n{n:03}" for n in range(45)]
        assert [id for page in pages[:2] + pages[3:] for id in page] == every
        assert pages[2] == pages[3] == every[20:30]

    async def test_what_is_cut_off_can_be_taken_back(self, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        """The version before comes back: it finds its own words only, although some records had others already."""
        monkeypatch.setattr(shapes, "PAGE", 10)
        older = replace(NOTE, text=("title",))
        original = shapes._updates

        def cut_off(layout: Any, page: Sequence[Any], gone: Any) -> Any:
            if page[0]["_id"] > "n010":
                raise InterruptedError
            return original(layout, page, gone)

        async with opening(settings, older) as store:
            await store.apply([note(n, body="later") for n in range(35)])
        with monkeypatch.context() as patched:
            patched.setattr(shapes, "_updates", cut_off)
            with pytest.raises(InterruptedError):
                async with opening(settings, NOTE):
                    pass
        async with opening(settings, older) as store:
            assert await ids(store, ANN, words="later") == []
            assert len(await ids(store, ANN, words="note")) == 35

    async def test_what_is_written_meanwhile_stays(
        self, settings: Any, raw: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """By a process that knows the new kinds: its record is left as it is."""
        collection = raw[settings["database"]]["note"]
        loop = asyncio.get_running_loop()
        original = shapes._updates

        def meanwhile(*args: Any) -> Any:
            record = documents.stored(layout_of(NOTE), "n001", note(1, body="newest", day=77).doc, 2)
            replaced = collection.replace_one({"_id": "n001"}, record)
            asyncio.run_coroutine_threadsafe(replaced, loop).result(10)
            return original(*args)

        async with opening(settings, replace(NOTE, text=("title",))) as store:
            await store.apply([note(n, body="older") for n in range(3)])
        monkeypatch.setattr(shapes, "_updates", meanwhile)
        async with opening(settings, NOTE) as store:
            assert await ids(store, ANN, words="older") == ["n000", "n002"]
            assert await ids(store, ANN, words="newest") == ["n001"]
            assert await ids(store, ("day", [1, 77])) == ["n001"]


class TestComparisons:
    """Numbers come before text, and true is 1: the server has another opinion of both."""

    HELD: ClassVar = [None, True, False, -2, 0, 1, 1.5, 2**53 + 1, -1e300, "", "1", "a", "b", "\uffee", "\U0001f600"]
    BOUNDS: ClassVar = [None, -1, 0.5, 1, 2**53 + 2, "", "a", "a\x00", "\U0001f600"]

    async def test_as_the_reference_store_does(self, settings: Any) -> None:
        puts = [Put("note", f"n{n:02}", {"owner": "ann", "shelf": value}, 0) for n, value in enumerate(self.HELD)]
        reference = MemoryStore([NOTE])
        await reference.apply(puts)
        present = (("shelf", tuple(v for v in self.HELD if v is not None)),)
        async with opening(settings, NOTE) as store:
            await store.apply(puts)
            asked = [
                Query(kind="note", ranges=(Range("shelf", low, high),)) for low in self.BOUNDS for high in self.BOUNDS
            ]
            asked += [Query(kind="note", where=(("shelf", (value,)),)) for value in [*self.HELD, 1.0, "true", 0.0]]
            asked += [
                Query(kind="note", where=present, order=("shelf",), after=after, descending=descending)
                for descending in (False, True)
                for after in [
                    None,
                    *((bound, id) for bound in self.BOUNDS if bound is not None for id in ("n05", "n90")),
                ]
            ]
            for query in asked:
                assert await store.find(query) == await reference.find(query), query


class TestSizes:
    @pytest.mark.parametrize("driver", ["pymongo", "motor"])
    async def test_a_record_beyond_16_megabytes(self, settings: Any, driver: str) -> None:
        huge = "x" * (16 << 20)
        async with opening(settings | {"driver": driver}, NOTE, EVENT) as store:
            await store.apply([note(1)])
            for batch in (
                [note(2, blob=huge)],
                [note(2, blob=huge, expect=None)],
                [note(1, blob=huge, expect=1)],
                [event("r", 1), note(2, blob=huge)],
                [event("r", 1), note(1, blob=huge, expect=1)],
                [note(3), note(2, blob=huge), note(4)],
            ):
                with pytest.raises(TooLarge, match="16 MB") as refused:
                    await store.apply(batch)
                assert "xxx" not in str(refused.value)
            assert await ids(store) == ["n001"]
            assert await ids(store, kind="event") == []
            record = await store.get("note", "n001")
            assert record is not None
            assert record.version == 1

    async def test_more_words_than_can_be_found(self, settings: Any) -> None:
        async with opening(settings, LABEL) as store:
            said = " ".join([f"w{n:06}" for n in range(50_500)])
            await store.apply([Put("label", "a", {"said": said})])
            assert await ids(store, kind="label", words="w000000 w049999") == ["a"]
            assert await ids(store, kind="label", words="w050000") == []
            record = await store.get("label", "a")
            assert record is not None
            assert record.doc["said"] == said

    async def test_words_longer_than_an_expression(self, settings: Any) -> None:
        long = "w" * 50_000
        async with opening(settings, LABEL) as store:
            await store.apply([Put("label", "a", {"said": long}), Put("label", "b", {"said": long[:-1] + "x end"})])
            assert await ids(store, kind="label", words=long[:-1]) == ["a", "b"]
            assert await ids(store, kind="label", words=long) == ["a"]
            assert await ids(store, kind="label", words=f"{long[:-1]} en") == ["b"]
            assert await ids(store, kind="label", any_word=f"{long} {long[:-1]}x") == ["a", "b"]


class Heard(monitoring.CommandListener):
    """The commands that went to the server."""

    def __init__(self) -> None:
        self.commands: list[tuple[str, Any]] = []

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        self.commands.append((event.command_name, dict(event.command)))

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None: ...

    def failed(self, event: monitoring.CommandFailedEvent) -> None: ...


class TestPromises:
    WRITES: ClassVar = {"insert", "update", "delete", "findAndModify", "commitTransaction", "abortTransaction"}
    READS: ClassVar = {"find", "aggregate"}

    @pytest.fixture
    def heard(self, monkeypatch: pytest.MonkeyPatch) -> Heard:
        heard = Heard()
        original: Callable[[Any], dict[str, Any]] = drivers._options
        monkeypatch.setattr(drivers, "_options", lambda settings: original(settings) | {"event_listeners": [heard]})
        return heard

    async def exercise(self, store: RecordStore) -> None:
        """Everything that can be asked of a store."""
        await store.apply([note(1)])
        await asyncio.gather(*(store.apply([note(n)]) for n in range(2, 9)))
        await store.apply([note(1, title="changed", expect=1)])
        await store.apply([note(1, title="whatever", expect=None)])
        await store.apply([Delete("note", "n008")])
        await store.apply([Delete("note", "n007", 1)])
        await store.apply([Purge("note", ranges=(Range("id", low="n006"),))])
        await store.apply([note(20), Require("note", "n001"), Delete("note", "n005"), Put("label", "l", {"name": "x"})])
        await store.get("note", "n001")
        await ids(store, ANN, words="note", order=("day",), limit=2)
        await ids(store, any_word="changed note")
        await ids(store, limit=200)
        await store.values(Query(kind="note", words="note"), "shelf")
        await store.compact()

    @pytest.mark.parametrize("driver", ["pymongo", "motor"])
    @pytest.mark.parametrize("weaker", ["", "w=1&journal=false&readConcernLevel=local&readPreference=secondary"])
    async def test_every_command_carries_them(self, settings: Any, heard: Heard, driver: str, weaker: str) -> None:
        """Whatever the options in the URL."""
        url = settings["url"] + (f"&{weaker}" if weaker else "")
        async with opening(settings | {"driver": driver, "url": url, "timeout": 7}, NOTE, LABEL) as store:
            await self.exercise(store)
        seen = {name for name, _ in heard.commands}
        assert {"insert", "update", "delete", "find", "aggregate", "commitTransaction", "createIndexes"} <= seen
        for name, command in heard.commands:
            assert (command.get("apiVersion"), command.get("apiStrict")) == ("1", True), name
            begins = command.get("startTransaction", False)
            within = "autocommit" in command
            concern = {key: value for key, value in command.get("readConcern", {}).items() if "ClusterTime" not in key}
            if name in self.READS and not within:
                # One record is whole by itself; a page must not show a part of a batch.
                whole = command.get("singleBatch") or command[name] == "_backchat"
                assert concern == {"level": "majority" if whole else "snapshot"}, (name, command[name])
            if begins:
                assert concern == {"level": "snapshot"}, name
            if name in self.WRITES and (not within or name.endswith("Transaction")):
                assert command["writeConcern"] == {"w": "majority", "j": True}, name
            if name != "endSessions":
                assert command.get("$readPreference", {"mode": "primary"}) == {"mode": "primary"}, name
            if name in self.READS | self.WRITES and not within:
                assert 0 < command["maxTimeMS"] <= 7000, name

    async def test_the_server_of_the_tests_refuses_what_uses_no_index(self, settings: Any, raw: Any) -> None:
        """So that the contract shows that nothing needs that."""
        parameter = await raw.admin.command({"getParameter": 1, "notablescan": 1})
        assert parameter["notablescan"] is True

    @pytest.mark.parametrize("driver", ["pymongo", "motor"])
    async def test_a_page_is_one_round_trip(self, settings: Any, heard: Heard, driver: str) -> None:
        async with opening(settings | {"driver": driver}, NOTE, LABEL) as store:
            await store.apply([note(n) for n in range(300)])
            for query in (
                Query(kind="note", limit=300),
                Query(kind="note", where=(ANN,), order=("day",), descending=True, after=(250, "n250"), limit=200),
                Query(kind="note", where=(ANN,), words="note", order=("day",), limit=250, offset=3),
            ):
                heard.commands.clear()
                assert len(await store.find(query)) == query.limit
                assert [name for name, _ in heard.commands] == ["find"]
            for reading in (
                store.count(Query(kind="note", where=(ANN,), words="not")),
                store.values(Query(kind="note", limit=300), "id"),
                store.values(Query(kind="note", where=(ANN,), limit=400), "day"),
            ):
                heard.commands.clear()
                await reading
                assert [name for name, _ in heard.commands] == ["aggregate"]

    @pytest.mark.parametrize("driver", ["pymongo", "motor"])
    async def test_what_is_ranked_is_read_at_one_moment(self, settings: Any, heard: Heard, driver: str) -> None:
        async with opening(settings | {"driver": driver}, NOTE) as store:
            await store.apply([note(n) for n in range(30)])
            heard.commands.clear()
            assert len(await store.find(Query(kind="note", where=(ANN,), any_word="note 7 8", limit=5))) == 5
        (first, second, third) = [(name, command["readConcern"]) for name, command in heard.commands[:3]]
        assert (first, second[0], third[0]) == (("aggregate", {"level": "snapshot"}), "aggregate", "find")
        assert second[1]["atClusterTime"] == third[1]["atClusterTime"]


class TestCost:
    QUERIES: ClassVar = [
        (Query(kind="note", where=(ANN,), order=("day",), descending=True, limit=20), 21),
        (Query(kind="note", where=(ANN,), order=("day",), after=(250, "n250"), limit=20), 25),
        (Query(kind="note", where=(ANN,), order=("day",), after=(250, "n250"), descending=True, limit=20), 25),
        (Query(kind="note", where=(ANN,), order=("code",), after=("c50", "n050"), limit=20), 25),
        (Query(kind="note", where=(ANN,), order=("code",), after=("c50", "n050"), descending=True, limit=20), 25),
        (Query(kind="note", where=(ANN,), ranges=(Range("day", low=480),), order=("day",), limit=20), 25),
        (Query(kind="note", where=(("tags", ("t77",)),), limit=20), 3),
        (Query(kind="note", where=(("tags", ("t77",)), ANN), limit=20), 3),
        (Query(kind="note", where=(("id", ("n077", "n300")),), limit=20), 5),
        (Query(kind="note", where=(ANN,), words="w7", limit=50), 15),
        (Query(kind="event", where=(("run", ("r7",)),), ranges=(Range("id", low="r7/000400"),), limit=20), 15),
        (Query(kind="event", where=(("run", ("r7",)),), after=("r7/000400",), limit=20), 15),
    ]

    async def test_a_page_is_found_by_an_index(self, settings: Any, raw: Any) -> None:
        """In its order, from its place on: the server looks at hardly more keys than the page has records."""
        profiled = raw[settings["database"]]
        async with opening(settings, NOTE, EVENT) as store:
            owners = ["bob", *["ann"] * 9]
            await store.apply(
                [note(n, owner=owners[n % 10], title=f"tea w{n % 50}", code=f"c{n}") for n in range(500)]
                + [event(f"r{n % 10}", n) for n in range(500)]
            )
            await profiled.command({"profile": 2})
            try:
                found = [await store.find(query) for query, _ in self.QUERIES]
            finally:
                await profiled.command({"profile": 0})
        rows = await profiled["system.profile"].find({"command.find": {"$in": ["note", "event"]}}).to_list(None)
        for (query, most), page, row in zip(self.QUERIES, found, rows, strict=True):
            assert page
            assert row["nreturned"] == len(page)
            assert row["keysExamined"] <= most, (query, row)
            assert not (query.order and row.get("hasSortStage")), (query, row)


class TestLettingGo:
    @pytest.mark.parametrize("driver", ["pymongo", "motor"])
    async def test_nothing_is_left_when_it_is_closed(self, settings: Any, driver: str) -> None:
        port = settings["url"].split("//")[1].split("/")[0].rpartition(":")[2]
        connected = _connections(int(port))
        async with opening(settings | {"driver": driver}, NOTE) as store:
            await asyncio.gather(*(store.apply([note(n), note(n + 50)]) for n in range(10)))
            assert _connections(int(port)) > connected
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        assert not [task for task in tasks if "pymongo" in repr(task)]
        deadline = time.monotonic() + 20
        while _drivers_threads() or _connections(int(port)) > connected:
            await asyncio.sleep(0.02)
            assert time.monotonic() < deadline
        assert not _drivers_threads()
        assert _connections(int(port)) <= connected


def _drivers_threads() -> list[threading.Thread]:
    """Those of clients. Motor's pool of workers is shared by all, and stays."""
    return [thread for thread in threading.enumerate() if thread.name.startswith("pymongo_")]


def _connections(port: int) -> int:
    """How many sockets this process has that are connected to the port."""
    mine = {os.readlink(path) for path in Path("/proc/self/fd").iterdir() if path.is_symlink()}
    rows = [line.split() for line in Path("/proc/self/net/tcp").read_text().splitlines()[1:]]
    return sum(int(row[2].split(":")[1], 16) == port and f"socket:[{row[9]}]" in mine for row in rows)
