"""Conversations with trees of every shape, for hypothesis and for tests that name their messages."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

from hypothesis import strategies as st

from backchat.domain.conversation import Conversation
from backchat.domain.identity import Identity
from backchat.domain.limits import Retention
from backchat.domain.message import Foreign, Message, Part, Reasoning, Role, Text, ToolCall
from backchat.ports.storage import Change, Query, Record, RecordStore
from backchat.services.access import Access, by_table
from backchat.services.conversations import Conversations
from backchat.services.forks import Forks
from backchat.services.kinds import KINDS
from backchat.services.stored import conversation_put, message_put
from backchat.services.trees import Trees
from backchat.testing.memory_store import MemoryStore

ANN, BOB = Identity(user="ann"), Identity(user="bob")
BEGINNING = datetime(2026, 1, 1, tzinfo=UTC)
WORKED = """
U0
  A1
    U2
      A3
        U4
          A5
      A3b
    U2b
      A3c
  A1b
    U2c
R2
  R2A
"""
"""The tree of the contract's example, section 3.1."""

_words = st.text(alphabet="abc é\n\U0001f30a", max_size=6)
_parts: st.SearchStrategy[Part] = st.one_of(
    _words.map(Text),
    _words.map(Reasoning),
    st.builds(ToolCall, st.sampled_from(["c1", "c2"]), st.just("look"), st.just("{}")),
    st.just(Foreign({"type": "video_url", "video_url": {"url": "https://example.org"}})),
)
_roles: st.SearchStrategy[Role] = st.sampled_from(["user", "assistant", "system", "tool"])


@st.composite
def trees(draw: st.DrawFn, *, most: int = 14, least: int = 0) -> list[Message]:
    """Messages of a conversation ``c`` of ann, by seq: several roots, gaps in the seqs, dates in no order."""
    messages: list[Message] = []
    seq = 0
    for n in range(draw(st.integers(least, most))):
        seq += draw(st.integers(1, 3))
        above = draw(st.integers(-1, n - 1))
        role = draw(_roles)
        message = Message(
            id=f"m{n}",
            conversation="c",
            owner=ANN.user,
            seq=seq,
            role=role,
            parts=tuple(draw(st.lists(_parts, max_size=3))),
            created_at=BEGINNING + timedelta(milliseconds=draw(st.integers(0, 5))),
            parent=messages[above].id if above >= 0 else None,
            status=draw(st.sampled_from(["complete", "failed", "waiting"])),
            author=ANN.user if role == "user" else None,
        )
        messages.append(message)
    return messages


def drawn(picture: str, **more: Any) -> list[Message]:
    """Messages named and nested as in a picture with two spaces for each level; a message says its name."""
    messages: list[Message] = []
    above: list[str] = []
    for line in picture.strip("\n").splitlines():
        name = line.strip()
        del above[(len(line) - len(line.lstrip())) // 2 :]
        message = Message(
            id=name,
            conversation="c",
            owner=ANN.user,
            seq=len(messages) + 1,
            role="assistant" if name.startswith("A") else "user",
            parts=(Text(f"I am {name}."),),
            created_at=BEGINNING + timedelta(seconds=len(messages)),
            parent=above[-1] if above else None,
        )
        messages.append(replace(message, **more))
        above.append(name)
    return messages


def conversation_of(messages: Sequence[Message], **more: Any) -> Conversation:
    """The conversation ``c`` that these messages make, active to the last of them."""
    made = Conversation(
        id="c",
        owner=ANN.user,
        title="Trees",
        created_at=BEGINNING,
        updated_at=BEGINNING,
        leaf=messages[-1].id if messages else None,
        next_seq=messages[-1].seq + 1 if messages else 1,
        messages=len(messages),
        characters=sum(len(m.text) for m in messages),
    )
    return replace(made, **more)


class CountingStore(MemoryStore):
    """Counts how often each method is called, and what was written by each ``apply``."""

    def __init__(self) -> None:
        super().__init__(KINDS)
        self.calls: Counter[str] = Counter()
        self.batches: list[Sequence[Change]] = []

    async def get(self, kind: str, id: str) -> Record | None:
        self.calls["get"] += 1
        return await super().get(kind, id)

    async def find(self, query: Query) -> Sequence[Record]:
        self.calls["find"] += 1
        return await super().find(query)

    async def apply(self, changes: Sequence[Change]) -> None:
        self.calls["apply"] += 1
        await super().apply(changes)
        self.batches.append(changes)


class Grove:
    """Trees and forks on a store without runs, at a clock that moves a millisecond with every look."""

    def __init__(self, store: RecordStore, retention: Retention | None = None) -> None:
        ids = count(1)
        self.store, self.time = store, BEGINNING + timedelta(days=1)
        retention = retention or Retention()

        async def none(_: object) -> None: ...
        async def nothing(_: object) -> None: ...
        def gone(_: str) -> None: ...

        def new_id() -> str:
            return f"new-{next(ids):06d}"

        self.conversations = Conversations(
            store, Access(store, by_table, self.now), self.now, new_id, idle=none, stop=none, unread=nothing, drop=gone
        )
        shared: dict[str, Any] = {"store": store, "retention": retention, "now": self.now, "new_id": new_id}
        self.trees = Trees(conversations=self.conversations, **shared)
        self.forks = Forks(conversations=self.conversations, **shared)

    def now(self) -> datetime:
        self.time += timedelta(milliseconds=1)
        return self.time

    async def plant(self, messages: Sequence[Message], **more: Any) -> Conversation:
        """Store these messages as the conversation that they make."""
        made = conversation_of(messages, **more)
        await self.store.apply([conversation_put(made), *[message_put(m) for m in messages]])
        return replace(made, workspace=made.home, version=1)
