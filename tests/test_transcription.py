"""Transcriptions are booked, whatever becomes of them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import pytest

from backchat.domain.message import Usage
from backchat.domain.usage import Payer
from backchat.domain.workspace import personal_workspace
from backchat.errors import (
    NotConfigured,
    NotFound,
    ProviderCredentials,
    ProviderError,
    ProviderRejected,
    ProviderThrottled,
    ProviderTimeout,
)
from backchat.ports.transcription import Transcript
from backchat.services.transcriptions import BYTES_A_SECOND, Transcriptions
from backchat.services.usage_records import USAGE, usage_between
from backchat.testing.transcription import Chunks, ScriptedTranscriber, audio
from nodes import ANN, BOB, SlowStore, node

HOME = personal_workspace(ANN.user)
DATA = bytes(2 * BYTES_A_SECOND)
Row = tuple[float | None, int, bool]


def over(services: Any, engine: ScriptedTranscriber | None) -> Transcriptions:
    made: Transcriptions = replace(services.transcriptions, transcriber=engine)
    return made


async def rows(services: Any) -> Sequence[Row]:
    found = [r async for r in usage_between(services.transcriptions.store)]
    for r in found:
        assert (r.payer, r.purpose) == (Payer(user="ann", workspace=HOME), "transcription")
        assert (r.provider, r.model) == ("scripted", "scripted-1")
    return [(r.seconds, r.usage.output_tokens, r.estimated) for r in found]


@pytest.mark.parametrize(
    ("made", "row"),
    [
        (Transcript("a", "en", 7.5), (7.5, 0, False)),
        (Transcript("a", None, None, Usage(3, 4)), (None, 4, False)),
        (Transcript("a", None, 1.5, Usage(3, 4)), (1.5, 4, False)),
        (Transcript("a"), (2.0, 0, True)),
    ],
)
async def test_what_an_engine_says_of_it(made: Transcript, row: Row) -> None:
    async with node(SlowStore()) as one:
        services = over(one.services, ScriptedTranscriber(made))
        assert await services.transcribe(ANN, HOME, audio(DATA)) == made
        assert await rows(one.services) == [row]


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ProviderError("x"), [(2.0, 0, True)]),
        (ProviderTimeout("x"), [(2.0, 0, True)]),
        (ProviderError("x", at_work=False), []),
        (ProviderRejected("x"), []),
        (ProviderThrottled("x"), []),
        (ProviderCredentials("x"), []),
    ],
)
async def test_engines_that_fail(error: ProviderError, expected: Sequence[Row]) -> None:
    async with node(SlowStore()) as one:
        with pytest.raises(type(error)):
            await over(one.services, ScriptedTranscriber(error)).transcribe(ANN, HOME, audio(DATA), len(DATA))
        assert await rows(one.services) == expected


async def test_a_recording_that_breaks_off() -> None:
    async with node(SlowStore()) as one:
        services = over(one.services, ScriptedTranscriber())
        for steps, expected in (
            ([OSError("gone")], []),
            ([DATA, OSError("gone")], []),
        ):
            with pytest.raises(OSError, match="gone"):
                await services.transcribe(ANN, HOME, audio(*steps), 10 * len(DATA))
            assert await rows(one.services) == expected


async def test_one_that_is_cancelled() -> None:
    async with node(SlowStore()) as one:
        engine = ScriptedTranscriber()
        chunks = Chunks([DATA, asyncio.Event()])
        call = asyncio.create_task(over(one.services, engine).transcribe(ANN, HOME, replace(audio(), chunks=chunks)))
        await chunks.stuck.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert engine.open == 0
        assert await rows(one.services) == [], "the engine has not got all of it"


class Work(asyncio.Event):
    """What an engine does with a recording that it has got."""

    def __init__(self) -> None:
        super().__init__()
        self.begun = asyncio.Event()

    async def wait(self) -> Literal[True]:
        self.begun.set()
        return await super().wait()


async def test_one_that_is_cancelled_while_the_engine_works() -> None:
    async with node(SlowStore()) as one:
        work = Work()
        engine = ScriptedTranscriber(work)
        call = asyncio.create_task(over(one.services, engine).transcribe(ANN, HOME, audio(DATA)))
        await work.begun.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert await rows(one.services) == [(2.0, 0, True)]


async def test_a_killed_server_leaves_an_estimate() -> None:
    store = SlowStore()
    async with node(store) as one:
        engine = ScriptedTranscriber()
        chunks = Chunks([b"first", asyncio.Event()])
        made = over(one.services, engine).transcribe(ANN, HOME, replace(audio(), chunks=chunks), len(DATA))
        call = asyncio.create_task(made)
        await chunks.stuck.wait()
        assert await rows(one.services) == [(2.0, 0, True)], "what is in the store while it runs"
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call


async def test_without_an_engine_it_is_told_last() -> None:
    async with node(SlowStore()) as one:
        services = over(one.services, None)
        chunks = Chunks([b"a", b"b"])
        with pytest.raises(NotConfigured):
            await services.transcribe(ANN, HOME, replace(audio(), chunks=chunks))
        assert chunks.given == 2
        with pytest.raises(OSError, match="gone"):
            await services.transcribe(ANN, HOME, audio(OSError("gone")))
        assert await rows(one.services) == []


async def test_the_workspace_of_somebody_else() -> None:
    async with node(SlowStore()) as one:
        engine = ScriptedTranscriber()
        with pytest.raises(NotFound):
            await over(one.services, engine).transcribe(BOB, HOME, audio(DATA))
        with pytest.raises(NotFound):
            await one.services.transcriptions.check(BOB, HOME)
        assert engine.heard == []


async def test_nothing_of_a_recording_is_stored() -> None:
    store = SlowStore()
    async with node(store) as one:
        text = "words that were said"
        await over(one.services, ScriptedTranscriber(Transcript(text, "en", 1))).transcribe(
            ANN, HOME, audio(b"soundbytes")
        )
        stored = repr(store.commits)
        assert USAGE.name in stored
        assert text not in stored
        assert "soundbytes" not in stored
