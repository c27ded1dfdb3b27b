"""A model that has failed again and again is left alone for a while, so that nobody waits for it in vain."""

from __future__ import annotations

from collections.abc import Callable
from math import ceil
from weakref import WeakValueDictionary

import structlog

from backchat.domain.limits import ProviderLimits
from backchat.errors import GaveWay, ProviderCredentials, ProviderError, ProviderRejected, ProviderThrottled
from backchat.ports.metrics import Meter

log = structlog.get_logger(source=__name__)
LONGEST = 600.0
"""Seconds for which a service can ask at most to be left alone."""
SOON = 10.0
"""Seconds: a service that limits requests for no longer than that is asked again, and is not down."""
MOST_FAILING = 1000
"""Models whose failures are counted: callers can ask for any name."""


def passes_soon(error: ProviderError) -> bool:
    """Whether the service says itself that it will answer in a moment."""
    return error.retry_after is not None and error.retry_after <= SOON


class Circuits:
    """Those of one provider, in one process: one for each model, for one that is broken says nothing of the others.

    ``time`` gives seconds.
    """

    def __init__(self, name: str, meter: Meter, time: Callable[[], float]) -> None:
        self.name, self.time, self._meter = name, time, meter
        self._used: WeakValueDictionary[str, Circuit] = WeakValueDictionary()
        self._failing: dict[str, Circuit] = {}
        self._open = 0

    def of(self, model: str) -> Circuit:
        circuit = self._used.get(model)
        if circuit is None:
            circuit = self._used[model] = Circuit(model, self)
        return circuit

    def reset(self) -> None:
        """What was is forgotten: it may be another service now."""
        for circuit in list(self._failing.values()):
            circuit.reset()

    def failing(self, circuit: Circuit) -> None:
        """It has something to remember."""
        self._failing[circuit.model] = circuit
        if len(self._failing) > MOST_FAILING:
            oldest = next((c for c in self._failing.values() if not c.is_open), circuit)
            oldest.reset()

    def forget(self, circuit: Circuit) -> None:
        self._failing.pop(circuit.model, None)

    def opened(self, more: int) -> None:
        """So many more are open, or fewer."""
        before, self._open = self._open, self._open + more
        if (before > 0) != (self._open > 0):
            self._meter.circuit(self.name, self._open > 0)


class Circuit:
    """Of one model of a provider. It is open while the model is not asked.

    ``failures`` calls in a row open it. After ``pause`` seconds, or as long as the service asked for if that is longer,
    one call at a time tries it again: the first that it hears closes the circuit, and its failure is the next pause.

    A service that refuses a request or a key is there, and says what is wrong: an open circuit would say less. So is
    one that limits requests for a moment.
    """

    def __init__(self, model: str, circuits: Circuits) -> None:
        self.model, self._circuits = model, circuits
        self._failures = 0
        self._until: float | None = None
        self._tried = False

    @property
    def is_open(self) -> bool:
        return self._until is not None

    def check(self) -> None:
        """Raises ProviderError, with ``retry_after``, if the model is not to be asked now."""
        if self._until is None:
            return
        left = self._until - self._circuits.time()
        if left > 0 or self._tried:
            seconds = max(1, ceil(left))
            raise ProviderError(
                f"{self._circuits.name} has failed again and again with {self.model}, and is left alone for a while",
                retry_after=seconds,
                at_work=False,
            )

    def begin(self) -> bool:
        """A call begins; whether it is the one that tries the model again. Raises like ``check``."""
        self.check()
        self._tried = self._until is not None
        return self._tried

    def heard(self) -> None:
        """The model has begun to answer: others need not wait for the end."""
        if self._until is not None:
            self.reset()
            log.info("provider.circuit_closed", provider=self._circuits.name, model=self.model)

    def answered(self) -> None:
        """A call has come to its end, or to a refusal of its own."""
        self.heard()
        self.reset()

    def failed(self, error: ProviderError, limits: ProviderLimits, *, trying: bool) -> None:
        """A call has failed in the end. ``trying``: it was the one that tried, and has not been heard."""
        if isinstance(error, ProviderRejected | ProviderCredentials):
            self.answered()
        elif isinstance(error, GaveWay) or (isinstance(error, ProviderThrottled) and passes_soon(error)):
            self.left(trying=trying)
        else:
            self._failures += 1
            self._circuits.failing(self)
            self.left(trying=trying)
            if trying or (self._until is None and self._failures >= limits.failures):
                self._open(max(limits.pause, min(error.retry_after or 0, LONGEST)), error.code)

    def left(self, *, trying: bool) -> None:
        """A call has ended without a word about the model: it was cancelled, say."""
        if trying:
            self._tried = False

    def reset(self) -> None:
        """What was is forgotten."""
        if self._until is not None:
            self._circuits.opened(-1)
        self._failures, self._until, self._tried = 0, None, False
        self._circuits.forget(self)

    def _open(self, seconds: float, code: str) -> None:
        if self._until is None:
            self._circuits.opened(1)
        self._until = self._circuits.time() + seconds
        log.warning(
            "provider.circuit_opened",
            provider=self._circuits.name,
            model=self.model,
            code=code,
            failures=self._failures,
            seconds=ceil(seconds),
        )
