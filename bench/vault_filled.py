"""A store with the vaults of many users, as years of pushes leave it: sealed content, and details to filter by."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import accumulate

from backchat.domain.vault import SealedContent, VaultEntry, VaultVersion
from backchat.ports.storage import Put
from backchat.services.vault_records import counter_put, entry_id, entry_put, lineage, version_puts
from bench.prefill import Language, fill
from bench.report import note
from bench.stores import Storage

PLATFORMS = {"chatgpt": 50, "claude": 25, "gemini": 15, "ollama": 8, "mistral": 2}
CATEGORIES = {"coding": 30, "research": 20, "writing": 15, "work": 10, "home": 5, "travel": 3, "health": 2, "law": 1}
"""How many in a hundred have it; the others have no category."""
TAGS = 300
EVERYWHERE = "chat"
"""In nine of ten titles; no word of the language begins with a ``c``, so that it is found by one letter as well."""
PREPARED = 64


def tag(rank: int) -> str:
    """The tag that so many others are commoner than."""
    return f"tag-{rank}"


def chat(owner: str, number: int) -> str:
    """The platform's id of an entry."""
    return f"{number:08x}-{owner[-12:]}"


class Vaults:
    """Entries without end, the same ones for the same seed."""

    def __init__(self, language: Language) -> None:
        self.random, self.language = random.Random(5), language
        self._ranks = list(accumulate(1 / (rank + 2.7) for rank in range(len(language.words))))
        self._tags = list(accumulate(1 / (rank + 2.7) for rank in range(TAGS)))
        self._contents = [self.random.randbytes(4096) for _ in range(PREPARED)]
        self._start = datetime.now(UTC) - timedelta(days=400)

    def puts(self, owner: str, number: int) -> Iterator[Put]:
        """The records of one entry, which one push made and some later ones have changed the details of."""
        pick = self.random
        created = self._start + timedelta(seconds=60 * number)
        updated = created + timedelta(seconds=pick.expovariate(1 / 86_400) if pick.random() < 0.4 else 0)
        [platform] = pick.choices([*PLATFORMS], [*PLATFORMS.values()])
        category = pick.choices([*CATEGORIES, None], [*CATEGORIES.values(), 100 - sum(CATEGORIES.values())])[0]
        title, topic = self._words(6), self._words(3) if pick.random() < 0.7 else None
        tags = dict.fromkeys(
            tag(rank) for rank in pick.choices(range(TAGS), cum_weights=self._tags, k=pick.randrange(6))
        )
        size = pick.randint(2048, 4096)
        content = SealedContent(pick.randbytes(12), pick.choice(self._contents)[:size])
        entry = VaultEntry(
            id=entry_id(owner, platform, chat(owner, number)),
            owner=owner,
            number=number,
            chat=chat(owner, number),
            platform=platform,
            title=f"{title} {EVERYWHERE}" if pick.random() < 0.9 else title,
            category=category,
            topic=topic,
            tags=tuple(tags),
            model="bench-model",
            latest=1,
            oldest=1,
            messages=2 + number % 40,
            content_hash=pick.randbytes(32).hex(),
            key="vk-bench",
            size=size,
            created_at=created,
            updated_at=updated,
        )
        yield entry_put(entry)
        yield from version_puts(
            VaultVersion(
                entry=lineage(entry),
                owner=owner,
                number=1,
                messages=entry.messages,
                content_hash=entry.content_hash,
                key=entry.key,
                model=entry.model,
                token="bench",
                size=size,
                created_at=created,
            ),
            content,
        )

    def _words(self, count: int) -> str:
        return " ".join(self.random.choices(self.language.words, cum_weights=self._ranks, k=count))


async def write(place: Storage, sizes: Sequence[tuple[str, int]]) -> None:
    """Give owners without a vault so many entries each. They lie in the file mixed, as they would have come."""
    vaults = Vaults(Language())
    drawn = [owner for owner, size in sizes for _ in range(size)]
    random.Random(7).shuffle(drawn)

    def changes() -> Iterator[Put]:
        numbers = dict.fromkeys([owner for owner, _ in sizes], 0)
        for owner in drawn:
            numbers[owner] += 1
            yield from vaults.puts(owner, numbers[owner])
        for owner, last in numbers.items():
            yield counter_put(owner, last, 0)

    def progress(written: int) -> None:
        if written % 100_000 == 0:
            note(f"  {written:,} records")

    async with place.opened() as store:
        await fill(store, changes(), progress)
        await store.compact()
