"""Finding passages by their meaning too."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from backchat.errors import ProviderError, ProviderTimeout
from backchat.ports.storage import Query, Record, RecordStore
from backchat.services import retrieval
from backchat.services.document_records import (
    DOCUMENT,
)
from backchat.testing.embedding import HashEmbedder, Purpose
from shelf import Shelf, first, open_store


@pytest.fixture(params=["memory", "sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[RecordStore]:
    async with open_store(request.param, tmp_path) as store:
        yield store


MEANINGS = {"automobile": "car", "vehicle": "car", "repair": "fix", "mend": "fix"}


class TestByMeaning:
    async def test_near_in_meaning_without_a_common_word(self, store: RecordStore) -> None:
        texts = [f"filler number {n}" for n in range(30)]
        texts[17] = "mend your automobile"
        shelf = Shelf(store, HashEmbedder(meanings=MEANINGS))
        await shelf.put(*texts)
        assert await first(shelf, "repair vehicle") == "mend your automobile"
        assert "mend your automobile" not in await Shelf(store).found("repair vehicle")

    async def test_good_in_both_wins(self, store: RecordStore) -> None:
        shelf = Shelf(store, HashEmbedder(meanings=MEANINGS))
        both = "repair the car yourself"
        fillers = [f"number {n} is about something else" for n in range(30)]
        await shelf.put("vehicle fix", "repair of old bicycles", both, "the car is red", *fillers)
        found = await shelf.ask("repair car")
        scores = {p.text: p.score for p in found}
        assert found[0].text == both
        assert scores[both] == pytest.approx(1 / 61 + 1 / 62, abs=1e-4)
        # Best by meaning alone, though it shares no word.
        assert scores["vehicle fix"] == pytest.approx(1 / 61, abs=1e-4)
        assert [p.score for p in found] == sorted([p.score for p in found], reverse=True)

    async def test_questions_and_documents_are_told_apart(self, store: RecordStore) -> None:
        embedder = HashEmbedder()
        shelf = Shelf(store, embedder)
        await shelf.put("one", "two")
        await shelf.ask("three")
        assert embedder.asked == [(["one", "two"], "document"), (["three"], "query")]

    @pytest.mark.parametrize("failure", [ProviderError("broken"), ProviderTimeout("slow")])
    async def test_an_embedder_that_fails_is_done_without(self, store: RecordStore, failure: ProviderError) -> None:
        embedder = HashEmbedder()
        shelf = Shelf(store, embedder)
        await shelf.put("green tea", "black coffee")
        embedder.failures.append(failure)
        with capture_logs() as logs:
            assert await first(shelf, "coffee") == "black coffee"
        assert embedder.failures == []
        (line,) = logs
        assert line["code"] == failure.code
        assert "coffee" not in str(line)

    async def test_an_embedder_that_does_not_answer_is_done_without(
        self, store: RecordStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        class Silent(HashEmbedder):
            async def embed(self, texts: Sequence[str], purpose: Purpose) -> Sequence[bytes]:
                if purpose == "query":
                    await asyncio.Event().wait()
                return await super().embed(texts, purpose)

        monkeypatch.setattr(retrieval, "PATIENCE", 0.01)
        shelf = Shelf(store, Silent())
        await shelf.put("green tea", "black coffee")
        assert await first(shelf, "coffee") == "black coffee"

    @pytest.mark.parametrize("now", [HashEmbedder(64), HashEmbedder(512, model="another")])
    async def test_vectors_of_another_model_are_not_compared(self, store: RecordStore, now: HashEmbedder) -> None:
        """Nor those of another length; such documents are found by their words."""
        await Shelf(store, HashEmbedder(512)).put("green tea", "black coffee", "mend an automobile")
        shelf = Shelf(store, now)
        shelf.made = 1
        await shelf.put("fresh milk")
        assert await first(shelf, "coffee") in ("black coffee", "fresh milk")
        found = await shelf.ask("coffee")
        assert {p.text for p in found if p.score > 0} == {"black coffee", "fresh milk"}

    async def test_documents_without_vectors_are_found_by_words(self, store: RecordStore) -> None:
        shelf = Shelf(store, HashEmbedder())
        await shelf.put("green tea", embedded=False)
        await shelf.put("black coffee")
        assert "green tea" in await shelf.found("tea", top_k=2)

    async def test_many_passages(self, store: RecordStore) -> None:
        """Vectors in several records, and the right ones found among them."""
        shelf = Shelf(store, HashEmbedder(1024, meanings={f"q{n}": f"a{n}" for n in range(700)}))
        document = await shelf.put(*[f"a{n}" for n in range(700)])
        assert await store.count(Query(kind="vectors", where=(("document", (document.id,)), ("owner", ("ann",))))) == 3
        for n in (0, 255, 256, 511, 512, 699):
            assert await first(shelf, f"q{n}") == f"a{n}"

    async def test_deleted_documents_never_come_back(self, store: RecordStore) -> None:
        shelf = Shelf(store, HashEmbedder())
        tea = await shelf.put("green tea")
        await shelf.put("black coffee")
        assert "green tea" in await shelf.found("tea")
        await shelf.remove(tea)
        assert await shelf.found("tea") == ["black coffee"]
        await shelf.put("white tea")
        assert sorted(await shelf.found("tea")) == ["black coffee", "white tea"]

    async def test_deleted_while_it_is_searched(self, store: RecordStore) -> None:
        """The document is listed, and gone when its passages are read: others take its place."""
        shelf = Shelf(store, HashEmbedder(meanings={"chai": "tea"}))
        tea = await shelf.put("tea", "tea", "tea")
        await shelf.put("black coffee", "warm tea leaves")
        await shelf.ask("chai")

        class Meanwhile:
            async def find(self, query: Query) -> Sequence[Record]:
                found = await store.find(query)
                if query.kind == DOCUMENT.name:
                    await shelf.remove(tea)
                return found

        shelf.retrieval._store = Meanwhile()  # type: ignore[assignment]
        assert await shelf.found("chai", top_k=1) == ["warm tea leaves"]  # not the beginning of a document


class TestIndexing:
    async def test_nothing_without_an_embedder(self, store: RecordStore) -> None:
        document = await Shelf(store).put("tea")
        assert await Shelf(store).retrieval.index(document, ["tea"], None) == []
        assert await Shelf(store).retrieval.index(document, ["tea"], "gone") == []
        assert await Shelf(store, HashEmbedder()).retrieval.index(document, [], None) == []

    async def test_blocks_of_a_mebibyte(self, store: RecordStore) -> None:
        shelf = Shelf(store, HashEmbedder(3072))
        document = await shelf.put("tea")
        puts = await shelf.retrieval.index(document, [f"text {n}" for n in range(200)], None)
        counts = [put.doc["count"] for put in puts]
        assert counts == [85, 85, 30]
        assert [put.doc["first"] for put in puts] == [0, 85, 170]
        assert len({put.id for put in puts}) == 3
        assert all(put.expect == 0 for put in puts)

    async def test_an_embedder_that_fails(self, store: RecordStore) -> None:
        embedder = HashEmbedder()
        shelf = Shelf(store, embedder)
        embedder.failures.append(ProviderError("broken"))
        with pytest.raises(ProviderError, match="broken"):
            await shelf.put("tea")

    async def test_an_embedder_that_gives_too_few(self, store: RecordStore) -> None:
        class Short(HashEmbedder):
            async def embed(self, texts: Sequence[str], purpose: Purpose) -> Sequence[bytes]:
                return (await super().embed(texts, purpose))[1:]

        with pytest.raises(ProviderError, match="do not fit"):
            await Shelf(store, Short()).put("tea", "coffee")

    async def test_warming_is_of_the_documents_scope(self, store: RecordStore) -> None:
        shelf = Shelf(store)
        for document in (await shelf.put("tea"), await shelf.put("tea", conversation="c1")):
            await shelf.retrieval.warm(document)
        assert await first(shelf, "tea") == "tea"
