"""Exact search among stored vectors."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backchat.domain.document import Document
from backchat.ports.storage import Put, Query, Record, RecordStore
from backchat.services import vectors as vector_search
from backchat.services.document_records import (
    VECTORS,
    vectors_put,
)
from backchat.services.vectors import Nearest, Source, records_of, signature
from backchat.testing.embedding import cosine, vector_of
from backchat.testing.memory_store import open_memory
from shelf import BEGINNING, open_store


@pytest.fixture(params=["memory", "sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[RecordStore]:
    async with open_store(request.param, tmp_path) as store:
        yield store


class Counting:
    """A store that counts what is read of the vectors."""

    def __init__(self, store: RecordStore) -> None:
        self.store = store
        self.reads = 0

    async def find(self, query: Query) -> Sequence[Record]:
        self.reads += query.kind == VECTORS.name
        return await self.store.find(query)


def plain_best(query: bytes, vectors: Mapping[tuple[str, int], bytes], limit: int) -> list[float]:
    return sorted((cosine(query, v) for v in vectors.values()), reverse=True)[:limit]


async def shelved(
    store: RecordStore, sizes: Sequence[int], dims: int, seed: int
) -> tuple[list[Source], dict[tuple[str, int], bytes]]:
    """Documents of so many random vectors, stored."""
    pick = random.Random(seed)
    documents: list[Source] = []
    vectors: dict[tuple[str, int], bytes] = {}
    changes: list[Put] = []
    for number, size in enumerate(sizes):
        document = Document(
            id=f"d{number}",
            owner="ann",
            filename="f",
            mime="m",
            size=1,
            sha256="",
            created_at=BEGINNING,
            updated_at=BEGINNING,
            assistant="a1",
            status="indexed",
            chunks=size,
        )
        made = [vector_of([pick.choice((-1.0, 0.25, 0.5, 1.0)) for _ in range(dims)]) for _ in range(size)]
        vectors |= {(document.id, n): v for n, v in enumerate(made)}
        changes += [vectors_put(v) for v in records_of(document, "a:a1", signature("m", vector_of([1.0] * dims)), made)]
        documents.append(Source(document.id, size))
    await store.apply(changes)
    return documents, vectors


class TestExactSearch:
    @given(
        sizes=st.lists(st.integers(0, 12), max_size=6),
        dims=st.sampled_from([1, 3, 16]),
        limit=st.integers(1, 20),
        capacity=st.sampled_from([0, 2_000, 1 << 20]),
        seed=st.integers(0, 1_000),
    )
    @settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    def test_as_plain_python_would(self, sizes: list[int], dims: int, limit: int, capacity: int, seed: int) -> None:
        async def check() -> None:
            async with open_memory((VECTORS,)) as store:
                documents, vectors = await shelved(store, sizes, dims, seed)
                query = vector_of([random.Random(seed + 1).uniform(0.1, 1) for _ in range(dims)])
                nearest = Nearest(store, capacity)
                expected = plain_best(query, vectors, limit)
                for _ in range(3):  # cold, and twice with whatever is kept
                    hits = await nearest.find("ann", documents, signature("m", query), query, limit)
                    assert [score for _, score in hits] == pytest.approx(expected, abs=1e-5)
                    assert len({place for place, _ in hits}) == len(hits)
                    for place, score in hits:
                        assert score == pytest.approx(cosine(query, vectors[place]), abs=1e-5)
                some = documents[::2]
                hits = await nearest.find("ann", some, signature("m", query), query, limit)
                assert {document for (document, _), _ in hits} <= {d.id for d in some}

        asyncio.run(check())

    async def test_what_is_kept_is_not_read_again(self, store: RecordStore) -> None:
        documents, _ = await shelved(store, [5, 0, 5], 8, 1)
        counting = Counting(store)
        nearest = Nearest(counting, 1 << 20)  # type: ignore[arg-type]
        query = vector_of([1.0] * 8)
        await nearest.find("ann", documents, signature("m", query), query, 3)
        reads = counting.reads
        await nearest.find("ann", documents, signature("m", query), query, 3)
        assert (reads, counting.reads) == (1, 1)

    async def test_no_more_is_kept_than_allowed(self, store: RecordStore) -> None:
        documents, _ = await shelved(store, [100] * 10, 64, 1)
        query = vector_of([1.0] * 64)
        each = 100 * 64 * 4
        nearest = Nearest(store, 4 * each)
        for chosen_ones in (documents, documents[5:], documents[:2], documents):
            await nearest.find("ann", chosen_ones, signature("m", query), query, 3)
            held = sum(b.rows.nbytes for blocks in nearest._kept.values() for b in blocks)
            assert 3 * each <= held <= 4 * each
            assert nearest._bytes <= 4 * each

    async def test_more_than_fits_does_not_drive_itself_out(self, store: RecordStore) -> None:
        """A scope larger than the cache is read anew only as far as it does not fit."""
        documents, _ = await shelved(store, [100] * 10, 64, 1)
        query = vector_of([1.0] * 64)
        counting = Counting(store)
        nearest = Nearest(counting, 100 * 64 * 4 * 6)  # type: ignore[arg-type]
        await nearest.find("ann", documents, signature("m", query), query, 3)
        kept = set(nearest._kept)
        await nearest.find("ann", documents, signature("m", query), query, 3)
        assert len(kept) == 5
        assert set(nearest._kept) == kept

    async def test_what_takes_too_long_to_read_is_read_by_the_next_search(
        self, store: RecordStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        documents, vectors = await shelved(store, [4] * 5, 8, 1)
        query = vector_of([1.0] * 8)
        monkeypatch.setattr(vector_search, "PATIENCE", 0)
        monkeypatch.setattr(vector_search, "PAGE_BYTES", 4 * 8 * 4 * 2)  # two documents
        nearest = Nearest(store, 1 << 20)
        seen = []
        for _ in range(4):
            hits = await nearest.find("ann", documents, signature("m", query), query, 100)
            seen.append(len({document for (document, _), _ in hits}))
        assert seen == [2, 4, 5, 5]
        assert [score for _, score in hits] == pytest.approx(plain_best(query, vectors, 100), abs=1e-5)

    async def test_a_damaged_record_is_left_out(self, store: RecordStore) -> None:
        documents, _ = await shelved(store, [3, 3], 8, 1)
        query = vector_of([1.0] * 8)
        signed = signature("m", query)
        (record,) = await store.find(Query(kind="vectors", where=(("document", ("d0",)), ("owner", ("ann",)))))
        await store.apply([Put("vectors", record.id, {**record.doc, "count": 4})])
        hits = await Nearest(store, 1 << 20).find("ann", documents, signed, query, 10)
        assert {document for (document, _), _ in hits} == {"d1"}
