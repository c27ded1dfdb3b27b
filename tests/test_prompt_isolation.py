"""Ten thousand random turns of several users: what one of them keeps never reaches another's prompt."""

from __future__ import annotations

import asyncio
import random
import re
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest
import uuid_utils

from backchat.domain.document import Document
from backchat.domain.identity import Identity
from backchat.domain.message import Text, ToolResult
from backchat.domain.recipe import MemoryMode
from backchat.errors import NotOwned
from backchat.ports.providers import Abilities, ModelRequest, ProviderEvent
from backchat.ports.storage import Put
from backchat.services.assembly import Parts, assembled
from backchat.services.container import Services
from backchat.services.document_records import Piece, document_put, piece_put, scope_of
from backchat.services.kinds import KINDS
from backchat.services.providers import Configured, Providers
from backchat.services.saying import Say
from backchat.testing.provider import ScriptedProvider
from backchat_recall import backchat_learners
from backchat_sqlite import backchat_storages
from backchat_window import backchat_memories
from nodes import Quiet
from sizes import many

TURNS = many(10_000)
AT_ONCE = 24
MODES: Sequence[MemoryMode] = ("off", "read", "write")
NAMES = ("ann", "bob", "cem", "dia")
WORDS = [
    a + b
    for a in ("gar", "mil", "tor", "ven", "sol", "pan")
    for b in ("den", "lo", "ra", "tin", "mus", "kel", "fi", "sta")
]
MARK = re.compile(r"\b(ann|bob|cem|dia)x\d+\b")


@dataclass
class Person:
    """What somebody has. ``threads`` are those that nobody is using just now; ``first`` is one that stays."""

    who: Identity
    first: str = ""
    assistants: list[str] = field(default_factory=list)
    threads: list[str] = field(default_factory=list)


class Watch(ScriptedProvider):
    """Counts whose marks are in whose prompts; whose prompt it is, the mark in the last words says."""

    def __init__(self) -> None:
        super().__init__(["ok"], abilities=Abilities(instructions=False))
        self.seen: Counter[tuple[str, str]] = Counter()
        self.cited: Counter[tuple[str, str]] = Counter()

    def look(self, request: ModelRequest) -> None:
        texts = [request.system, *(f"{c.source} {c.text}" for c in request.citations)]
        said = [
            p.text if isinstance(p, Text) else p.content
            for m in request.messages
            for p in m.parts
            if isinstance(p, Text | ToolResult)
        ]
        (asker,) = set(MARK.findall(said[-1]))
        self.cited.update([(asker, c.source) for c in request.citations])
        for text in [*texts, *said]:
            for owner in MARK.findall(text):
                self.seen[asker, owner] += 1

    async def stream(self, request: ModelRequest) -> AsyncGenerator[ProviderEvent, None]:
        self.look(request)
        self.requests.clear()
        async for event in super().stream(request):
            yield event


@pytest.fixture
async def watched(tmp_path: Path) -> AsyncIterator[tuple[Services, Watch]]:
    (sqlite,), (recall,), (few,) = backchat_storages(), backchat_learners(), backchat_memories()
    watch = Watch()
    async with (
        sqlite.open(
            sqlite.schema.load({"path": str(tmp_path / "x.db"), "synchronous": "NORMAL"}), KINDS, lambda _: None
        ) as store,
        recall.open(recall.schema.load({})) as learner,
        few.open(few.schema.load({"size": 4})) as window,
    ):
        parts = Parts(
            store=store,
            providers=Providers({"p": Configured("p", "p", watch)}, "p"),
            memory=window,
            learner=learner,
            meter=Quiet(),
            now=lambda: datetime.now(UTC),
            new_id=lambda: str(uuid_utils.uuid7()),
        )
        async with assembled(parts) as services:
            yield services, watch


async def furnish(services: Services, rng: random.Random, name: str) -> Person:
    """Assistants with memories, and threads, marked as their owner's."""
    person = Person(Identity(user=name))
    for n in range(3):
        assistant = await services.assistants.create(person.who, name=f"same name {n}", system=f"{name}x{n} system")
        person.assistants.append(assistant.id)
        for _ in range(5):
            await services.memories.add(person.who, assistant.id, phrase(rng, name), {})
        for _ in range(3):
            thread = await services.conversations.create(person.who, assistant=assistant.id, channel="threads")
            person.threads.append(thread.id)
    person.first = person.threads.pop()
    return person


async def lay_documents(services: Services, rng: random.Random, people: Sequence[Person]) -> None:
    """A document with some pieces for every assistant and thread, as reading one leaves it."""
    now = datetime.now(UTC)
    for person in people:
        name = person.who.user
        places: list[tuple[str | None, str | None]] = [(a, None) for a in person.assistants]
        places += [(None, t) for t in person.threads]
        for assistant, conversation in places:
            id = str(uuid_utils.uuid7())
            filename = "assistant.txt" if assistant else "conversation.txt"
            document = Document(
                id=id,
                owner=name,
                filename=filename,
                mime="text/plain",
                size=1,
                sha256="0",
                created_at=now,
                updated_at=now,
                status="indexed",
                chunks=5,
                assistant=assistant,
                conversation=conversation,
            )
            changes: list[Put] = [document_put(document)]
            for n in range(5):
                text = phrase(rng, name)
                piece = Piece(
                    document=id,
                    owner=name,
                    scope=scope_of(assistant=assistant, conversation=conversation),
                    n=n,
                    text=text,
                    filename=filename,
                    start=0,
                    end=len(text),
                )
                changes.append(piece_put(piece))
            await services.runs.store.apply(changes)


def phrase(rng: random.Random, name: str) -> str:
    return f"My {' '.join(rng.choices(WORDS, k=4))} is {name}x{rng.randrange(10**6)}"


@pytest.mark.timeout(240)
async def test_ten_thousand_turns(watched: tuple[Services, Watch]) -> None:
    services, watch = watched
    rng = random.Random(20261121)
    people = [await furnish(services, rng, name) for name in NAMES]
    await lay_documents(services, rng, people)
    left = TURNS
    refused = 0

    async def one() -> None:
        nonlocal left, refused
        while left > 0:
            left -= 1
            person = rng.choice([p for p in people if p.threads])
            other = rng.choice([p for p in people if p is not person])
            thread = person.threads.pop(rng.randrange(len(person.threads)))
            stray = rng.random() < 0.1
            say = Say(
                text=f"{phrase(rng, person.who.user)}. What do you know of {rng.choice(WORDS)}?",
                conversation=other.first if stray else thread,
                memory=rng.choices(MODES, [4, 5, 1])[0],
            )
            if rng.random() < 0.2:
                say = Say(text=say.text, assistant=rng.choice((other if stray else person).assistants), memory="read")
            try:
                run = await services.turns.say(person.who, say)
            except NotOwned:
                refused += 1
                assert stray
                person.threads.append(thread)
                continue
            assert not stray
            async for _ in services.runs.follow(person.who, run.id):
                pass
            if rng.random() < 0.02:
                await services.conversations.discard(person.who, thread)
                assistant = rng.choice(person.assistants)
                thread = (await services.conversations.create(person.who, assistant=assistant, channel="threads")).id
            person.threads.append(thread)

    await asyncio.gather(*[one() for _ in range(AT_ONCE)])
    assert refused > TURNS / 20
    sources = ("memory", "assistant.txt", "conversation.txt")
    assert all(watch.cited[name, source] > TURNS / 100 for name in NAMES for source in sources)
    assert [pair for pair in watch.seen if pair[0] != pair[1]] == []
