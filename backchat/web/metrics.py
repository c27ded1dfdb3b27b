"""What ``/metrics`` shows, in Prometheus' text format."""

from __future__ import annotations

import os
from typing import Any, Literal, TypeVar

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector

from backchat.domain.message import Usage
from backchat.domain.run import RunStatus

M = TypeVar("M", Counter, Histogram, Gauge)
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Metrics:
    """The counters of one app (of this process; of all workers where prometheus' multiprocess mode is on)."""

    def __init__(self) -> None:
        registry = CollectorRegistry()
        self._registry = registry
        self._labelled: dict[tuple[object, tuple[str, ...]], Any] = {}
        self.requests = Counter(
            "backchat_http_requests", "Requests by route and status.", ("method", "route", "status"), registry=registry
        )
        self.latency = Histogram(
            "backchat_http_request_seconds",
            "Time to the end of the answer; a stream's is its length.",
            ("method", "route"),
            registry=registry,
            buckets=_SECONDS,
        )
        self.running = Gauge(
            "backchat_runs_running", "Runs being worked on.", registry=registry, multiprocess_mode="livesum"
        )
        self.runs = Counter("backchat_runs", "Runs by provider and status.", ("provider", "status"), registry=registry)
        self.tokens = Counter(
            "backchat_tokens", "Tokens as providers report them.", ("provider", "direction"), registry=registry
        )
        self.first = Histogram(
            "backchat_time_to_first_token_seconds",
            "From the start of a run to the first thing its model said.",
            ("provider",),
            registry=registry,
            buckets=_SECONDS,
        )
        self.batches = Histogram(
            "backchat_store_commit_batches",
            "Calls of apply that one commit made durable; the count is the number of commits.",
            registry=registry,
            buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256),
        )
        self.streams = Gauge(
            "backchat_open_streams", "Open event streams.", registry=registry, multiprocess_mode="livesum"
        )
        self.retries = Counter(
            "backchat_provider_retries", "Calls of a provider that were made again.", ("provider",), registry=registry
        )
        self.queued = Gauge(
            "backchat_provider_waiting",
            "Calls that wait for their turn with a provider.",
            ("provider",),
            registry=registry,
            multiprocess_mode="livesum",
        )
        self.circuits = Gauge(
            "backchat_provider_circuits_open",
            "Processes that leave a provider alone for a while, because it has failed again and again.",
            ("provider",),
            registry=registry,
            multiprocess_mode="livesum",
        )
        if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
            ProcessCollector(registry=registry)

    def render(self) -> tuple[bytes, str]:
        """The text and its content type."""
        registry = self._registry
        if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
            registry = CollectorRegistry()
            MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return generate_latest(registry), CONTENT_TYPE_LATEST

    def request(self, method: str, route: str, status: int, seconds: float) -> None:
        self._of(self.requests, method, route, str(status)).inc()
        self._of(self.latency, method, route).observe(seconds)

    def stream_opened(self) -> None:
        self.streams.inc()

    def stream_closed(self) -> None:
        self.streams.dec()

    def run_started(self) -> None:
        self.running.inc()

    def first_token(self, provider: str, seconds: float) -> None:
        self._of(self.first, provider).observe(seconds)

    def run_ended(self, provider: str, status: RunStatus | Literal["lost"], usage: Usage | None) -> None:
        self.running.dec()
        self._of(self.runs, provider, status).inc()
        if usage is not None:
            self._of(self.tokens, provider, "input").inc(usage.input_tokens)
            self._of(self.tokens, provider, "output").inc(usage.output_tokens)

    def asked_again(self, provider: str) -> None:
        self._of(self.retries, provider).inc()

    def waiting(self, provider: str, more: int) -> None:
        self._of(self.queued, provider).inc(more)

    def circuit(self, provider: str, is_open: bool) -> None:
        self._of(self.circuits, provider).set(is_open)

    def _of(self, metric: M, *labels: str) -> M:
        """``metric.labels(...)``, remembered: prometheus' own look-up costs more than the counting."""
        key = (metric, labels)
        found = self._labelled.get(key)
        if found is None:
            found = self._labelled[key] = metric.labels(*labels)
        return found

    def committed(self, batches: int) -> None:
        self.batches.observe(batches)
