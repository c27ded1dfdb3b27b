"""Searches in the list of a user's conversations: titles and texts of messages, a page of 25 by last activity."""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime
from uuid import UUID

from backchat.domain.conversation import Conversation
from backchat.domain.identity import Identity
from backchat.ports.storage import Put, RecordStore
from backchat.services.access import Access, by_table
from backchat.services.archive import Archive, Wanted
from backchat.services.conversations import Conversations
from bench.arena import Options, workplace
from bench.lists import Question, Questions, timed
from bench.prefill import Language, conversation, fill, moments
from bench.report import Report, note
from bench.stores import Storage, storage

EACH = 10
"""Messages in a conversation."""
SHARES = {"largest": 10, "third": 50, "small": 250}
"""Of all messages, one in so many is this owner's; the rest belongs to owners like the last."""
RANKS = {"a word of the 30 commonest": (0, 30), "of the next 300": (30, 300), "of the next 3,000": (300, 3_000)}
RARE = (10_000, 40_000)
FRESH = 60


def owners(messages: int) -> list[str]:
    """Whose each conversation is, in the order in which they are written."""
    sizes = [messages // share for share in SHARES.values()]
    sizes += [sizes[-1]] * ((messages - sum(sizes)) // sizes[-1])
    drawn = [owner for owner, size in enumerate(sizes) for _ in range(size // EACH)]
    random.Random(7).shuffle(drawn)
    return [str(UUID(int=owner + 1)) for owner in drawn]


async def write(place: Storage, messages: int) -> None:
    language = Language()

    def changes() -> Iterator[Put]:
        of = owners(messages)
        for owner, moment in zip(of, moments(len(of)), strict=True):
            yield from conversation(owner, [language.text() for _ in range(EACH)], moment)[1]

    def progress(written: int) -> None:
        if written % 200_000 == 0:
            note(f"  {written:,} records")

    async with place.opened() as store:
        await fill(store, changes(), progress)
        await store.compact()


async def prefilled(place: Storage, options: Options, messages: int) -> None:
    """A store of so many messages; with ``--prefilled`` it is kept and taken again the next time."""
    file = place.directory / "backchat.db"
    kept = options.prefilled / f"search-{messages}.db" if options.prefilled else None
    if kept and kept.exists():
        shutil.copyfile(kept, file)
        return
    began = time.monotonic()
    await write(place, messages)
    note(f"  {messages:,} messages in {time.monotonic() - began:.0f} s")
    if kept:
        kept.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, kept)


async def _nothing(conversation: Conversation) -> None: ...


def _dropped(line: str) -> None: ...


def archive_of(store: RecordStore) -> Archive:
    def now() -> datetime:
        return datetime.now(UTC)

    conversations = Conversations(
        store, Access(store, by_table, now), now, str, idle=_nothing, stop=_nothing, unread=_nothing, drop=_dropped
    )
    return Archive(store=store, conversations=conversations, now=now)


def questions(store: RecordStore, name: str, language: Language) -> Questions:
    """What is asked of one owner, under the name that it has in ``SHARES``."""
    archive, pick = archive_of(store), language.random
    who = Identity(user=str(UUID(int=[*SHARES].index(name) + 1)))

    def search(words: Callable[[], str]) -> Callable[[], Awaitable[int]]:
        async def ask() -> int:
            return len((await archive.find(who, Wanted(words=words()))).conversations)

        return ask

    def word(low: int, high: int) -> str:
        return pick.choice(language.words[low:high])

    async def append() -> None:
        await store.apply(list(conversation(who.user, [language.text() for _ in range(EACH)], datetime.now(UTC))[1]))

    asked: Questions = {"no words": Question(search(lambda: ""))}
    asked["one letter"] = Question(search(lambda: pick.choice("bdfgklmnprstvz")))
    for common, (low, high) in RANKS.items():
        asked[common] = Question(search(lambda low=low, high=high: word(low, high)))  # type: ignore[misc]
    asked["a rare word"] = Question(search(lambda: word(*RARE)))
    asked["five of the 30 commonest"] = Question(search(lambda: " ".join(pick.sample(language.words[:30], 5))))
    asked["a common and a rare word"] = Question(search(lambda: f"{word(0, 30)} {word(3_000, 10_000)}"))
    asked["a rare word, after 10 messages were written"] = Question(search(lambda: word(*RARE)), append)
    return {f"{name}: {what}": question for what, question in asked.items()}


async def estrange(store: RecordStore, name: str) -> None:
    """Give an owner newer conversations without any of the words: what is common is then far down the list."""
    owner = str(UUID(int=[*SHARES].index(name) + 1))
    changes = [put for _ in range(FRESH) for put in conversation(owner, ["7 8 9"] * EACH, datetime.now(UTC))[1]]
    await fill(store, changes)


async def measure(options: Options) -> Report:
    messages, times = options.pick(50_000, 1_000_000), options.pick(20, 100)
    sizes = ", ".join(f"{name} {messages // share:,}" for name, share in SHARES.items())
    report = Report(
        "search",
        f"Among {messages:,} messages (40 words each, Zipf), {EACH} to a conversation: the first 25 of one owner's "
        f"conversations that have all words in the title or in one message. Messages of the owners: {sizes}. "
        f"Storage: {options.storage}.",
    )
    with workplace(options.directory) as directory, storage(options.storage, directory) as place:
        await prefilled(place, options, messages)
        size = place.mib()
        async with place.opened() as store:
            rows = []
            for name in SHARES:
                rows += await timed(questions(store, name, Language()), times)
            await estrange(store, "largest")
            asked = questions(store, "largest", Language())
            late = [f"largest: {what}" for what in ("one letter", "a word of the 30 commonest", "of the next 300")]
            far = {f"{what}, none in the newest {FRESH} conversations": asked[what] for what in late}
            rows += await timed(far, times)
    report.add(rows, f"{size:,.0f} MiB of data.")
    for row in rows:
        p95 = row["p95 ms"]
        assert isinstance(p95, float)
        report.goal(f"{row['question']}, p95", p95, 30, unit="ms")
    empty = [str(row["question"]) for row in rows if "rare" not in str(row["question"]) and not row["found, mean"]]
    report.fault("questions without any answer", empty)
    return report
