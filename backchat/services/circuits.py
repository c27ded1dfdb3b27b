"""A service that has failed again and again is left alone for a while, so that nobody waits for it in vain."""

from __future__ import annotations

from collections.abc import Callable
from math import ceil

import structlog

from backchat.domain.limits import ProviderLimits
from backchat.errors import ProviderCredentials, ProviderError, ProviderRejected, ProviderThrottled
from backchat.ports.metrics import Meter

log = structlog.get_logger(source=__name__)
LONGEST = 600.0
"""Seconds for which a service can ask at most to be left alone."""
SOON = 10.0
"""Seconds: a service that limits requests for no longer than that is asked again, and is not down."""


def passes_soon(error: ProviderError) -> bool:
    """Whether the service says itself that it will answer in a moment."""
    return error.retry_after is not None and error.retry_after <= SOON


class Circuit:
    """Of one provider, in one process. It is open while the provider is not asked.

    ``failures`` in a row open it. After ``pause`` seconds, or as long as the service asked for if that is longer, one
    call at a time tries it again: the first that it hears closes the circuit, and its failure is the next pause.

    A service that refuses a request or a key is there, and says what is wrong: an open circuit would say less. So is
    one that limits requests for a moment. ``time`` gives seconds.
    """

    def __init__(self, name: str, meter: Meter, time: Callable[[], float]) -> None:
        self._name, self._meter, self._time = name, meter, time
        self._failures = 0
        self._until: float | None = None
        self._tried = False

    @property
    def is_open(self) -> bool:
        return self._until is not None

    def check(self) -> None:
        """Raises ProviderError, with ``retry_after``, if the provider is not to be asked now."""
        if self._until is None:
            return
        left = self._until - self._time()
        if left > 0 or self._tried:
            seconds = max(1, ceil(left))
            raise ProviderError(
                f"{self._name} has failed again and again, and is left alone for a while",
                retry_after=seconds,
                at_work=False,
            )

    def begin(self) -> bool:
        """A call begins; whether it is the one that tries the provider again. Raises like ``check``."""
        self.check()
        self._tried = self._until is not None
        return self._tried

    def heard(self) -> None:
        """The provider has begun to answer: others need not wait for the end."""
        if self._until is not None:
            self.reset()
            log.info("provider.circuit_closed", provider=self._name)

    def answered(self) -> None:
        """A call has come to its end, or to a refusal of its own."""
        self.heard()
        self._failures = 0

    def failed(self, error: ProviderError, limits: ProviderLimits, *, trying: bool) -> None:
        """``trying``: the call was the one that tried, and has not been heard."""
        if isinstance(error, ProviderRejected | ProviderCredentials):
            self.answered()
        elif isinstance(error, ProviderThrottled) and passes_soon(error):
            self.left(trying=trying)
        else:
            self._failures += 1
            self.left(trying=trying)
            if trying or (self._until is None and self._failures >= limits.failures):
                self._open(max(limits.pause, min(error.retry_after or 0, LONGEST)), error.code)

    def left(self, *, trying: bool) -> None:
        """A call has ended without a word about the provider: it was cancelled, say."""
        if trying:
            self._tried = False

    def reset(self) -> None:
        """What was is forgotten: it may be another service now."""
        if self._until is not None:
            self._meter.circuit(self._name, False)
        self._failures, self._until, self._tried = 0, None, False

    def _open(self, seconds: float, code: str) -> None:
        if self._until is None:
            self._meter.circuit(self._name, True)
        self._until = self._time() + seconds
        log.warning(
            "provider.circuit_opened", provider=self._name, code=code, failures=self._failures, seconds=ceil(seconds)
        )
