"""Names that take long to be looked up hold up those who asked for them, and nobody else."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from time import monotonic
from typing import Any

import pytest

from backchat.ports.tools import ToolFailed
from backchat_web.fetch import MOST_FETCHED
from web_tools_served import fetching, inside, site


@pytest.fixture(name="answered")
def _answered(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Until it is set no name server answers for a while, but for addresses."""
    answered = threading.Event()
    real = socket.getaddrinfo

    def slow(host: str, *args: Any, **more: Any) -> Any:
        if not host[0].isdigit():
            answered.wait(15)
        return real("127.0.0.2", *args, **more)

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    yield answered
    answered.set()


async def test_a_slow_name_server_holds_up_nothing_else(answered: threading.Event) -> None:
    async with fetching(time_limit=0.3) as tool:
        asked = [tool.run({"url": f"http://n{n}.example.org/"}) for n in range(2 * MOST_FETCHED)]
        failures = await asyncio.gather(*asked, return_exceptions=True)
        assert {type(failure) for failure in failures} == {ToolFailed}
        async with asyncio.timeout(10):
            assert await asyncio.to_thread(lambda: "done") == "done"
        answered.set()


async def test_the_end_waits_for_no_name(answered: threading.Event) -> None:
    begun = monotonic()
    async with fetching(time_limit=0.3) as tool:
        with pytest.raises(ToolFailed, match="took longer"):
            await tool.run({"url": "http://slow.example.org/"})
    assert monotonic() - begun < 10
    assert not answered.is_set()


async def test_names_are_looked_up(answered: threading.Event) -> None:
    answered.set()
    async with site() as here, fetching(here) as tool:
        here.page("/", "found", "text/plain")
        assert inside(await tool.run({"url": f"http://some.example.org:{here.port}/"})).endswith("found")


async def test_so_many_pages_are_fetched_at_a_time() -> None:
    async with site() as here, fetching(here, at_once=100) as tool:
        over = asyncio.Event()
        full = asyncio.Event()

        async def wait(request: Any) -> Any:
            if len(here.requests) >= MOST_FETCHED:
                full.set()
            await over.wait()
            raise ConnectionError

        here.pages["/"] = wait
        asked = [asyncio.ensure_future(tool.run({"url": here.url()})) for _ in range(MOST_FETCHED + 3)]
        async with asyncio.timeout(20):
            await full.wait()
            here.page("/more", "more", "text/plain")
            late = asyncio.ensure_future(tool.run({"url": here.url("/more")}))
            for _ in range(50):
                await asyncio.sleep(0)
            assert len(here.requests) == MOST_FETCHED
            over.set()
            await asyncio.gather(*asked, return_exceptions=True)
            assert inside(await late).endswith("more")
