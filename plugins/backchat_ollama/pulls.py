"""Pulling models (https://docs.ollama.com/api/pull): whoever needs the same one at the same time shares one pull."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable
from dataclasses import dataclass, field
from math import inf
from time import monotonic
from typing import Any

import aiohttp
import orjson
from yarl import URL

from backchat.domain.run import StatusNote
from backchat.errors import ProviderError
from backchat.upstream.failures import Failures
from backchat.upstream.http import arrived, drain, post, problem, start_of
from backchat.upstream.ndjson import LineReader
from backchat.upstream.pieces import decoded, garbled

PACE = 1.0
"""Seconds between two notes."""
SILENCE = 30.0
"""Seconds after which the last note is given again: whoever waits can tell that something is still going on."""


@dataclass(slots=True)
class _Pull:
    """One pull, and what it has come to. ``changed`` is set, and replaced, with every change."""

    task: asyncio.Task[None] | None = None
    note: str = ""
    failure: ProviderError | None = None
    done: bool = False
    readers: int = 0
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    layers: dict[str, tuple[int, int]] = field(default_factory=dict)
    percent: int = 0

    def tell(self, note: str) -> None:
        if note != self.note:
            self.note = note
            self.wake()

    def wake(self) -> None:
        changed, self.changed = self.changed, asyncio.Event()
        changed.set()


class Pulls:
    """The pulls of one service. A pull ends early when nobody waits for it any more; the service keeps what it has of
    the model, and goes on from there the next time.
    """

    def __init__(self, session: aiohttp.ClientSession, url: URL, failures: Failures) -> None:
        self._session, self._url, self._failures = session, url, failures
        self._under_way: dict[str, _Pull] = {}

    async def notes(self, model: str) -> AsyncGenerator[StatusNote, None]:
        """Pull the model; ends when it is there. Raises ProviderError."""
        pull = self._under_way.get(model)
        if pull is None:
            pull = self._under_way[model] = _Pull()
            pull.task = asyncio.create_task(self._run(model, pull))
        pull.readers += 1
        try:
            shown, at = "", -inf
            while not pull.done:
                due = at + (PACE if pull.note != shown else SILENCE) - monotonic()
                if not pull.note:
                    await _set_within(pull.changed, SILENCE)
                elif due > 0:
                    await _set_within(pull.changed, due)
                else:
                    shown, at = pull.note, monotonic()
                    yield StatusNote(f"pulling {model}: {shown}")
            if pull.failure is not None:
                raise pull.failure.with_traceback(None)
        finally:
            pull.readers -= 1
            if pull.readers == 0:
                del self._under_way[model]  # whoever comes now asks anew
                await _ended(pull)

    async def _run(self, model: str, pull: _Pull) -> None:
        try:
            await self._pull(model, pull)
        except ProviderError as failure:
            pull.failure = failure
        except (aiohttp.ClientError, OSError) as error:
            pull.failure = problem(error)
        finally:
            if pull.failure is not None:
                pull.failure.at_work = False  # nothing was asked of a model
            pull.done = True
            pull.wake()

    async def _pull(self, model: str, pull: _Pull) -> None:
        response = await post(self._session, self._url, orjson.dumps({"model": model, "stream": True}))
        try:
            if response.status != 200:
                raise self._failures.answered(response.status, response.headers, await start_of(response))
            reader, there = LineReader(), False
            while not there:
                chunk, broken = await arrived(response)
                there = self._read(reader.feed(chunk) if chunk or broken else reader.close(), pull)
                if there:
                    await drain(response)
                elif broken is not None:
                    raise broken
                elif reader.too_long:
                    raise ProviderError("the model service sent a line that is too long")
                elif not chunk:
                    raise ProviderError("the model service ended the pull of a model before it was finished")
        finally:
            response.close()

    def _read(self, lines: Iterable[bytes], pull: _Pull) -> bool:
        """Whether the model is there."""
        for line in lines:
            told = decoded(line)
            if type(told) is not dict:
                raise garbled()
            if told.get("error"):
                raise self._failures.reported(told["error"])
            status = told.get("status")
            if type(status) is not str:
                raise garbled()
            if status == "success":
                return True
            pull.tell(_progress(told, pull) or self._failures.redacted(status))
        return False


def _progress(told: dict[str, Any], pull: _Pull) -> str:
    """Whole percents of all layers that are known by now, never fewer than before; empty for a line about no layer."""
    digest, total, completed = (told.get(name) for name in ("digest", "total", "completed"))
    if type(digest) is not str or type(total) is not int or total <= 0:
        return ""
    pull.layers[digest] = (completed if type(completed) is int else 0, total)
    done, whole = (sum(counts) for counts in zip(*pull.layers.values(), strict=True))
    pull.percent = max(pull.percent, min(100 * done // whole, 100))
    return f"{pull.percent}%"


async def _set_within(event: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        pass


async def _ended(pull: _Pull) -> None:
    """The pull is over, or is cancelled; nothing of it is left."""
    assert pull.task is not None
    pull.task.cancel()
    await asyncio.wait([pull.task])
