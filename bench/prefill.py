"""Stores filled through the storage port, in big batches: what a server has after years, in minutes."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import accumulate

from uuid_utils import uuid7

from backchat.domain.conversation import Conversation, title_of
from backchat.domain.message import Message, Text
from backchat.ports.storage import Change, Put, RecordStore
from backchat.services.stored import conversation_put, message_put

BATCH = 4000
"""Changes in one ``apply``: large enough that the commit costs nothing."""


class Language:
    """Texts whose words are as unevenly common as those of a language (Zipf), the same ones for the same seed."""

    def __init__(self, *, words: int = 50_000, seed: int = 1) -> None:
        self.random = random.Random(seed)
        self.words = [_word(rank) for rank in range(words)]
        weights = list(accumulate(1 / (rank + 2.7) for rank in range(words)))
        pick = self.random.choices
        self._pieces = [" ".join(pick(self.words, cum_weights=weights, k=20)) for _ in range(20_000)]

    def text(self) -> str:
        """Forty words."""
        pick = self.random.choice
        return f"{pick(self._pieces)} {pick(self._pieces)}"


def _word(rank: int) -> str:
    """A word of syllables, another one for each rank; common words are short."""
    syllables = ""
    rank += 1
    while rank:
        rank, digit = divmod(rank, 70)
        syllables += "bdfgklmnprstvz"[digit // 5] + "aeiou"[digit % 5]
    return syllables


def conversation(owner: str, texts: Sequence[str], moment: datetime) -> tuple[str, Iterator[Put]]:
    """The id of a new conversation, and the changes that store it with these messages in turn by user and assistant."""
    id, ids = str(uuid7()), [str(uuid7()) for _ in texts]
    whole = Conversation(
        id=id,
        owner=owner,
        title=title_of(texts[0]),
        created_at=moment,
        updated_at=moment,
        leaf=ids[-1],
        next_seq=len(ids) + 1,
        messages=len(ids),
        characters=sum(map(len, texts)),
    )

    def changes() -> Iterator[Put]:
        yield conversation_put(whole)
        for seq, text in enumerate(texts, 1):
            yield message_put(
                Message(
                    id=ids[seq - 1],
                    conversation=id,
                    owner=owner,
                    seq=seq,
                    role="user" if seq % 2 else "assistant",
                    parts=(Text(text),),
                    created_at=moment,
                    parent=ids[seq - 2] if seq > 1 else None,
                )
            )

    return id, changes()


async def fill(store: RecordStore, changes: Iterable[Change], progress: Callable[[int], None] | None = None) -> int:
    """Apply all changes; returns how many. Two batches are under way, so that making one overlaps writing another."""
    batch: list[Change] = []
    writing: asyncio.Task[None] | None = None
    written = 0
    for change in changes:
        batch.append(change)
        if len(batch) == BATCH:
            if writing is not None:
                await writing
            writing = asyncio.create_task(store.apply(batch))
            await asyncio.sleep(0)
            written += len(batch)
            batch = []
            if progress is not None:
                progress(written)
    if writing is not None:
        await writing
    if batch:
        await store.apply(batch)
    return written + len(batch)


def moments(count: int) -> Iterator[datetime]:
    """So many times, a second apart, up to now."""
    start = datetime.now(UTC) - timedelta(seconds=count)
    return (start + timedelta(seconds=number) for number in range(count))


async def owner_of(store: RecordStore, conversation_id: str) -> str:
    """The account that a conversation belongs to."""
    record = await store.get("conversation", conversation_id)
    if record is None:
        raise LookupError(conversation_id)
    return str(record.doc["owner"])
