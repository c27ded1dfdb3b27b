"""Filters of a pull combine: what each store gives is what a loop over all entries gives."""

from __future__ import annotations

import asyncio
import re
import tempfile
import unicodedata
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backchat.domain.limits import VaultLimits
from backchat.domain.vault import SealedContent, VaultEntry, VaultVersion
from backchat.ports.storage import Change, Delete, RecordStore
from backchat.sealing.binary import from_text
from backchat.services.vault import Vault, VaultFilter
from backchat.services.vault_records import (
    CONTENT,
    ENTRY,
    VERSION,
    entry_id,
    entry_put,
    latest_id,
    lineage,
    version_puts,
)
from backchat.testing.memory_store import MemoryStore
from nodes import ANN, BOB
from sqlite_files import opened
from vault_desk import HeldKeys

START = datetime(2026, 1, 1, tzinfo=UTC)
KINDS = (ENTRY, VERSION, CONTENT)
PLATFORMS, CATEGORIES = ("ollama", "chatgpt"), (None, "Coding", "coding", "")
TAGS = ("a", "A", "a%", '"', "ä")
fragments = st.sampled_from(
    [
        "tea",
        "Teapot",
        "TEA-cup",
        "té",
        "e\u0301t",
        "AND",
        "NOT tea",
        "a_b",
        "a%",
        '"tea"',
        "te*",
        "ﬁn",
        "Straße",
        "٣",
        "-",
    ]
)
texts = st.one_of(st.none(), fragments, st.lists(fragments, max_size=4).map(" ".join))
searches = st.one_of(
    st.just(""),
    st.sampled_from(
        ["t", "te", "tea*", "Tea", "TÉ", "tea AND cup", "tea OR fin", "a b", "a_", "%", "_", "strasse", "FIN"]
    ),
    st.lists(fragments, min_size=1, max_size=2).map("  ".join),
)


@dataclass(frozen=True)
class Details:
    platform: str
    title: str | None
    topic: str | None
    category: str | None
    tags: tuple[str, ...]
    minute: int


details = st.builds(
    Details,
    st.sampled_from(PLATFORMS),
    texts,
    texts,
    st.sampled_from(CATEGORIES),
    st.lists(st.sampled_from(TAGS), max_size=3, unique=True).map(tuple),
    st.integers(0, 3),
)
filters = st.builds(
    VaultFilter,
    platform=st.sampled_from([None, None, "ollama", "ChatGPT", "chat"]),
    category=st.sampled_from([None, None, "coding", "Coding", ""]),
    chat=st.sampled_from([None, None, None, "c1", "c2"]),
    tags=st.lists(st.sampled_from(TAGS), max_size=2),
    words=searches,
)
pages = st.tuples(st.sampled_from([1, 3, 100]), st.sampled_from([0, 0, 1, 7]))


def new_entry(owner: str, number: int, told: Details) -> VaultEntry:
    chat = f"c{number}"
    bare = VaultEntry(
        id=entry_id(owner, told.platform, chat),
        owner=owner,
        number=number,
        chat=chat,
        platform=told.platform,
        title=None,
        category=None,
        topic=None,
        tags=(),
        model=None,
        latest=1,
        oldest=1,
        messages=1,
        content_hash=None,
        key=None,
        size=16,
        created_at=START,
        updated_at=START,
    )
    return described(bare, told)


def described(entry: VaultEntry, told: Details) -> VaultEntry:
    """Everything but the platform, which never changes."""
    return replace(
        entry,
        title=told.title,
        topic=told.topic,
        category=told.category,
        tags=told.tags,
        updated_at=START + timedelta(minutes=told.minute),
    )


def first_puts(entry: VaultEntry) -> list[Change]:
    version = VaultVersion(
        entry=lineage(entry),
        owner=entry.owner,
        number=1,
        messages=1,
        content_hash=None,
        key=None,
        model=None,
        token=None,
        size=16,
        created_at=START,
    )
    return [entry_put(entry), *version_puts(version, SealedContent(bytes(12), entry.number.to_bytes(16)))]


def removal(entry: VaultEntry) -> list[Change]:
    return [Delete(ENTRY.name, entry.id), *[Delete(kind.name, latest_id(entry)) for kind in (VERSION, CONTENT)]]


def said(text: str | None) -> list[str]:
    """The words of a text, by the letter of the contract."""
    plain = "".join([c for c in unicodedata.normalize("NFKD", text or "") if not unicodedata.combining(c)])
    return re.findall(r"[^\W_]+", plain.casefold())


def matches(entry: VaultEntry, wanted: VaultFilter) -> bool:
    held = said(entry.title) + said(entry.topic)
    asked = said(wanted.words)
    return (
        (wanted.platform is None or wanted.platform.lower() == entry.platform)
        and (wanted.category is None or wanted.category == entry.category)
        and (wanted.chat is None or wanted.chat == entry.chat)
        and set(wanted.tags) <= set(entry.tags)
        and (not wanted.words or bool(asked))
        and all(any(word.startswith(beginning) for word in held) for beginning in asked)
    )


def expected(entries: Sequence[VaultEntry], wanted: VaultFilter) -> list[int]:
    """The numbers of those that match, in their order."""
    found = [e for e in entries if matches(e, wanted)]
    return [e.number for e in sorted(found, key=lambda e: (e.updated_at, e.number), reverse=True)]


def vault_over(store: RecordStore) -> Vault:
    return Vault(store, HeldKeys(), VaultLimits(), now=lambda: START)


async def numbers(vault: Vault, wanted: VaultFilter, limit: int, offset: int) -> list[int]:
    found: list[int] = []
    async for group in vault.pull(ANN, wanted, limit=limit, offset=offset):
        for entry, content in group:
            assert int.from_bytes(from_text(content.data)) == entry.number
            found.append(entry.number)
    return found


@asynccontextmanager
async def stores() -> AsyncIterator[Sequence[RecordStore]]:
    with tempfile.TemporaryDirectory() as folder:
        async with opened(Path(folder) / "backchat.db", KINDS, readers=1, synchronous="NORMAL") as store:
            yield [MemoryStore(KINDS), store]


async def compare(
    mine: Sequence[Details],
    changes: Sequence[tuple[int, Details | None]],
    asked: Sequence[tuple[VaultFilter, tuple[int, int]]],
) -> None:
    async with stores() as opened_stores:
        for store in opened_stores:
            entries = {n: new_entry(ANN.user, n, told) for n, told in enumerate(mine, 1)}
            others = [new_entry(BOB.user, n, told) for n, told in enumerate(mine, 1)]
            await store.apply([put for e in (*entries.values(), *others) for put in first_puts(e)])
            vault = vault_over(store)

            async def check(entries: dict[int, VaultEntry], vault: Vault = vault) -> None:
                for wanted, (limit, offset) in asked:
                    found = expected(list(entries.values()), wanted)
                    assert await numbers(vault, wanted, limit, offset) == found[offset : offset + limit], wanted
                    assert await vault.count(ANN, wanted) == len(found), wanted

            await check(entries)
            for n, told in changes:
                if n not in entries:
                    continue
                if told is None:
                    await store.apply(removal(entries.pop(n)))
                else:
                    entries[n] = replace(described(entries[n], told), version=entries[n].version + 1)
                    await store.apply([entry_put(entries[n])])
            await check(entries)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(details, min_size=4, max_size=25),
    st.lists(st.tuples(st.integers(1, 10), st.one_of(details, details, st.none())), max_size=5),
    st.lists(st.tuples(filters, pages), min_size=5, max_size=8),
)
def test_filters_combine(
    mine: list[Details],
    changes: list[tuple[int, Details | None]],
    asked: list[tuple[VaultFilter, tuple[int, int]]],
) -> None:
    asyncio.run(compare(mine, changes, asked))


async def test_every_page_of_a_large_vault() -> None:
    """A word of nearly all, one of a few, and pages far down, each of which stores answer in another way."""
    entries = [
        new_entry(
            ANN.user,
            n,
            Details(
                platform=PLATFORMS[n % 2],
                title="Often" if n % 7 else "Hardly",
                topic="Seldom" if n % 47 == 0 else None,
                category="coding" if n % 3 else None,
                tags=("a",) if n % 5 else ("a", "ä"),
                minute=n * 7919 % 50,
            ),
        )
        for n in range(1, 301)
    ]
    asked = [
        VaultFilter(platform=platform, category=category, tags=tags, words=words)
        for words in ("", "often", "seldom", "often sel", "of", "never")
        for platform, category, tags in ((None, None, ()), ("ollama", None, ("a",)), ("ollama", "coding", ("ä", "a")))
    ]
    asked += [VaultFilter(chat=f"c{n}", words="often") for n in (5, 7, 400)]
    # What they say stays, so that only their filters change in the word index.
    moved = [replace(e, category="moved", tags=("ä",), version=1) for e in entries[::4]]
    later = [VaultFilter(category="moved", words="often"), VaultFilter(category="coding", words="often")]
    later += [VaultFilter(tags=("ä",), words="of"), VaultFilter(tags=("a",), words="of")]
    async with stores() as opened_stores:
        for store in opened_stores:
            await store.apply([put for e in entries for put in first_puts(e)])
            vault = vault_over(store)
            await check_pages(vault, entries, asked)
            await store.apply([entry_put(e) for e in moved])
            await check_pages(vault, [*{e.id: e for e in (*entries, *moved)}.values()], later)


async def check_pages(vault: Vault, entries: Sequence[VaultEntry], asked: Sequence[VaultFilter]) -> None:
    for wanted in asked:
        found = expected(entries, wanted)
        assert await vault.count(ANN, wanted) == len(found), wanted
        for limit, offset in ((20, 0), (100, 150), (20, 190), (40, 30)):
            assert await numbers(vault, wanted, limit, offset) == found[offset : offset + limit], wanted
