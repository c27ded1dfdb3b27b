"""Answering, in one piece or as a stream, whichever the caller asked for."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from backchat.domain.message import Message
from backchat.domain.run import Run
from backchat.errors import BackchatError
from backchat.web.dialect import Call
from backchat.web.patience import Patience, patiently, streamed
from backchat.web.sse import Shown
from backchat_dialect_threads.frames import Frames, noted_frames, refused_frame
from backchat_dialect_threads.replies import failed, json_answer, noted, refused, reply

PATIENCE = Patience(after=27.0, every=10.0)
"""The SDK waits for 30 seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """What a request began: a run that answers; or a message that is only kept, of a thread with that assistant."""

    run: Run | None = None
    message: Message | None = None
    assistant: str | None = None
    attachments: Sequence[dict[str, Any]] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answering:
    """How a request is answered: as a stream or not; and the ids that it named, for a refusal that comes late."""

    call: Call
    streams: bool
    thread: str | None
    assistant: str | None = None
    run: str | None = None

    @property
    def ids(self) -> dict[str, str | None]:
        return {"thread_id": self.thread, "assistant_id": self.assistant, "run_id": self.run}

    async def answer(self, opening: Coroutine[Any, Any, Begun]) -> web.StreamResponse:
        """Show what comes of the opening, which goes on to its end even if nobody listens."""
        if self.streams:
            return await streamed(
                self.call,
                _shown(opening, self.call.services.toolbox.waits),
                lambda e: refused_frame(e, self.ids),
                PATIENCE,
            )
        return await patiently(self.call, opening, self._told, json_answer, self._failed, PATIENCE)

    async def _told(self, begun: Begun) -> dict[str, Any]:
        if begun.run is not None:
            return await reply(self.call, begun.run.id, begun.attachments)
        assert begun.message is not None
        return noted(begun.message, begun.assistant, begun.attachments)

    def _failed(self, begun: Begun | None, error: BackchatError) -> dict[str, Any]:
        now = self.call.services.conversations.now()
        if begun is not None and begun.run is not None:
            return failed(begun.run, error, now)
        return refused(self.ids, error, now)


async def _shown(opening: Coroutine[Any, Any, Begun], must_wait: Callable[[str], bool]) -> Shown | bytes:
    begun = await opening
    if begun.run is not None:
        run, frames = begun.run, Frames(begun.run, must_wait)
        ids = {"thread_id": run.conversation, "assistant_id": run.recipe.assistant, "run_id": run.id}
        return Shown(
            run=run.id,
            encode=frames,
            first=frames.started(),
            after=run.position,
            past_pauses=False,
            refuse=lambda error: refused_frame(error, ids),
        )
    assert begun.message is not None
    return noted_frames(begun.message, begun.assistant)
