"""Conversations that are summed up, over a store in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import orjson

from backchat.domain.message import Message, Text
from backchat.ports.providers import ModelRequest, ProviderEvent
from backchat.ports.storage import Query
from backchat.services.stored import conversation_put
from backchat.testing.provider import ScriptedProvider, Step
from backchat_summary.prompts import RULES
from backchat_summary.settings import SettingsSchema
from backchat_summary.strategy import Rolling
from nodes import ANN, Node, SlowStore

_MARK = RULES.strip()[:40]


class Model(ScriptedProvider):
    """Answers, and has a ``noter`` that makes its notes."""

    def __init__(self, *notes: Sequence[Step], says: Sequence[Sequence[Step]] = (), **more: Any) -> None:
        super().__init__(*(says or [["It is so."]]), **more)
        self.noter = ScriptedProvider(*(notes or [[f"notes {n}"] for n in range(1, 100)]))

    def stream(self, request: ModelRequest) -> AsyncGenerator[ProviderEvent, None]:
        return self.noter.stream(request) if _MARK in request.system else super().stream(request)


class Talk(Node):
    model: Model

    async def ask(self, text: str, conversation: str | None = None, **more: Any) -> str:
        """Say it and wait for the answer, not for what follows it; the id of the conversation."""
        run = await self.say(text, conversation=conversation, **more)
        await self.runs.result(ANN, run.id)
        return run.conversation

    async def settled(self, id: str) -> None:
        assert await self.jobs.settled([f"summary {id}"], 5)

    async def talked(self, turns: int, conversation: str | None = None) -> str:
        """So many turns with all that follows them; the id of the conversation."""
        for n in range(turns):
            conversation = await self.ask(f"question {n}", conversation)
            await self.settled(conversation)
        assert conversation is not None
        return conversation

    async def kept(self) -> list[str]:
        found = await self.store.find(Query(kind="summary", order=("seq",)))
        return [record.doc["text"] for record in found]

    async def said(self, id: str) -> list[Message]:
        return [*await self.conversations.whole(ANN, id)]

    async def branch(self, id: str, leaf: str) -> None:
        """Let the active path of a conversation end with this message."""
        conversation = await self.conversations.open(ANN, id)
        await self.store.apply([conversation_put(replace(conversation, leaf=leaf))])

    def shown(self, number: int = -1) -> tuple[str, list[str]]:
        """The summary and the texts that an answer was made with."""
        request = self.model.requests[number]
        return request.summary, [p.text for m in request.messages for p in m.parts if isinstance(p, Text)]


def rolling(**section: Any) -> Rolling:
    return Rolling(SettingsSchema().load({"size": 2, "after": 2, **section}))


@asynccontextmanager
async def talk(
    model: Model | None = None, *others: ScriptedProvider, store: SlowStore | None = None, **more: Any
) -> AsyncIterator[Talk]:
    model = model or Model()
    made = Talk(store or SlowStore(), model, *others, **{"memory": rolling(), **more})
    made.model = model
    try:
        yield made
    finally:
        made.store.hold = None
        await made.runs.drain(0)
        await made.jobs.__aexit__()


async def until(true: Callable[[], bool]) -> None:
    for _ in range(2000):
        if true():
            return
        await asyncio.sleep(0)
    raise AssertionError("it never came true")


def material_of(asked: ModelRequest) -> tuple[str, list[str]]:
    """The notes and the texts that the model was to make a summary of."""
    (part,) = asked.messages[0].parts
    assert isinstance(part, Text)
    found = orjson.loads(part.text)
    return found["notes"], [m["text"] for m in found["messages"]]
