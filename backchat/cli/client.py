"""A client of the chat API: one reply is one stream, however often its connection breaks."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any
from uuid import uuid4

import aiohttp
from aiohttp import ClientResponse, ClientSession, ClientTimeout

from backchat.cli.events import EventParser
from backchat.client.transport import reason

# The server sends at least a comment every 10 seconds.
TIMEOUT = ClientTimeout(total=None, sock_connect=10, sock_read=30)
PAUSES = (0.2, 0.5, 1.0, 2.0, 4.0, 8.0, 8.0, 8.0)
_BROKEN = (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError, TimeoutError)
_ENDS = ("done", "error")


class Refused(Exception):
    """The server said no, or cannot be reached. The message is for people."""


class ChatClient:
    """Use it as an async context manager. ``url`` is the server's, without ``/api``."""

    def __init__(self, url: str, key: str) -> None:
        self._url = f"{url.rstrip('/')}/api/chat/stream"
        self._key = key

    async def __aenter__(self) -> ChatClient:
        self._session = ClientSession(timeout=TIMEOUT, headers={"Authorization": f"Bearer {self._key}"})
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def say(self, message: Mapping[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
        """Send a message; the data of every event of its reply, from ``meta`` to ``done`` or ``error``.

        Raises Refused, also when a connection that broke does not come back within half a minute.
        """
        # With a key of its own the message can be sent again when the answer to it was lost.
        once = {"Idempotency-Key": str(uuid4())}
        run, last, broken, reached = "", "0", 0, False
        while True:
            asked = self._follow(run, last) if run else self._session.post(self._url, json=message, headers=once)
            try:
                async with asked as response:
                    if response.status < 500 or not reached:
                        await _refuse(response)
                    reached = True
                    parser = EventParser()
                    async for chunk in response.content.iter_any():
                        for event in parser.feed(chunk):
                            data = json.loads(event.data)
                            if event.name == "meta" and run:
                                continue
                            run, last, broken = data.get("run_id", run), event.id or last, 0
                            yield data
                            if event.name in _ENDS:
                                return
            except aiohttp.InvalidURL as error:
                raise Refused(f"not a URL: {self._url}") from error
            except _BROKEN as error:
                if not reached:
                    raise Refused(f"cannot reach {self._url}: {reason(error)}") from error
            if broken == len(PAUSES):
                raise Refused("the connection broke and does not come back")
            await asyncio.sleep(PAUSES[broken])
            broken += 1

    def _follow(self, run: str, last: str) -> AbstractAsyncContextManager[ClientResponse]:
        return self._session.get(f"{self._url}/{run}", headers={"Last-Event-ID": last})

    async def confirm(self, run: str, allow: bool) -> None:
        """Say whether what the tools of a reply are about to do may be done; its stream then goes on by itself."""
        async with self._session.post(f"{self._url}/{run}/confirm", json={"allow": allow}) as response:
            await _refuse(response)

    async def cancel(self, run: str) -> None:
        """Stop a reply; its stream then ends by itself."""
        async with self._session.post(f"{self._url}/{run}/cancel") as response:
            await _refuse(response)


async def _refuse(response: ClientResponse) -> None:
    """Raise Refused unless the answer is 200, in the server's words."""
    if response.status == 200:
        return
    try:
        detail = json.loads(await response.read())["detail"]
    except (ValueError, KeyError, TypeError):
        detail = response.reason
    if isinstance(detail, list):
        detail = "; ".join([f"{'.'.join(map(str, d['loc']))}: {d['msg']}" for d in detail])
    raise Refused(f"{response.status}: {detail}")
