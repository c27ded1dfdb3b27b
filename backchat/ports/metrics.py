"""What the services count. ``backchat.web.metrics`` is the implementation that ``/metrics`` shows."""

from __future__ import annotations

from typing import Literal, Protocol

from backchat.domain.message import Usage
from backchat.domain.run import RunStatus


class Meter(Protocol):
    """Every method returns at once and never raises."""

    def run_started(self) -> None: ...

    def first_token(self, provider: str, seconds: float) -> None:
        """Seconds from the start of a run to the first thing its model said."""
        ...

    def run_ended(self, provider: str, status: RunStatus | Literal["lost"], usage: Usage | None) -> None:
        """``lost``: another process wrote the end, or nobody could, or the run was deleted."""
        ...

    def committed(self, batches: int) -> None:
        """The store made ``batches`` calls of ``apply`` durable in one commit."""
        ...

    def asked_again(self, provider: str) -> None:
        """A call that had failed before anything came of it is made again."""
        ...

    def waiting(self, provider: str, more: int) -> None:
        """So many calls more, or fewer, wait for their turn with a provider."""
        ...

    def circuit(self, provider: str, is_open: bool) -> None:
        """A provider is not asked any more for a while, or is again."""
        ...
