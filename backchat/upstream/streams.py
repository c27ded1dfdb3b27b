"""Streamed answers, read to their end."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

import aiohttp

from backchat.errors import ProviderError
from backchat.ports.providers import ProviderEvent
from backchat.upstream.http import drain, left_in


class Cutting(Protocol):
    """Cuts what arrives into events or lines: an ``EventReader``, a ``LineReader``, a ``Document``."""

    too_long: bool

    def feed(self, chunk: bytes) -> list[bytes]: ...
    def close(self) -> list[bytes]: ...


class Making(Protocol):
    """Makes provider events of them.

    done     the end of the answer was read
    failure  what was read is not the protocol, or an error that the service reports in mid-stream
    """

    @property
    def done(self) -> bool: ...
    @property
    def failure(self) -> ProviderError | None: ...

    def read(self, events: Iterable[bytes]) -> list[ProviderEvent]: ...
    def end(self) -> list[ProviderEvent]:
        """What is known only at the end. Raises ProviderError if that is no end of an answer."""


class Stream:
    """One answer: ``read`` until it is ``over``.

    What came before a failure is given before the failure is raised, by the call after it. ``cut`` is what is cut.
    """

    __slots__ = ("_answer", "_cut", "_failure", "_last", "_reader", "_response", "over")

    def __init__(
        self, response: aiohttp.ClientResponse, reader: Cutting, answer: Making, cut: str = "an event"
    ) -> None:
        self._response, self._reader, self._answer, self._cut = response, reader, answer, cut
        self._failure: Exception | None = None
        self._last = False
        self.over = False

    async def read(self) -> Sequence[ProviderEvent]:
        """The events of what arrives next. Raises ProviderError, aiohttp's errors and OSError."""
        answer = self._answer
        if answer.done:
            await drain(self._response)
        elif self._failure is not None:
            raise self._failure
        elif self._reader.too_long:
            raise ProviderError(f"the model service sent {self._cut} that is too long")
        elif not self._last:
            broken: Exception | None = None
            try:  # as in ``arrived``, without a call more for each token
                chunk = await self._response.content.readany()
            except (aiohttp.ClientError, OSError) as error:
                chunk, broken = left_in(self._response), error
            self._last = not chunk
            events = answer.read(self._reader.feed(chunk) if chunk else self._reader.close())
            # Half an event, of a connection that broke, is no protocol: then it is the connection that failed.
            self._failure = (answer.failure if chunk else None) or broken or answer.failure
            return events
        self.over = True
        return answer.end()
