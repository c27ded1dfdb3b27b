"""Hostile files, all at once, against a real server: each fails alone, and nobody else notices."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from time import perf_counter
from typing import Any

import psutil
import pytest

from documents_made import hostile_files, pdf
from sdk_cases import read
from served import Server, serving
from threads_box import BackboardClient, models

CONFIG = """
storage: {use: sqlite, path: {$data: backchat.db}}
providers: {echo: {use: echo}, slow: {use: echo, delay_ms: 20, words: 20000}}
memory: {use: window}
auth: [{use: apikey}]
dialects: [chat, threads]
documents: {time_limit: 15, memory_limit: 512MiB, max_size: 64MiB}
server: {body_limit: 65MiB, drain: 0}
"""
QUIET = 2.0
"""Seconds for which the stream is alone at first, for comparison."""


class Gaps:
    """Seconds between the words of a stream, as its reader sees them."""

    def __init__(self) -> None:
        self.all: list[float] = []
        self._last: float | None = None

    def tick(self) -> None:
        now = perf_counter()
        if self._last is not None:
            self.all.append(now - self._last)
        self._last = now

    def measured(self, first: int = 0, last: int | None = None) -> dict[str, float]:
        """In milliseconds, over those gaps."""
        gaps = sorted(self.all[first:last])
        found = {"median": gaps[len(gaps) // 2], "p95": gaps[len(gaps) * 95 // 100], "max": gaps[-1]}
        return {"count": len(gaps), **{name: round(1000 * value, 1) for name, value in found.items()}}


@asynccontextmanager
async def streaming(client: Any, gaps: Gaps) -> AsyncIterator[asyncio.Task[Any]]:
    """Somebody reads a long reply on a thread of their own."""
    thread = await client.create_thread((await client.create_assistant(name="talker")).assistant_id)

    async def listen() -> Any:
        say = client.add_message(thread.thread_id, "Tell me everything.", stream=True, llm_provider="slow")
        async for event in await say:
            if event["type"] == "content_streaming":
                gaps.tick()
            elif event["type"] in ("run_ended", "run_failed", "error"):
                return event
        return None

    task = asyncio.create_task(listen())
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def write_all(directory: Path) -> Sequence[Path]:
    """The files, with a good one in their midst."""
    content = [*hostile_files().items()]
    content.insert(len(content) // 2, ("good.pdf", pdf("The password of the day is marzipan.")))
    for name, data in content:
        (directory / name).write_bytes(data)
    return [directory / name for name, _ in content]


def escaped() -> list[Path]:
    """What the names in ``paths.docx`` would make, if anybody believed them."""
    return [path for path in (Path("/tmp/escaped.txt"), Path("/etc/escaped")) if path.exists()]


async def settled(server: Server) -> int:
    """How many children the server has left, once it has had time to part with them."""
    for _ in range(100):
        children = psutil.Process(server.process.pid).children(recursive=True)
        if not children:
            return 0
        await asyncio.sleep(0.05)
    return len(children)


@pytest.mark.timeout(120)
async def test_hostile_files_disturb_nobody(tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    (tmp_path / "files").mkdir()
    files = await asyncio.to_thread(write_all, tmp_path / "files")
    assert len(files) > 10
    config = tmp_path / "backchat.yml"
    config.write_text(CONFIG)
    with serving(tmp_path, config=config) as server:
        url = f"http://127.0.0.1:{server.port}/api"
        gaps = Gaps()
        async with BackboardClient(api_key=server.key, base_url=url, timeout=60) as client:
            thread = await client.create_thread((await client.create_assistant(name="victim")).assistant_id)
            async with streaming(client, gaps) as stream:
                await asyncio.sleep(QUIET)
                quiet, begun = len(gaps.all), perf_counter()

                async def upload(file: Path) -> Any:
                    return await read(client, await client.upload_document_to_thread(thread.thread_id, file))

                documents = await asyncio.gather(*[upload(file) for file in files])
                seconds = perf_counter() - begun
                assert not stream.done(), "the stream was to go on all the time"
            health = [server.ask("GET", path)[0] for path in ("/healthz", "/readyz")]
            said = await client.send_message("hello")
        left = await settled(server)
    alone, meanwhile = gaps.measured(last=quiet), gaps.measured(quiet)
    print(f"gaps in ms: alone {alone}, meanwhile {meanwhile}; all were read after {seconds:.1f} s")
    record_property("gaps_ms", {"alone": alone, "meanwhile": meanwhile})

    outcome = {d.filename: (d.status, d.status_message) for d in documents}
    assert outcome.pop("good.pdf") == (models.DocumentStatus.INDEXED, None)
    for name, (status, problem) in outcome.items():
        assert status == models.DocumentStatus.FAILED, name
        assert 10 < len(problem) < 200, (name, problem)
        assert problem.isprintable()
        assert not [word for word in ("Traceback", "Error", str(tmp_path), "/tmp", "backchat_") if word in problem]
    assert meanwhile["p95"] < 500
    assert meanwhile["max"] < 1000
    assert health == [200, 200]
    assert said.content.startswith("hello")
    assert left == 0
    assert "Traceback" not in server.log
    assert not await asyncio.to_thread(escaped), "an archive wrote where it wanted"
