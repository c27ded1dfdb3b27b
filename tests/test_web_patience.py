"""Answers that take their time: in one piece, and as streams."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
import pytest
from aiohttp import web

from backchat.errors import BackchatError, DocumentsPending, ProviderThrottled
from backchat.hookspecs import hookimpl
from backchat.testing.plugin import Serve
from backchat.testing.server import Box
from backchat.web.dialect import Call, Dialect, Problem, Route
from backchat.web.keys import OPENINGS, STREAMS
from backchat.web.patience import Patience, patiently, streamed
from backchat.web.sse import frame

pytestmark = pytest.mark.any_storage


@dataclass
class Lab:
    """A dialect with two routes, an answer in one piece and a stream.

    ``opens`` lets the opening go on, which ends as ``opened`` says; then ``gate`` the answer, as ``ends`` says.
    """

    gate: asyncio.Event = field(default_factory=asyncio.Event)
    opens: asyncio.Event = field(default_factory=asyncio.Event)
    opened: BaseException | str = "opened"
    ends: BaseException | str = "done"
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    handler: asyncio.Task[Any] | None = None
    stored: int = 0
    waits: int = 0
    cancelled: int = 0
    after: float = 0.01

    async def opening(self) -> str:
        self.begun.set()
        await self.opens.wait()
        if isinstance(self.opened, BaseException):
            raise self.opened
        self.stored += 1
        return self.opened

    async def answer(self, opened: str) -> dict[str, str]:
        self.waits += 1
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if isinstance(self.ends, BaseException):
            raise self.ends
        return {"said": self.ends}

    async def slow(self, call: Call) -> web.StreamResponse:
        self.handler = asyncio.current_task()

        def failed(opened: str | None, error: BackchatError) -> dict[str, Any]:
            return {"failed": error.code, "because": str(error), "opened": opened}

        patience = Patience(after=self.after, every=0.01)
        return await patiently(call, self.opening(), self.answer, web.json_response, failed, patience)

    async def stream(self, call: Call) -> web.StreamResponse:
        self.handler = asyncio.current_task()

        async def opening() -> bytes:
            return frame("said", await self.opening())

        def failed(error: BackchatError) -> bytes:
            return frame("failed", [error.code, str(error)])

        return await streamed(call, opening(), failed, Patience(after=self.after))

    @hookimpl
    def backchat_dialects(self) -> Sequence[Dialect]:
        def error(problem: Problem, request: web.Request) -> web.Response:
            return web.json_response({"code": problem.code, "message": problem.message}, status=problem.status)

        routes = [
            Route(method="GET", path="/slow", handler=self.slow, summary="Take your time"),
            Route(method="GET", path="/stream", handler=self.stream, summary="Take your time"),
        ]
        return [Dialect(name="lab", mount="/lab", routes=routes, render_error=error)]


@pytest.fixture
def lab() -> Lab:
    """One whose opening is quick; ``opens.clear()`` holds it up."""
    lab = Lab()
    lab.opens.set()
    return lab


@pytest.fixture
async def box(serve: Serve, lab: Lab) -> Box:
    return await serve({"dialects": ["lab"]}, [lab])


async def _late(box: Box) -> Any:
    """A slow answer whose status is out."""
    answer = await box.client.get("/lab/slow", headers=await box.key())
    assert answer.status == 200
    assert answer.content_type == "application/json"
    assert "X-Request-ID" in answer.headers
    assert await answer.content.readexactly(3) == b"   "
    return answer


async def test_an_answer_in_time_is_an_ordinary_one(box: Box, lab: Lab) -> None:
    lab.gate.set()
    lab.after = 60
    answer = await box.client.get("/lab/slow", headers=await box.key())
    assert await answer.read() == b'{"said": "done"}'
    assert answer.content_length is not None


@pytest.mark.parametrize(
    ("ends", "status"), [(ProviderThrottled("too often", retry_after=7), 502), (KeyError("x"), 500)]
)
async def test_a_failure_in_time_has_its_status(box: Box, lab: Lab, ends: BaseException, status: int) -> None:
    lab.gate.set()
    lab.after, lab.ends = 60, ends
    answer = await box.client.get("/lab/slow", headers=await box.key())
    assert answer.status == status
    assert answer.headers.get("Retry-After") == ("7" if status == 502 else None)


async def test_a_late_answer_comes_after_blanks(box: Box, lab: Lab) -> None:
    answer = await _late(box)
    lab.gate.set()
    rest = await answer.read()
    assert rest.strip() == b'{"said": "done"}'
    assert orjson.loads(b"   " + rest) == {"said": "done"}
    assert not _open(box)


@pytest.mark.parametrize(
    ("ends", "shown"),
    [
        (
            ProviderThrottled("too often"),
            {"failed": "provider_rate_limited", "because": "too often", "opened": "opened"},
        ),
        (KeyError("a secret"), {"failed": "internal", "because": "internal error", "opened": "opened"}),
    ],
)
async def test_a_late_failure_is_in_the_answer(box: Box, lab: Lab, ends: BaseException, shown: dict[str, str]) -> None:
    lab.ends = ends
    answer = await _late(box)
    lab.gate.set()
    assert orjson.loads(await answer.read()) == {**shown, "opened": "opened"}


async def test_a_client_that_leaves_leaves_nothing_behind(box: Box, lab: Lab) -> None:
    answer = await _late(box)
    (waiting,) = _open(box)
    answer.close()
    await asyncio.wait([waiting])
    assert (lab.waits, lab.cancelled) == (1, 1)
    assert not _open(box)


async def test_a_late_answer_ends_at_shutdown(box: Box, lab: Lab) -> None:
    answer = await _late(box)
    app = box.client.app
    assert app is not None
    (waiting,) = _open(box)
    await app.shutdown()
    await asyncio.wait([waiting])
    assert lab.cancelled == 1
    answer.close()


# ---- openings -------------------------------------------------------------------------------------------------------


async def _late_stream(box: Box) -> Any:
    """A stream whose status is out before it is known what it shows."""
    answer = await box.client.get("/lab/stream", headers=await box.key())
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "text/event-stream; charset=utf-8"
    assert await answer.content.readexactly(8) == b": ping\n\n"
    return answer


@pytest.mark.parametrize("path", ["slow", "stream"])
async def test_a_refusal_in_time_has_its_status(box: Box, lab: Lab, path: str) -> None:
    lab.after, lab.opened = 60, DocumentsPending("wait", retry_after=5)
    answer = await box.client.get(f"/lab/{path}", headers=await box.key())
    assert (answer.status, answer.headers["Retry-After"]) == (409, "5")
    assert (await answer.json())["code"] == "documents_pending"


async def test_a_stream_in_time_is_an_ordinary_one(box: Box, lab: Lab) -> None:
    lab.after = 60
    answer = await box.client.get("/lab/stream", headers=await box.key())
    assert await answer.read() == b'event: said\ndata: "opened"\n\n'
    assert answer.headers["Content-Type"] == "text/event-stream; charset=utf-8"


async def test_a_late_refusal_is_in_the_answer(box: Box, lab: Lab) -> None:
    lab.opens.clear()
    lab.opened = DocumentsPending("wait")
    answer = await _late(box)
    lab.opens.set()
    assert orjson.loads(await answer.read()) == {"failed": "documents_pending", "because": "wait", "opened": None}


@pytest.mark.parametrize(
    ("opened", "last"),
    [
        ("opened", b'event: said\ndata: "opened"\n\n'),
        (DocumentsPending("wait"), b'event: failed\ndata: ["documents_pending","wait"]\n\n'),
        (KeyError("a secret"), b'event: failed\ndata: ["internal","internal error"]\n\n'),
    ],
)
async def test_what_a_stream_shows_may_be_known_late(
    box: Box, lab: Lab, opened: BaseException | str, last: bytes
) -> None:
    lab.opens.clear()
    lab.opened = opened
    answer = await _late_stream(box)
    lab.opens.set()
    assert (await answer.read()).replace(b": ping\n\n", b"") == last
    assert not _open(box)


@pytest.mark.parametrize("path", ["slow", "stream"])
@pytest.mark.parametrize("late", [False, True])
async def test_a_handler_that_is_cancelled_does_not_stop_the_opening(
    box: Box, lab: Lab, path: str, *, late: bool
) -> None:
    lab.opens.clear()
    lab.after = 0.01 if late else 60
    asking = asyncio.ensure_future(box.client.get(f"/lab/{path}", headers=await box.key()))
    await lab.begun.wait()
    answer = None
    if late:
        answer = await asking
        await answer.content.readexactly(1)
    (going,) = _openings(box)
    assert lab.handler is not None
    lab.handler.cancel()
    await asyncio.wait([lab.handler])
    assert not _open(box)
    lab.opens.set()
    await asyncio.wait([going])
    assert (lab.stored, lab.waits) == (1, 0)
    asking.cancel()
    if answer is not None:
        answer.close()


async def test_an_opening_ends_at_shutdown(box: Box, lab: Lab) -> None:
    lab.opens.clear()
    lab.after = 60
    asking = asyncio.ensure_future(box.client.get("/lab/slow", headers=await box.key()))
    await lab.begun.wait()
    app = box.client.app
    assert app is not None
    await app.shutdown()
    assert not _openings(box)
    answer = await asking
    assert (answer.status, (await answer.json())["code"]) == (503, "draining")


def _openings(box: Box) -> set[asyncio.Task[Any]]:
    assert box.client.app is not None
    return set(box.client.app[OPENINGS])


def _open(box: Box) -> set[asyncio.Task[Any]]:
    assert box.client.app is not None
    return set(box.client.app[STREAMS])
