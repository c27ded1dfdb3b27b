"""One call of a guarded provider, under a clock; and what its calls have in common."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Protocol

from backchat.domain.limits import ProviderLimits
from backchat.domain.run import StatusNote
from backchat.errors import ProviderError, ProviderTimeout
from backchat.ports.providers import LLMProvider, ProviderEvent, UsageReport
from backchat.services.circuits import Circuit


class Limited(Protocol):
    @property
    def limits(self) -> ProviderLimits: ...


class Service:
    """An opened provider. A context manager around each use of it; ``over`` is set once it is retired and unused."""

    __slots__ = ("_uses", "circuit", "over", "provider", "retired")

    def __init__(self, provider: LLMProvider, circuit: Circuit, over: asyncio.Event) -> None:
        self.provider, self.circuit, self.over = provider, circuit, over
        self._uses, self.retired = 0, False

    def __enter__(self) -> LLMProvider:
        self._uses += 1
        return self.provider

    def __exit__(self, *_: object) -> None:
        self._uses -= 1
        if self.retired and not self._uses:
            self.over.set()

    def retire(self) -> None:
        self.retired = True
        self.circuit.reset()
        if not self._uses:
            self.over.set()


class GuardedCall:
    """A context manager around the reading of a stream. Raises ProviderTimeout when the stream is silent for too long.

    There is one timer, however many events come: when it is due, it looks at what happened meanwhile.

    task    who waits for an event now; None while nobody does
    since   from when on, in seconds of ``time``
    begun   the answer has begun: notes, and what is told of its usage, do not count
    came    something of it has come, if only its usage
    """

    __slots__ = (
        *("_before", "_guard", "_late", "_loop", "_timer", "_trying"),
        *("begun", "came", "service", "since", "task", "time"),
    )

    def __init__(self, service: Service, guard: Limited) -> None:
        self.service, self._guard = service, guard
        self._loop = asyncio.get_running_loop()
        self.time = self._loop.time
        self.task: asyncio.Task[object] | None = None
        self.since = 0.0
        self.begun = self.came = self._trying = False
        self._late: asyncio.Task[object] | None = None
        self._before = 0
        self._timer: asyncio.TimerHandle | None = None

    def __enter__(self) -> None:
        """Raises ProviderError while the circuit is open."""
        self._trying = self.service.circuit.begin()
        self.service.__enter__()
        self.task, self.since = asyncio.current_task(), self.time()
        self._set(self.since + self._limit)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
        late: ProviderTimeout | None = None
        # As asyncio.timeout tells its own cancellation from somebody else's.
        if self._late is not None and self._late.uncancel() <= self._before and error is not None:
            error = late = self._timeout()
        self._tell(error)
        self.service.__exit__()
        if late is not None:
            raise late from None

    def _tell(self, error: BaseException | None) -> None:
        """What the call says of the service: nothing any more, if another one has taken its place."""
        if self.service.retired:
            return
        circuit = self.service.circuit
        if error is None:
            circuit.answered()
        elif isinstance(error, ProviderError):
            circuit.failed(error, self._guard.limits, trying=self._trying)
        else:
            circuit.left(trying=self._trying)

    def hear(self, event: ProviderEvent) -> None:
        """An event has come, and none but notes and usage before it."""
        if type(event) is StatusNote:
            return
        if not self.came:
            self.came, self._trying = True, False
            if not self.service.retired:
                self.service.circuit.heard()
        if type(event) is not UsageReport:
            self.begun = True
            if self._timer is not None:
                self._timer.cancel()
            self._set(self.time() + self._limit)

    @property
    def _limit(self) -> float:
        limits = self._guard.limits
        return limits.between_tokens if self.begun else limits.first_token

    def _set(self, when: float) -> None:
        self._timer = self._loop.call_at(when, self._look)

    def _look(self) -> None:
        now = self.time()
        due = (now if self.task is None else self.since) + self._limit
        if self.task is None or due > now:
            self._set(due)
            return
        self._late, self._before = self.task, self.task.cancelling()
        self.task.cancel()

    def _timeout(self) -> ProviderTimeout:
        limits = self._guard.limits
        if self.begun:
            return ProviderTimeout(f"the model service said nothing more for {limits.between_tokens:g} seconds")
        return ProviderTimeout(f"the model service did not begin to answer within {limits.first_token:g} seconds")
