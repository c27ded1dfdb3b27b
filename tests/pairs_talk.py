"""A conversation with two model services in turn, over the real engine; what each is shown is held against it all."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from typing import Any

from backchat.domain.document import Document
from backchat.domain.limits import ProviderLimits
from backchat.domain.message import File, Message, ToolCall
from backchat.domain.run import Run
from backchat.domain.tool import ToolDefinition
from backchat.errors import ProviderError
from backchat.ports.providers import ImageData
from backchat.services import blobs
from backchat.services.document_records import document_put
from backchat.services.guarding import Guarded
from nodes import ANN, Node, Quiet, SlowStore, node
from pairs_anthropic import ADAPTIVE, BUDGET, anthropic
from pairs_google import GEMINI_2, GEMINI_3, google
from pairs_made import PDF, PDF_NAME, PNG, Entry, Side, Turn, b64, canonical
from pairs_ollama import ollama
from pairs_openai import chat, openrouter, responses

SIDES: Mapping[str, Callable[[str], AbstractAsyncContextManager[Side]]] = {
    "chat": chat,
    "responses": responses,
    "openrouter": openrouter,
    "anthropic-budget": partial(anthropic, model=BUDGET),
    "anthropic-adaptive": partial(anthropic, model=ADAPTIVE),
    "gemini-3": partial(google, model=GEMINI_3),
    "gemini-2.5": partial(google, model=GEMINI_2),
    "ollama": ollama,
}
FOUND = {
    "json": '{"cats": [1, 2.5, null], "more": {"a": "b"}}',
    "nothing": "",
    "odd": 'tab\t "quoted" back\\slash \u2028 \ufeff <b>&amp;</b> ```\r\n\u0001 \u732b \U0001f408 {"type": "tool_use"}',
}
"""What the server's tool answers, by what it is asked for."""
ASK = {
    "type": "function",
    "function": {
        "name": "ask",
        "description": "Ask the user.",
        "parameters": {"type": "object", "properties": {"question": {"type": "string"}}},
    },
}
"""A tool of the client's."""
LOOK = ToolDefinition("look", "Look around.", {"type": "object", "properties": {"what": {"type": "string"}}})
_MARKS = re.compile(r"(?:thought|seal)([A-Z])\d{3}")


class Look:
    definition = LOOK

    async def run(self, arguments: Mapping[str, Any]) -> str:
        return FOUND[arguments["what"]]


class Talk:
    """``entries``: everything that was said so far, each with the letter of the side whose thinking it may be."""

    def __init__(self, one: Node) -> None:
        self.one = one
        self.conversation: str | None = None
        self.entries: list[tuple[str, Entry]] = []
        self._document: list[Entry] = [("document", "")]

    def shown(self, side: Side) -> list[Entry]:
        """What this side has to be shown now."""
        found = [e for letter, e in self.entries if e[0] != "thought" or letter == side.letter]
        return canonical(side.given_back([x for e in found for x in (side.document() if e in self._document else [e])]))

    async def document(self) -> File:
        """A document of the conversation, which begins with it, as if it had been read already."""
        self.conversation = (await self.one.conversations.create(ANN, channel="web")).id
        now, sha = datetime(2026, 1, 1, tzinfo=UTC), await blobs.digest(PDF)
        made = Document(
            id="d1",
            owner=ANN.user,
            filename=PDF_NAME,
            mime="application/pdf",
            size=len(PDF),
            sha256=sha,
            created_at=now,
            updated_at=now,
            conversation=self.conversation,
            status="indexed",
        )
        await self.one.store.apply([document_put(made), *await blobs.kept(self.one.store, ANN.user, sha, PDF)])
        return File(made.id, made.filename)

    async def say(self, side: Side, text: str, *turns: Turn, asked: str = "", **more: Any) -> Message:
        """Say it to this side, or to ``asked`` so that this one answers; its model says these turns, and no others."""
        self._hears(text, **more)
        say = partial(self.one.say, text, conversation=self.conversation, provider=asked or side.letter, **more)
        return await self._listen(side, say, turns)

    async def fails(self, side: Side, text: str, turn: Turn, **more: Any) -> None:
        """Say it to this side, whose model breaks off. Of nothing but thinking nothing is shown again."""
        self._hears(text, **more)
        played = side.play(turn)
        run = await self.one.say(text, conversation=self.conversation, provider=side.letter, **more)
        try:
            await self.one.runs.result(ANN, run.id)
        except ProviderError:
            self.check(side, side.upstream.bodies[-1])
            self.entries += [(side.letter, e) for e in played if turn.text]
            return
        raise AssertionError("it came to its end")

    async def answer(self, side: Side, asked: Message, output: str, *turns: Turn) -> Message:
        """Hand in the output of the client's tool."""
        *_, (_, call) = self.entries
        assert call[0] == "call"
        self.entries.append(("", ("result", *call[1:], output)))
        assert self.conversation is not None
        (id,) = [p.id for p in asked.parts if isinstance(p, ToolCall)]
        answered = partial(self.one.turns.answer, ANN, self.conversation, None, [(id, output)])
        return await self._listen(side, answered, turns)

    async def _listen(self, side: Side, begin: Callable[[], Any], turns: tuple[Turn, ...]) -> Message:
        before = len(side.upstream.bodies)
        played = [side.play(turn) for turn in turns]
        run: Run = await begin()
        self.conversation = run.conversation
        ended, answer = await self.one.runs.result(ANN, run.id)
        assert answer is not None
        assert (ended.provider, answer.provider) == (side.letter, side.letter)
        bodies = side.upstream.bodies[before:]
        assert len(bodies) == len(turns)
        for body, entries in zip(bodies, played, strict=True):
            self.check(side, body)
            self.entries += [(side.letter, e) for e in entries]
            self._runs_tools(entries)
        return answer

    def _hears(self, text: str, images: Any = (), files: Any = (), **_: Any) -> None:
        self.entries += [("", e) for e in ([("user", text)] if text else [])]
        self.entries += [("", ("image", b64(i.data))) for i in images]
        self.entries += [("", e) for e in self._document if files]

    def _runs_tools(self, entries: list[Entry]) -> None:
        for kind, *call in entries:
            if kind == "call" and call[0] == "look":
                self.entries.append(("", ("result", *call, FOUND[json.loads(call[1])["what"]])))

    def check(self, side: Side, body: Mapping[str, Any]) -> None:
        """The service takes the request, and is shown everything but the thinking of others."""
        assert side.upstream.problems == []
        assert canonical(side.read(body)) == self.shown(side)
        assert set(_MARKS.findall(json.dumps(body))) <= {side.letter}


@asynccontextmanager
async def talk(first: str, second: str) -> AsyncIterator[tuple[Talk, Side, Side]]:
    """Two sides in one server; the second one is the fallback."""
    async with SIDES[first]("A") as a, SIDES[second]("B") as b:
        guards: list[Any] = [_guarded(side) for side in (a, b)]
        async with node(SlowStore(), *guards, tools=[Look()]) as one:
            yield Talk(one), a, b
        assert a.upstream.problems == b.upstream.problems == []


def _guarded(side: Side) -> Guarded:
    guard = Guarded(side.letter, Quiet(), ProviderLimits(retries=0))
    guard.serve(side.provider, asyncio.Event())
    return guard


async def long_beginning(t: Talk, side: Side) -> None:
    """All that there can be in a conversation, with one side."""
    three = [("look", {"what": what}) for what in FOUND]
    image, document = ImageData("image/png", PNG), await t.document()
    own: dict[str, Any] = {"agent": "none", "reasoning": "high"}
    client: dict[str, Any] = {"tools": [ASK], "takes_tools": True}
    asked = await t.say(
        side,
        "What is on this?",
        Turn("Let me look. ", three),
        Turn("", [("ask", {"question": "Which one?"})]),
        images=[image],
        files=[document],
        **own,
        **client,
    )
    await t.answer(side, asked, "", Turn("", [("look", {"what": "odd"})]), Turn("A cat."))
    await t.say(side, "As JSON.", Turn('{"cat": true}'), json_output=True)
    await t.fails(side, "", Turn(told=False), images=[image])
    await t.fails(side, "Hello?", Turn("It is half of", told=False))
