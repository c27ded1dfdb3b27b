"""One call of a guarded provider, under a clock; and what its calls have in common."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Protocol

from backchat.domain.limits import ProviderLimits
from backchat.domain.run import StatusNote
from backchat.errors import GaveWay, ProviderError, ProviderTimeout
from backchat.ports.providers import LLMProvider, ProviderEvent, UsageReport
from backchat.services.circuits import Circuit, Circuits

AT_ONCE = 0.01
"""Seconds after which a call that is to give way is looked at again, if its reader is busy meanwhile."""

_GAVE_WAY = "a reply needed its place"


class Limited(Protocol):
    @property
    def limits(self) -> ProviderLimits: ...


class Service:
    """An opened provider. A context manager around each use of it; ``over`` is set once it is retired and unused."""

    __slots__ = ("_uses", "circuits", "over", "provider", "retired")

    def __init__(self, provider: LLMProvider, circuits: Circuits, over: asyncio.Event) -> None:
        self.provider, self.circuits, self.over = provider, circuits, over
        self._uses, self.retired = 0, False

    def __enter__(self) -> LLMProvider:
        self._uses += 1
        return self.provider

    def __exit__(self, *_: object) -> None:
        self._uses -= 1
        if self.retired and not self._uses:
            self.over.set()

    def circuit(self, model: str | None) -> Circuit:
        """``model`` as in a ``ModelRequest``."""
        return self.circuits.of(model or self.provider.model)

    def retire(self) -> None:
        self.retired = True
        self.circuits.reset()
        if not self._uses:
            self.over.set()


class Way:
    """Of a call in the background: ``give`` ends it, now, or as soon as it is made."""

    __slots__ = ("asked", "call")

    def __init__(self) -> None:
        self.call: GuardedCall | None = None
        self.asked = False

    def give(self) -> None:
        self.asked = True
        if self.call is not None:
            self.call.look()


class GuardedCall:
    """A context manager around the reading of a stream. Raises ProviderTimeout when the stream is silent for too long,
    GaveWay if its ``way`` is asked for.

    There is one timer, however many events come: when it is due, it looks at what happened meanwhile.

    task    who waits for an event now; None while nobody does
    since   from when on, in seconds of ``time``
    made    the service was asked, or is
    begun   the answer has begun: notes, and what is told of its usage, do not count
    came    something of it has come, if only its usage
    """

    __slots__ = (
        *("_before", "_guard", "_late", "_loop", "_timer", "_trying", "_way"),
        *("begun", "came", "circuit", "made", "service", "since", "task", "time"),
    )

    def __init__(self, service: Service, model: str | None, guard: Limited, way: Way | None = None) -> None:
        self.service, self.circuit, self._guard, self._way = service, service.circuit(model), guard, way
        self._loop = asyncio.get_running_loop()
        self.time = self._loop.time
        self.task: asyncio.Task[object] | None = None
        self.since = 0.0
        self.made = self.begun = self.came = self._trying = False
        self._late: asyncio.Task[object] | None = None
        self._before = 0
        self._timer: asyncio.TimerHandle | None = None

    def __enter__(self) -> None:
        """Raises ProviderError while the circuit is open."""
        if self._way is not None:
            if self._way.asked:
                raise GaveWay(_GAVE_WAY, at_work=False)
            self._way.call = self
        self._trying = self.circuit.begin()
        self.service.__enter__()
        self.made = True
        self.task, self.since = asyncio.current_task(), self.time()
        self._set(self.since + self._limit)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._way is not None:
            self._way.call = None
        late: ProviderError | None = None
        # As asyncio.timeout tells its own cancellation from somebody else's.
        if self._late is not None and self._late.uncancel() <= self._before and error is not None:
            error = late = self._ended()
        if error is None:
            self._tell(self.circuit.answered)
        elif not isinstance(error, ProviderError):
            self.left()
        self.service.__exit__()
        if late is not None:
            raise late from None

    def failed(self, error: ProviderError) -> None:
        """It is not made again."""
        self._tell(lambda: self.circuit.failed(error, self._guard.limits, trying=self._trying))

    def left(self) -> None:
        """It is made again, or was given up."""
        self._tell(lambda: self.circuit.left(trying=self._trying))

    def _tell(self, what: Callable[[], None]) -> None:
        """What the call says of the service: nothing any more, if another one has taken its place."""
        if self.made and not self.service.retired:
            what()

    def hear(self, event: ProviderEvent) -> None:
        """An event has come, and none but notes and usage before it."""
        if type(event) is StatusNote:
            return
        if not self.came:
            self.came, self._trying = True, False
            self._tell(self.circuit.heard)
        if type(event) is not UsageReport:
            self.begun = True
            if self._timer is not None:
                self._timer.cancel()
            self._set(self.time() + self._limit)

    @property
    def _limit(self) -> float:
        if self._way is not None and self._way.asked:
            return AT_ONCE
        limits = self._guard.limits
        return limits.between_tokens if self.begun else limits.first_token

    def _set(self, when: float) -> None:
        self._timer = self._loop.call_at(when, self._look)

    def look(self) -> None:
        """Its limits have become shorter."""
        if self._timer is not None:
            self._timer.cancel()
        self._look()

    def _look(self) -> None:
        now = self.time()
        due = (now if self.task is None else self.since) + self._limit
        if self.task is None or due > now:
            self._set(due)
            return
        self._late, self._before = self.task, self.task.cancelling()
        self.task.cancel()

    def _ended(self) -> ProviderError:
        if self._way is not None and self._way.asked:
            return GaveWay(_GAVE_WAY)
        limits = self._guard.limits
        if self.begun:
            return ProviderTimeout(f"the model service said nothing more for {limits.between_tokens:g} seconds")
        return ProviderTimeout(f"the model service did not begin to answer within {limits.first_token:g} seconds")
