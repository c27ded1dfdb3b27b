"""A reply that is made by one server and read at another one, on one store: at once, from any place, to its end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import ClientResponse

from backchat.services import news
from backchat.testing.plugin import Serve
from backchat.testing.provider import ScriptedProvider
from backchat.testing.server import Box, parse_events

PATIENCE = 20.0


@pytest.fixture(autouse=True)
def never_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes, comes because the store tells of it: nobody looks again in time by themselves."""
    monkeypatch.setattr(news, "POLL", 10 * PATIENCE)
    monkeypatch.setattr(news, "INSURED", 10 * PATIENCE)


@pytest.fixture(autouse=True)
async def in_time() -> AsyncIterator[None]:
    async with asyncio.timeout(PATIENCE):
        yield


def words(count: int) -> tuple[ScriptedProvider, list[asyncio.Event]]:
    """A model that says so many words, each when it is let."""
    gates = [asyncio.Event() for _ in range(count)]
    return ScriptedProvider([step for n, gate in enumerate(gates) for step in (f"word{n} ", gate)]), gates


class Reader:
    def __init__(self, answer: ClientResponse) -> None:
        self._answer = answer
        self._heard = b""

    async def until(self, said: str) -> None:
        while said.encode() not in self._heard:
            piece = await self._answer.content.readany()
            assert piece, f"it ended without {said!r}"
            self._heard += piece

    async def whole(self) -> list[tuple[str, int | None, dict[str, Any]]]:
        """All events, to the end."""
        self._heard += await self._answer.content.read()
        return parse_events(self._heard)

    @property
    def meta(self) -> Mapping[str, Any]:
        return parse_events(self._heard)[0][2]


@asynccontextmanager
async def begun(box: Box, who: Mapping[str, str]) -> AsyncIterator[Reader]:
    async with box.client.post("/api/chat/stream", json={"text": "hi"}, headers=who) as answer:
        assert answer.status == 200
        yield Reader(answer)


@asynccontextmanager
async def followed(box: Box, who: Mapping[str, str], run: str, after: int = 0) -> AsyncIterator[Reader]:
    headers = {**who, "Last-Event-ID": str(after)}
    async with box.client.get(f"/api/chat/stream/{run}", headers=headers) as answer:
        assert answer.status == 200
        yield Reader(answer)


async def two(serve: Serve, provider: ScriptedProvider, **config: Any) -> tuple[Box, Box, dict[str, str]]:
    """They share the store and the model, and nothing else."""
    given = {"providers": {provider.name: {"use": provider.name}}, **config}
    here, there = await serve(given, [provider]), await serve(given, [provider])
    return here, there, await here.key("ann")


async def test_every_word_is_shown_there_as_it_is_said_here(serve: Serve) -> None:
    provider, gates = words(30)
    here, there, ann = await two(serve, provider)
    async with begun(here, ann) as first:
        await first.until("word0 ")
        async with followed(there, ann, first.meta["run_id"]) as second:
            for n, gate in enumerate(gates):
                await second.until(f"word{n} ")
                gate.set()
            shown = await second.whole()
        assert shown == await first.whole()
        assert shown[-1][0] == "done"
        middle = [id for _, id, _ in shown if id is not None][len(shown) // 2]
        async with followed(there, ann, first.meta["run_id"], middle) as again:
            rest = [event for event in await again.whole() if event[1] is not None]
    assert rest == [event for event in shown if event[1] is not None and event[1] > middle]


async def test_many_read_there_what_is_said_here(serve: Serve) -> None:
    gate = asyncio.Event()
    provider = ScriptedProvider(["Hel", gate, "lo"])
    here, there, ann = await two(serve, provider)

    async def one() -> None:
        async with begun(here, ann) as first:
            await first.until("Hel")
            async with followed(there, ann, first.meta["run_id"]) as second:
                await second.until("Hel")
                ready.release()
                assert await second.whole() == await first.whole()

    ready = asyncio.Semaphore(0)
    reading = [asyncio.create_task(one()) for _ in range(20)]
    for _ in reading:
        await ready.acquire()
    gate.set()
    await asyncio.gather(*reading)


async def test_cancelled_there_it_ends_for_all(serve: Serve) -> None:
    provider = ScriptedProvider(["Hel", asyncio.Event()])
    here, there, ann = await two(serve, provider)
    async with begun(here, ann) as first:
        await first.until("Hel")
        run = first.meta["run_id"]
        async with followed(there, ann, run) as second:
            await second.until("Hel")
            async with there.client.post(f"/api/chat/stream/{run}/cancel", headers=ann) as answer:
                assert (answer.status, (await answer.json())["status"]) == (200, "cancelled")
            ends = [(await reader.whole())[-1] for reader in (first, second)]
    assert ends[0] == ends[1]
    assert ends[0][2]["code"] == "cancelled"
    assert provider.open == 0


async def test_a_reply_that_its_server_gave_up_ends_there(serve: Serve) -> None:
    provider = ScriptedProvider(["Hel", asyncio.Event()])
    here, there, ann = await two(serve, provider, replies={"lease": 1})
    async with begun(here, ann) as first:
        await first.until("Hel")
        run = first.meta["run_id"]
        async with followed(there, ann, run) as second:
            await second.until("Hel")
            task = here.services.runs.live[run].task
            assert task is not None
            task.cancel()  # its end is not written, as when the store does not answer
            shown = await second.whole()
            assert shown[-1][2]["code"] == "interrupted"
            assert await first.whole() == shown
