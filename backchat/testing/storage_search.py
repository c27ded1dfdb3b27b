"""The part of the storage contract about ``words`` and ``any_word``."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from backchat.ports.storage import Delete, Purge, Put, Query, Range, RecordStore
from backchat.testing.records import ANN, Where, ids, note


class SearchContract:
    @pytest.mark.parametrize("where", [(ANN,), (("shelf", ("s1", "s0", "s2")),), ()])
    async def test_every_word_begins_one(self, store: RecordStore, where: tuple[Where, ...]) -> None:
        await store.apply([note(1, title="Green tea", body="with lemon"), note(2, title="Black teapot"), note(3)])

        async def found(words: str) -> list[str]:
            return await ids(store, *where, words=words)

        assert await found("tea") == ["n001", "n002"]
        assert await found("TEA gre") == ["n001"]
        assert await found("lem, green!") == ["n001"]
        assert await found("tea tea teap") == ["n002"]
        assert await found("ea") == []
        assert await found("tea coffee") == []
        assert await found("teapots") == []
        assert await found("2 note") == []
        assert await found("3") == ["n003"]

    @pytest.mark.parametrize("where", [(ANN,), ()])
    async def test_case_accents_and_scripts(self, store: RecordStore, where: tuple[Where, ...]) -> None:
        texts = ["Café au lait", "CAFE\u0301", "Straße 9½ ﬁne", "東京タワーへ行く", "İstanbul ĐÀ NẴNG", "Ὀδυσσεύς"]
        texts.append("𝒳𝒴 \U0001f600")
        await store.apply([note(n, title=text) for n, text in enumerate(texts)])

        async def found(words: str) -> list[int]:
            return [int(id[1:]) for id in await ids(store, *where, words=words)]

        assert await found("cafe") == [0, 1]
        assert await found("CAFÉ") == [0, 1]
        assert await found("strasse") == [2]
        assert await found("STRASSE fine") == [2]
        assert await found("東京") == [3]
        assert await found("京タ") == [3]
        assert await found("行") == [3]
        assert await found("nang") == [4]
        assert await found("οδυσσευς") == [5]
        assert await found("xy") == [6]
        assert await found("\U0001f600") == []

    @pytest.mark.parametrize("where", [(ANN,), ()])
    @pytest.mark.parametrize(
        "hostile",
        [
            '"',
            "*",
            "%",
            "-",
            "_",
            "(",
            ")",
            "''",
            "\\",
            "\x00",
            "^",
            ":",
            "{}",
            "+",
            "\U0001f600",
            " \t\n",
            "\ud800",
            "...",
        ],
    )
    async def test_text_without_a_word_matches_nothing(
        self, store: RecordStore, where: tuple[Where, ...], hostile: str
    ) -> None:
        await store.apply([note(1, title="a word")])
        assert await ids(store, *where, words=hostile) == []
        assert await ids(store, *where, any_word=hostile) == []
        assert await ids(store, *where, words=f"word{hostile}") == ["n001"]
        assert await ids(store, *where, any_word=f"{hostile} word") == ["n001"]

    @pytest.mark.parametrize("where", [(ANN,), ()])
    async def test_hostile_text_is_only_text(self, store: RecordStore, where: tuple[Where, ...]) -> None:
        titles = ["alpha NEAR(beta gamma)", "alpha OR beta NOT gamma", "snake_case -minus"]
        titles += ['quo"te al*pha', "terms: x\x00y"]
        await store.apply([note(n, title=title) for n, title in enumerate(titles)])

        async def found(words: str) -> list[int]:
            return [int(id[1:]) for id in await ids(store, *where, words=words)]

        assert await found("alpha NEAR(gamma beta)") == [0]
        assert await found("alpha OR zeta") == []
        assert await found("alpha OR beta") == [1]
        assert await found("NOT gamma") == [1]
        assert await found("alpha -beta") == [0, 1]
        assert await found("alpha AND beta") == []
        assert await found("snake_case") == [2]
        assert await found("case") == [2]
        assert await found("-minus") == [2]
        assert await found('quo"te') == [3]
        assert await found('"al*pha"') == [3]
        assert await found("terms:x") == [4]
        assert await found("x\x00y") == [4]
        assert await found("alpha) OR (snake") == []
        assert await found("'; DROP TABLE note; --") == []

    async def test_many_words(self, store: RecordStore) -> None:
        text = " ".join(f"w{n}x" for n in range(2_000))
        await store.apply([note(1, title=text), note(2, title="w7x")])
        assert await ids(store, ANN, words=text) == ["n001"]
        assert sorted(await ids(store, ANN, any_word=text)) == ["n001", "n002"]
        assert await ids(store, words=text) == ["n001"]

    async def test_one_word_is_enough(self, store: RecordStore) -> None:
        common = [note(n, title="the cat sat on the mat") for n in range(3, 20)]
        await store.apply([note(1, title="a zebra and the cat"), note(2, title="the dog"), *common, note(50)])
        for where in ((ANN,), ()):
            found = await ids(store, *where, any_word="zebra CAT unknown")
            assert found[0] == "n001"
            assert sorted(found[1:]) == [f"n{n:03}" for n in range(3, 20)]
            assert await ids(store, *where, any_word="zebra cat", limit=1) == ["n001"]
            assert len(await ids(store, *where, any_word="zebra cat", limit=5, offset=16)) == 2
            assert await ids(store, *where, any_word="do") == ["n002"]
            assert await ids(store, *where, any_word="nothing of it") == []

    async def test_both_at_once(self, store: RecordStore) -> None:
        await store.apply([note(1, title="red apple"), note(2, title="red pear"), note(3, title="green apple")])
        for where in ((ANN,), ()):
            assert await ids(store, *where, words="red", any_word="apple melon") == ["n001"]
            assert await ids(store, *where, words="***", any_word="apple") == []
            assert await ids(store, *where, words="apple", any_word="***") == []

    async def test_a_search_is_narrowed(self, store: RecordStore) -> None:
        owners = ["ann", "bob", "O'Neil", None, "ann "]
        await store.apply([note(n, owner=owners[n % 5], title="tea", day=n) for n in range(30)])
        for n, owner in enumerate(owners):
            mine = [f"n{i:03}" for i in range(30) if i % 5 == n]
            assert await ids(store, ("owner", [owner]), words="tea") == mine
            assert sorted(await ids(store, ("owner", [owner]), any_word="tea x")) == mine
            assert await ids(store, ("owner", [owner]), ("shelf", ["s1"]), words="t") == [
                id for id in mine if int(id[1:]) % 3 == 1
            ]
        assert await ids(store, ("owner", ["ann", "bob"]), words="tea", limit=3) == ["n000", "n001", "n005"]
        assert await ids(store, ("owner", []), words="tea") == []
        assert await ids(store, ("owner", ["carl"]), words="tea") == []
        assert await ids(store, ("id", ["n002"]), words="tea") == ["n002"]
        assert await ids(store, ("tags", ["t3"]), words="tea") == ["n003"]
        assert await ids(store, ANN, words="tea", ranges=(Range("day", 5, 16),)) == ["n005", "n010", "n015"]
        latest = await ids(store, ANN, words="tea", order=("day",), descending=True, after=(25, "n025"), limit=2)
        assert latest == ["n020", "n015"]

    async def test_words_that_belong_to_nobody(self, store: RecordStore) -> None:
        await store.apply([Put("label", f"l{n}", {"name": f"x{n}", "said": f"Große Worte {n}"}, 0) for n in range(5)])
        assert await ids(store, kind="label", words="grosse 3") == ["l3"]
        assert await ids(store, ("name", ["x1", "x2"]), kind="label", words="worte") == ["l1", "l2"]
        assert sorted(await ids(store, kind="label", any_word="1 4 x")) == ["l1", "l4"]

    @pytest.mark.parametrize("where", [(ANN,), ()])
    async def test_changes_are_found_at_once(self, store: RecordStore, where: tuple[Where, ...]) -> None:
        async def found(words: str) -> list[str]:
            return await ids(store, *where, words=words)

        await store.apply([note(1, title="first"), note(2, title="second")])
        assert await found("first") == ["n001"]
        await store.apply([note(1, title="changed", expect=1)])
        assert (await found("first"), await found("changed")) == ([], ["n001"])
        await store.apply([note(1, title="changed", body="more", expect=2)])
        await store.apply([note(1, title="again", expect=3)])
        assert (await found("changed"), await found("more"), await found("again")) == ([], [], ["n001"])
        await store.apply([Delete("note", "n001")])
        assert await found("again") == []
        await store.apply([note(1, title="reborn"), note(3, title="third")])
        assert (await found("again"), await found("reborn")) == ([], ["n001"])
        others = Purge("note", (("id", ("n003", "n002")),))
        await store.apply([note(1, title="brief", expect=1), others, note(4, title="x")])
        assert (await found("third"), await found("second"), await found("x")) == ([], [], ["n004"])
        assert (await found("reborn"), await found("brief")) == ([], ["n001"])

    async def test_a_record_changes_hands(self, store: RecordStore) -> None:
        await store.apply([note(1, title="tea"), note(2, title="tea")])
        assert await ids(store, ANN, words="tea") == ["n001", "n002"]
        await store.apply([note(1, title="tea", owner="bob", expect=1)])
        assert await ids(store, ANN, words="tea") == ["n002"]
        assert await ids(store, ("owner", ["bob"]), words="tea") == ["n001"]

    async def test_a_facet_changes_and_no_word_does(self, store: RecordStore) -> None:
        async def found(*where: Where) -> list[str]:
            return await ids(store, ANN, *where, words="tea")

        await store.apply([note(n, title="tea", shelf="s1", tags=["a", "b"], weight=1) for n in range(3)])
        await store.apply([note(4, title="tea", shelf="s1", tags=["a"], owner="bob")])
        assert await found(("shelf", ["s1"]), ("tags", ["a"]), ("tags", ["b"])) == ["n000", "n001", "n002"]
        await store.apply([note(1, title="tea", shelf="s1", tags=["a"], weight=1.0, expect=1)])
        await store.apply([note(2, title="tea", shelf=None, tags=["a", "b"], weight=1.5, expect=1)])
        assert await found(("tags", ["b"])) == ["n000", "n002"]
        assert await found(("tags", ["c", "a"]), ("shelf", ["s1"])) == ["n000", "n001"]
        assert await found(("shelf", [None])) == ["n002"]
        assert await found(("shelf", [None, "s1"]), ("weight", [1])) == ["n000", "n001"]
        assert await found(("weight", [1.5, 2]), ("day", [2])) == ["n002"]
        assert await found(("tags", [])) == []

    async def test_a_facet_that_has_the_value_of_another(self, store: RecordStore) -> None:
        await store.apply([note(1, title="tea", shelf="x", tags=["y"]), note(2, title="tea", shelf="y", tags=["x"])])
        assert await ids(store, ANN, ("shelf", ["x"]), words="tea") == ["n001"]
        assert await ids(store, ANN, ("tags", ["x"]), words="tea") == ["n002"]

    async def test_pages_of_words(self, store: RecordStore) -> None:
        """Of words that nearly all records have, or a few, or only those that come last: page by page, and by place."""
        titles = ["often" if n % 9 else "hardly" for n in range(400)]
        await store.apply(
            [
                note(n, title=titles[n], body="seldom" if n % 50 == 3 else "", day=n // 2, weight=n, tags=[f"t{n % 2}"])
                for n in range(400)
            ]
        )
        await store.apply([note(n, title="early", day=-1, weight=n) for n in range(400, 420)])
        for words in ("often", "seldom", "early", "o", "often seldom"):
            for order in (("day",), ("weight",)):
                for where in ((ANN,), (ANN, ("tags", ["t1"]))):
                    query = Query(kind="note", where=where, words=words, order=order, descending=True, limit=1000)
                    whole = await store.find(query)
                    assert len(whole) == await store.count(query)
                    for limit, offset in ((10, 0), (10, 5), (100, 150), (1, 260)):
                        page = await store.find(replace(query, limit=limit, offset=offset))
                        assert page == whole[offset : offset + limit]
                    for last in whole[5:6]:
                        after = (last.doc[order[0]], last.id)
                        assert await store.find(replace(query, after=after, limit=10)) == whole[6:16]
        every = Query(kind="note", where=(ANN,), words="often", order=("day",), descending=True, limit=1000)
        often = sorted((-(n // 2), -n) for n in range(400) if n % 9)
        assert [r.id for r in await store.find(every)] == [f"n{-n:03}" for _, n in often]

    async def test_searches_among_writes(self, store: RecordStore) -> None:
        async def write_and_search(n: int) -> None:
            await store.apply([note(n, title=f"word{n:03} common")])
            assert await ids(store, ANN, words=f"word{n:03}") == [f"n{n:03}"]
            await store.apply([note(n, title=f"other{n:03} common", expect=1)])
            assert await ids(store, ANN, words=f"word{n:03}") == []
            found = await store.find(Query(kind="note", where=(ANN,), words="common", limit=1000))
            assert f"n{n:03}" in [r.id for r in found]
            if n % 3 == 0:
                await store.apply([Delete("note", f"n{n:03}", 2)])
                assert await ids(store, ANN, words=f"other{n:03}") == []

        await asyncio.gather(*(write_and_search(n) for n in range(60)))
        assert await ids(store, ANN, words="common") == [f"n{n:03}" for n in range(60) if n % 3]
