"""Google's errors (https://google.aip.dev/193): ``{"error": {"code", "message", "status", "details"}}``.

They come as the body of an answer with another status than 200; as an event in mid-stream; as a list of one where no
stream had been begun; and behind the last event as they are, without the marks of an event.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from orjson import JSONDecodeError, dumps, loads

from backchat.errors import ProviderError
from backchat.upstream.failures import Failures

_CODES: Mapping[str, int] = {
    "CANCELLED": 499,
    "UNKNOWN": 500,
    "INVALID_ARGUMENT": 400,
    "DEADLINE_EXCEEDED": 504,
    "NOT_FOUND": 404,
    "ALREADY_EXISTS": 409,
    "PERMISSION_DENIED": 403,
    "UNAUTHENTICATED": 401,
    "RESOURCE_EXHAUSTED": 429,
    "FAILED_PRECONDITION": 400,
    "ABORTED": 409,
    "OUT_OF_RANGE": 400,
    "UNIMPLEMENTED": 501,
    "INTERNAL": 500,
    "UNAVAILABLE": 503,
    "DATA_LOSS": 500,
}
"""The HTTP statuses of https://github.com/googleapis/googleapis/blob/master/google/rpc/code.proto"""


class GoogleFailures:
    """Makes the errors of one provider; none holds a secret."""

    __slots__ = ("_failures",)

    def __init__(self, secrets: Iterable[str]) -> None:
        self._failures = Failures(secrets, _CODES)

    def answered(self, status: int, headers: Mapping[str, str], body: bytes) -> ProviderError:
        """The error for an answer with a status other than 200; ``body`` may be cut off."""
        error = error_in(body)
        if _bad_key(error):
            status = 401
        if wait := _wait(error):
            headers = {"Retry-After": wait}
        return self._failures.answered(status, headers, body if error is None else dumps({"error": error}))

    def reported(self, error: Any) -> ProviderError:
        """The error for an ``error`` object that came with status 200."""
        return self._failures.reported({"status": "UNAUTHENTICATED"} if _bad_key(error) else error)


def error_in(body: bytes) -> Any:
    """The ``error`` of a document, or of the first of a list of them; None if there is none."""
    try:
        found = loads(body)
    except JSONDecodeError:
        return None
    if type(found) is list and found:
        found = found[0]
    return found.get("error") if type(found) is dict else None


def _details(error: Any) -> list[dict[str, Any]]:
    details = error.get("details") if type(error) is dict else None
    return [d for d in details if type(d) is dict] if type(details) is list else []


def _bad_key(error: Any) -> bool:
    """A key that is wrong is an INVALID_ARGUMENT to this service, and said in the details alone."""
    reasons = [d.get("reason") for d in _details(error)]
    return any(type(r) is str and r.startswith("API_KEY_") for r in reasons)


def _wait(error: Any) -> str | None:
    """Seconds of ``RetryInfo``, which has them as ``37s`` or ``37.8s``."""
    for detail in _details(error):
        delay = detail.get("retryDelay")
        if type(delay) is str and delay.endswith("s"):
            return delay[:-1]
    return None
