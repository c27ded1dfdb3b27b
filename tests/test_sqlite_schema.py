"""What happens to the file when the declared kinds change."""

from __future__ import annotations

import asyncio
import sqlite3
import stat
from contextlib import closing
from dataclasses import replace
from json import dumps, loads
from pathlib import Path

import pytest

from backchat.errors import ConfigError, StaleWrite
from backchat.ports.storage import Delete, Kind, Query
from backchat.testing.records import EVENT, NOTE, event, ids, note
from sqlite_files import opened, query


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "backchat.db"


class TestSchema:
    async def test_the_same_kinds_change_nothing(self, path: Path) -> None:
        for _ in range(2):
            async with opened(path) as store:
                await store.apply([note(1, expect=None)])
        assert [p.name for p in path.parent.iterdir()] == ["backchat.db"]

    async def test_a_newer_schema_is_refused(self, path: Path) -> None:
        async with opened(path):
            pass
        await query(path, "SELECT 1")
        with closing(sqlite3.connect(path)) as db:
            db.execute("UPDATE _meta SET value = 2 WHERE key = 'schema'")
            db.commit()
        with pytest.raises(ConfigError, match="schema version 2"):
            await opened(path).__aenter__()

    async def test_a_new_field_is_filled_and_a_copy_is_made(self, path: Path) -> None:
        before = Kind(name="note", fields=("owner",), text=("title",), within=("owner",))
        async with opened(path, [before]) as store:
            await store.apply([note(n, code=f"c{n}") for n in range(20)])
            assert await ids(store, ("owner", ["ann"]), words="note 7") == ["n007"]
            await store.apply([Delete("note", "n003"), note(4, title="changed", expect=1)])
        async with opened(path) as store:
            assert await ids(store, ("day", [5, 6]), ("tags", ["odd"])) == ["n005"]
            assert await ids(store, ("owner", ["ann"]), words="note 7") == ["n007"]
            assert await ids(store, ("shelf", ["s1"]), words="note 7") == ["n007"]
            assert await ids(store, ("owner", ["ann"]), words="changed") == ["n004"]
            record = await store.get("note", "n004")
            assert record is not None
            assert record.version == 2
            with pytest.raises(StaleWrite):
                await store.apply([note(50, code="c5")])
        copies = [p for p in path.parent.iterdir() if p != path]
        assert [p.name.startswith("backchat.db.before-") for p in copies] == [True]
        assert stat.S_IMODE(copies[0].stat().st_mode) == 0o600
        async with opened(copies[0], [before]) as store:
            assert await store.count(Query(kind="note")) == 19

    async def test_an_empty_file_is_not_copied(self, path: Path) -> None:
        async with opened(path, [EVENT]):
            pass
        async with opened(path):
            pass
        assert [p.name for p in path.parent.iterdir()] == ["backchat.db"]

    async def test_kinds_come_and_go(self, path: Path) -> None:
        async with opened(path) as store:
            await store.apply([note(1), event("r", 1)])
        async with opened(path, [EVENT]) as store:
            assert await ids(store, kind="event") == ["r/000001"]
            with pytest.raises(ValueError):
                await store.get("note", "n001")
        async with opened(path) as store:
            assert await ids(store, ("owner", ["ann"]), words="note") == ["n001"]

    async def test_what_is_declared_no_more_goes(self, path: Path) -> None:
        async with opened(path) as store:
            await store.apply([note(n, code="x" if n == 1 else None) for n in range(5)])
        bare = Kind(name="note", fields=("day", "owner"), indexes=(("day",),))
        async with opened(path, [bare]) as store:
            assert await ids(store, ("day", [3])) == ["n003"]
            await store.apply([note(9, code="x")])
        found = await query(path, "SELECT name FROM sqlite_master WHERE name LIKE '%note%'")
        assert {name for (name,) in found} == {"note", "note(day)"}
        with pytest.raises(ConfigError, match="share owner, code"):
            await opened(path).__aenter__()
        async with opened(path, [bare]) as store:  # and the attempt changed nothing
            assert await store.count(Query(kind="note")) == 6

    async def test_another_definition_of_a_word_makes_the_index_anew(self, path: Path) -> None:
        async with opened(path) as store:
            await store.apply([note(n) for n in range(700)])
            assert await store.count(Query(kind="note", where=(("owner", ("ann",)),), words="note")) == 700
        with closing(sqlite3.connect(path)) as db:
            db.execute("UPDATE _meta SET value = 'older' WHERE key = 'words'")
            db.execute("INSERT INTO _words_note (_words_note) VALUES ('delete-all')")
            db.commit()
        async with opened(path) as store:
            assert await store.count(Query(kind="note", where=(("owner", ("ann",)),), words="note")) == 700

    async def test_several_processes_open_a_new_file_at_once(self, path: Path) -> None:
        stores = [opened(path) for _ in range(6)]
        entered = await asyncio.gather(*(s.__aenter__() for s in stores))
        for n, store in enumerate(entered):
            await store.apply([note(n)])
        assert len(await ids(entered[0])) == 6
        await asyncio.gather(*(s.__aexit__(None, None, None) for s in stores))

    async def test_a_kind_gets_words_and_lists(self, path: Path) -> None:
        async with opened(path, [Kind(name="note", fields=("day",))]) as store:
            await store.apply([note(n) for n in range(10)])
            await store.apply([note(3, title="changed", expect=1)])
        async with opened(path) as store:
            assert await ids(store, ("owner", ["ann"]), words="changed") == ["n003"]
            assert await ids(store, ("tags", ["even"])) == [f"n{n:03}" for n in range(0, 10, 2)]
            await store.apply([note(3, title="again", expect=2), Delete("note", "n005")])
            assert await ids(store, ("owner", ["ann"]), words="again") == ["n003"]

    async def test_words_that_are_still_right_stay(self, path: Path) -> None:
        fields = tuple(f for f in NOTE.fields if f != "order")
        async with opened(path, [replace(NOTE, fields=fields)]) as store:
            await store.apply([note(n, order=-n) for n in range(10)])
            await store.apply([Delete("note", "n000"), Delete("note", "n004")])
            assert await ids(store, ("owner", ["ann"]), words="note 7") == ["n007"]
        async with opened(path) as store:
            assert await query(path, "SELECT count(*) FROM _changed") == [(0,)]
            for n in (1, 5, 9):
                assert await ids(store, ("owner", ["ann"]), words=f"note {n}") == [f"n{n:03}"]
            assert await ids(store, ("order", [-7]), ("tags", ["odd"])) == ["n007"]

    async def test_a_kind_gets_facets(self, path: Path) -> None:
        """A search by them finds what was there before, and the file of a version without them is no reason to copy."""
        async with opened(path, [replace(NOTE, facets=()), EVENT]) as store:
            await store.apply([note(n) for n in range(10)])
            assert await ids(store, ("owner", ["ann"]), ("tags", ["odd"]), words="note 7") == ["n007"]
        async with opened(path, [NOTE, EVENT]) as store:
            assert await ids(store, ("owner", ["ann"]), ("tags", ["odd"]), words="note 7") == ["n007"]
            assert await ids(store, ("owner", ["ann"]), ("shelf", ["s1"]), words="note") == ["n001", "n004", "n007"]
        copies = {p for p in path.parent.iterdir() if p != path}
        assert len(copies) == 1
        with closing(sqlite3.connect(path)) as db:
            [(kinds,)] = db.execute("SELECT value FROM _meta WHERE key = 'kinds'").fetchall()
            older = {name: {k: v for k, v in shape.items() if k != "facets"} for name, shape in loads(kinds).items()}
            db.execute(
                "UPDATE _meta SET value = ? WHERE key = 'kinds'", (dumps(older | {"note": loads(kinds)["note"]}),)
            )
            db.commit()
        async with opened(path, [NOTE, EVENT]) as store:
            assert await ids(store, ("owner", ["ann"]), words="note 7") == ["n007"]
        assert {p for p in path.parent.iterdir() if p != path} == copies

    @pytest.mark.parametrize("wrong", [{"facets": ("nothing",)}, {"facets": ("day",), "within": ("shelf",)}])
    def test_facets_are_of_a_partition(self, wrong: dict[str, tuple[str, ...]]) -> None:
        with pytest.raises(ValueError, match="facets"):
            replace(NOTE, **wrong)  # type: ignore[arg-type]
