"""Finding passages by their words, and never those of somebody else."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from backchat.domain.document import Passage
from backchat.ports.storage import Query, Record, RecordStore
from backchat.services import question_words, retrieval
from backchat.services.question_words import LONGEST
from backchat.testing.embedding import HashEmbedder
from shelf import Shelf, first, open_store


@pytest.fixture(params=["memory", "sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[RecordStore]:
    async with open_store(request.param, tmp_path) as store:
        yield store


class TestByWords:
    async def test_the_passage_with_the_words_comes_first(self, store: RecordStore) -> None:
        shelf = Shelf(store)
        await shelf.put("the opening hours are nine to five", "a refund takes ten days", "we sell tea and coffee")
        assert await first(shelf, "How long does a refund take?") == "a refund takes ten days"
        assert await first(shelf, "TÉA?") == "we sell tea and coffee"

    async def test_other_forms_of_a_word_are_found_after_the_word_itself(self, store: RecordStore) -> None:
        shelf = Shelf(store)
        await shelf.put("nothing", "clients disconnect", "nobody", "two policies", "a client that disconnects", "none")
        found = await shelf.found("disconnects")
        assert found[:2] == ["a client that disconnects", "clients disconnect"]
        assert await first(shelf, "policy") == "two policies"

    async def test_a_passage_says_where_it_stands(self, store: RecordStore) -> None:
        shelf = Shelf(store)
        document = await shelf.put("nothing here", "a refund takes ten days")
        (passage,) = await shelf.ask("refund", top_k=1)
        assert passage == Passage(
            document=document.id,
            filename="1.txt",
            text="a refund takes ten days",
            score=passage.score,
            start=10,
            end=19,
            page=2,
        )
        assert passage.score > 0

    async def test_function_words_do_not_count(self, store: RecordStore) -> None:
        shelf = Shelf(store)
        await shelf.put(
            "what is it that they do with this and that of the", "invoice 77", "wie und was der die das ist in dem"
        )
        assert await first(shelf, "What is in the invoice and what do they do with it?") == "invoice 77"
        assert await first(shelf, "Was ist in der invoice und wie?") == "invoice 77"

    @pytest.mark.parametrize("question", ["what is it", "x", "?", "", " \n", "😀😀", "\x00", "\ud800"])
    async def test_a_question_without_telling_words_has_answers(self, store: RecordStore, question: str) -> None:
        shelf = Shelf(store)
        await shelf.put("alpha", "beta")
        assert sorted(await shelf.found(question)) == ["alpha", "beta"]

    async def test_without_a_common_word_documents_lead_with_their_beginnings(self, store: RecordStore) -> None:
        shelf = Shelf(store)
        await shelf.put("old one", "old two", "old three")
        await shelf.put("new one", "new two", conversation="c1")
        await shelf.put("middle")
        question = "Summarise everything, please!"
        assert await shelf.found(question) == ["middle", "new one", "old one", "new two", "old two", "old three"]
        assert await shelf.found(question, top_k=4) == ["middle", "new one", "old one", "new two"]
        assert {p.score for p in await shelf.ask(question)} == {0.0}

    async def test_few_hits_are_filled_up_without_repeats(self, store: RecordStore) -> None:
        shelf = Shelf(store)
        await shelf.put("old one", "the key points", "old three")
        await shelf.put("new one", "new two")
        found = await shelf.found("What are the key points in the uploaded document?", top_k=4)
        assert found == ["the key points", "new one", "old one", "new two"]

    async def test_top_k(self, store: RecordStore) -> None:
        shelf = Shelf(store)
        await shelf.put(*[f"tea number {n}" for n in range(150)])
        for top_k in (1, 10, 100):
            found = await shelf.found("tea", top_k=top_k)
            assert len(set(found)) == top_k
        assert await shelf.found("tea", top_k=0) == []

    async def test_nothing_to_search(self, store: RecordStore) -> None:
        shelf = Shelf(store)
        assert await shelf.found("tea") == []
        await shelf.put()
        assert await shelf.found("tea") == []

    @pytest.mark.parametrize(
        "hostile",
        [
            '"tea" OR NEAR(',
            "tea*) AND (",
            "'; DROP TABLE chunk; --",
            "scope:tea ^tea -tea",
            "\x00tea\x00",
            "tea \ud800\udfff",
            "{tea} [tea]",
            "💥 tea 💥",
        ],
    )
    async def test_hostile_text_is_only_text(self, store: RecordStore, hostile: str) -> None:
        for embedder in (None, HashEmbedder()):
            shelf = Shelf(store, embedder)
            shelf.made = 0 if embedder is None else 10
            await shelf.put("green tea", "black coffee")
            assert "green tea" in await shelf.found(hostile)

    @pytest.mark.parametrize("filler", ["lorem ", "x", "a b c d e f g ", "\u0301", "東", "9 "])
    async def test_a_megabyte_of_text(self, store: RecordStore, filler: str) -> None:
        embedder = HashEmbedder()
        shelf = Shelf(store, embedder)
        await shelf.put("green tea", "black coffee")
        question = filler * (1_000_000 // len(filler)) + " coffee?"
        assert await first(shelf, question) == "black coffee"
        assert all(len(t) <= LONGEST + 1 for texts, _ in embedder.asked for t in texts)

    async def test_documents_that_are_not_indexed_are_not_there(self, store: RecordStore) -> None:
        shelf = Shelf(store)
        for status in ("pending", "processing", "failed"):
            await shelf.put("tea", status=status)
        assert await shelf.found("anything") == []


class TestWhoseItIs:
    @pytest.mark.parametrize("embedder", [None, HashEmbedder()])
    async def test_owners_never_meet(self, store: RecordStore, embedder: HashEmbedder | None) -> None:
        shelf = Shelf(store, embedder)
        await shelf.put("ann's tea")
        await shelf.put("ann's private tea", conversation="c1")
        await shelf.put("bob's tea", owner="bob")
        assert await shelf.found("tea", owner="bob") == ["bob's tea"]
        assert sorted(await shelf.found("tea")) == ["ann's private tea", "ann's tea"]
        assert await shelf.found("tea", owner="eve") == []
        assert await shelf.found("", owner="eve") == []
        await shelf.put("ann's newest")
        assert await shelf.found("something else", owner="bob", top_k=1) == ["bob's tea"]

    @pytest.mark.parametrize("embedder", [None, HashEmbedder()])
    async def test_scopes_never_meet(self, store: RecordStore, embedder: HashEmbedder | None) -> None:
        shelf = Shelf(store, embedder)
        await shelf.put("tea of a1")
        await shelf.put("tea of a2", assistant="a2")
        await shelf.put("tea of c1", conversation="c1")
        await shelf.put("tea of c2", conversation="c2")
        assert sorted(await shelf.found("tea")) == ["tea of a1", "tea of c1"]
        assert sorted(await shelf.found("tea", assistant="a2", conversation="c2")) == ["tea of a2", "tea of c2"]
        # An assistant's id in the place of a conversation's, and the other way round.
        assert await shelf.found("tea", assistant="c1", conversation="a1") == []


class TestAmongMany:
    async def test_among_many_passages_frequent_words_are_left_out(
        self, store: RecordStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(retrieval, "_MANY", 50)
        monkeypatch.setattr(question_words, "BUDGET", 30)
        asked: list[str] = []

        class Listening:
            async def find(self, query: Query) -> Sequence[Record]:
                if query.any_word:
                    asked.append(query.any_word)
                return await store.find(query)

        shelf = Shelf(store)
        await shelf.put(*[f"report on {'zebras' if n == 7 else 'tea'}" for n in range(200)])
        shelf.retrieval._store = Listening()  # type: ignore[assignment]
        assert await first(shelf, "report about zebras") == "report on zebras"
        assert asked == ["zebras zebr"]
        assert len(shelf.retrieval._samples) == 1
