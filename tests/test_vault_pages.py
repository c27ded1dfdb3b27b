"""Reading a list of entries that changes between its pages."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backchat.client import pages
from backchat.client.errors import VaultError
from backchat.client.pages import Page, walk
from backchat.client.shapes import Entry
from backchat.domain.vault import SealedContent

START = datetime(2026, 1, 1, tzinfo=UTC)
Change = tuple[Literal["push", "new", "delete"], int]


def entry(id: int, at: int) -> Entry:
    moment = START + timedelta(seconds=at)
    return Entry(
        id=id,
        chat=str(id),
        title="",
        platform="p",
        category=None,
        topic=None,
        tags=(),
        model=None,
        messages=1,
        version=1,
        content_hash=None,
        key=None,
        created_at=moment,
        updated_at=moment,
        sealed=SealedContent(b"", b""),
    )


class Shelf:
    """A list as a server has it, last changed first. Before each page the next of ``changes`` happen."""

    def __init__(self, count: int, changes: Sequence[Sequence[Change]] = (), size: int = 1000) -> None:
        self.entries = [entry(id, id) for id in range(count, 0, -1)]
        self.first = {e.id for e in self.entries}
        self.lasting = set(self.first)
        self.asked: list[tuple[int, int]] = []
        self._changes, self._size = list(changes), size
        self._clock = self._last = count

    async def fetch(self, offset: int, size: int) -> Page:
        if self.asked and self._changes:
            for change in self._changes.pop(0):
                self._change(*change)
        self.asked.append((offset, size))
        assert 1 <= size <= 100
        found = self.entries[offset : offset + size]
        return Page(found, len(self.entries), len(found) * self._size)

    def _change(self, what: str, which: int) -> None:
        self._clock += 1
        if what == "new":
            self._last += 1
            self.entries.insert(0, entry(self._last, self._clock))
        elif self.entries:
            gone = self.entries.pop(which % len(self.entries))
            if what == "push":
                self.entries.insert(0, entry(gone.id, self._clock))
            else:
                self.lasting.discard(gone.id)


async def ids(shelf: Shelf, limit: int | None = None) -> list[int]:
    return [e.id async for e in walk(shelf.fetch, limit)]


@pytest.fixture(autouse=True, scope="module")
def small_pages() -> object:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pages, "SIZE_FIRST", 4)
        yield


@pytest.mark.parametrize("count", [0, 1, 3, 4, 5, 17, 200])
async def test_a_list_that_nobody_changes(count: int) -> None:
    shelf = Shelf(count)
    assert await ids(shelf) == list(range(count, 0, -1))


async def test_a_list_of_one_page_is_asked_for_once() -> None:
    shelf = Shelf(4)
    assert len(await ids(shelf)) == 4
    assert shelf.asked == [(0, 4)]


async def test_at_the_end_only_the_front_is_looked_at_again() -> None:
    shelf = Shelf(200)
    await ids(shelf)
    assert shelf.asked == [(0, 4), (3, 100), (102, 100), (0, 2)]


@pytest.mark.parametrize(("limit", "requests"), [(0, 0), (1, 1), (4, 1), (5, 2), (200, 3)])
async def test_a_limit(limit: int, requests: int) -> None:
    shelf = Shelf(200)
    assert await ids(shelf, limit) == list(range(200, 200 - limit, -1))
    assert len(shelf.asked) == requests
    assert [size for _, size in shelf.asked[:1]] == [min(limit, 4)][:requests]


async def test_large_entries_come_in_small_pages() -> None:
    shelf = Shelf(30, size=pages.PAGE_BYTES // 3)
    assert len(await ids(shelf)) == 30
    assert {size for _, size in shelf.asked[1:-1]} == {3}
    shelf = Shelf(30, size=pages.PAGE_BYTES * 2)
    assert len(await ids(shelf)) == 30


async def test_a_page_that_is_too_large_is_asked_for_again() -> None:
    shelf = Shelf(30)

    async def fetch(offset: int, size: int) -> Page:
        if size > 2 and offset <= 10 < offset + size:
            raise VaultError("too much", code="too_large")
        return await shelf.fetch(offset, size)

    assert [e.id async for e in walk(fetch)] == list(range(30, 0, -1))
    assert max(size for _, size in shelf.asked) > 2, "the others come in larger pages"


@pytest.mark.parametrize(("code", "requests"), [("too_large", 2), ("unreachable", 1)])
async def test_a_page_that_does_not_come(code: str, requests: int) -> None:
    asked = []

    async def fetch(offset: int, size: int) -> Page:
        asked.append(size)
        raise VaultError("no", code=code)

    with pytest.raises(VaultError):
        [e async for e in walk(fetch)]
    assert asked == [4, 2][:requests]


async def test_a_deletion_leaves_nothing_out() -> None:
    shelf = Shelf(30, [[("delete", 0)] * 3])
    assert set(await ids(shelf)) == set(range(1, 31))


async def test_a_push_leaves_nothing_out() -> None:
    shelf = Shelf(30, [[("push", 20), ("push", 29)]])
    found = await ids(shelf)
    assert set(found) == set(range(1, 31))
    assert len(found) == 30


CHANGES = st.lists(st.tuples(st.sampled_from(["push", "new", "delete"]), st.integers(0, 40)), max_size=4)


@given(st.integers(0, 25), st.lists(CHANGES, max_size=6), st.sampled_from([1, pages.PAGE_BYTES // 3]))
async def test_whatever_happens_all_that_lasts_is_there_once(
    count: int, changes: list[list[Change]], size: int
) -> None:
    shelf = Shelf(count, changes, size)
    found = await ids(shelf)
    assert len(found) == len(set(found))
    assert shelf.lasting <= set(found)
