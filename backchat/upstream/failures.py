"""What went wrong upstream, as the errors of the port, with nothing secret in them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from math import ceil, isfinite
from typing import Any

from orjson import JSONDecodeError, loads

from backchat.errors import ProviderCredentials, ProviderError, ProviderRejected, ProviderThrottled, ProviderTimeout
from backchat.upstream.enclosing import one_line

MODEL_SERVICE = "the model service"
"""What errors call the service, unless they are told otherwise."""
LONGEST_MESSAGE = 300
_READ = 4096
"""Characters of a message that are looked at."""
_LONGEST_WAIT = 24 * 3600
CODES: Mapping[str, int] = {
    "rate_limit_exceeded": 429,
    "insufficient_quota": 429,
    "invalid_api_key": 401,
    "server_error": 500,
}
"""The HTTP statuses that the names of OpenAI's errors stand for."""
KEYLIKE = re.compile(
    r"(?i)\b(?:sk|gsk|pk|rk|xai|key|hf|nvapi|bsk|tvly)[-_][\w*.-]{6,}|\bAIza[\w-]{10,}|\bBearer\s+\S+"
    r"|\beyJ[\w-]{1,1000}\.[\w-]+\.[\w-]*"
)
"""What keys and tokens of the usual services look like. Takes linear time, for texts of any length."""
KEY = "[key]"
"""What stands in the place of a key that must not be shown or kept."""
_STARRED = re.compile(r"[\w-]*\*{4,}[\w-]*")
"""How a service repeats a key in an error."""


class Failures:
    """Makes the errors of one provider. ``secrets`` never appear in one, nor does anything that looks like a key.

    ``codes`` are the HTTP statuses that the names of the service's errors stand for; ``service`` is what it is called.
    """

    __slots__ = ("_codes", "_secrets", "_service")

    def __init__(self, secrets: Iterable[str], codes: Mapping[str, int] = CODES, service: str = MODEL_SERVICE) -> None:
        self._codes, self._service = codes, service
        self._secrets = sorted({s for s in secrets if s}, key=len, reverse=True)

    def answered(self, status: int, headers: Mapping[str, str], body: bytes) -> ProviderError:
        """The error for an answer with a status other than 200; ``body`` may be cut off."""
        return self._of(status, _message_in(body), _retry_after(headers))

    def reported(self, error: Any) -> ProviderError:
        """The error for an ``error`` object that came with status 200, as a rule in mid-stream."""
        if not isinstance(error, dict):
            return self._of(0, error if isinstance(error, str) else "", None)
        codes = (error.get("status"), error.get("code"), error.get("type"))
        message = error.get("message")
        return self._of(
            next(filter(None, map(self._status, codes)), 0), message if isinstance(message, str) else "", None
        )

    def _of(self, status: int, message: str, retry_after: int | None) -> ProviderError:
        reason = self.redacted(message)
        reason = f": {reason}" if reason else ""
        service = self._service
        if status in (401, 403):
            # Not the service's own words: they are about the key, and some repeat it.
            return ProviderCredentials(f"{service} refused this server's credentials")
        if status == 429:
            return ProviderThrottled(f"{service} is limiting this server's requests", retry_after=retry_after)
        if status in (408, 504):
            return ProviderTimeout(f"{service} ran out of time (status {status})", retry_after=retry_after)
        if 400 <= status < 500:
            return ProviderRejected(f"{service} rejected the request (status {status}){reason}")
        if status >= 500:
            return ProviderError(f"{service} failed (status {status})", retry_after=retry_after, at_work=False)
        if status:
            return ProviderError(f"{service} gave an unexpected answer (status {status})", at_work=False)
        return ProviderError(f"{service} reported an error{reason}")

    def _status(self, code: object) -> int:
        """The HTTP status that an error's code stands for, 0 if it stands for none."""
        if isinstance(code, str):
            if code in self._codes:
                return self._codes[code]
            code = int(code) if code.isascii() and code.isdigit() and len(code) == 3 else 0
        return code if isinstance(code, int) and not isinstance(code, bool) and 400 <= code < 600 else 0

    def redacted(self, message: str) -> str:
        """One line of at most 300 characters without keys."""
        return one_line(self.keyless(one_line(message[:_READ], _READ)), LONGEST_MESSAGE)

    def keyless(self, text: str) -> str:
        """The text, of any length, without keys."""
        for secret in self._secrets:
            text = text.replace(secret, KEY)
        return _STARRED.sub(KEY, KEYLIKE.sub(KEY, text))


def _message_in(body: bytes) -> str:
    """The message of an error body: ``error``, ``message`` or ``detail``, or one of these inside an earlier one."""
    try:
        found = loads(body)
    except JSONDecodeError:
        return ""
    for key in ("error", "message", "detail", "error"):
        inner = found.get(key) if isinstance(found, dict) else None
        if inner:
            found = inner
    return found if isinstance(found, str) else ""


def _retry_after(headers: Mapping[str, str]) -> int | None:
    """Seconds to wait, of ``Retry-After`` (seconds or a date) or OpenAI's ``retry-after-ms``."""
    for name, unit in (("Retry-After", 1.0), ("retry-after-ms", 0.001)):
        value = headers.get(name)
        if value is None:
            continue
        try:
            seconds = float(value) * unit
        except ValueError:
            try:
                seconds = (parsedate_to_datetime(value).astimezone(UTC) - datetime.now(UTC)).total_seconds()
            except (ValueError, OverflowError):
                continue
        if isfinite(seconds):
            return min(max(ceil(seconds), 0), _LONGEST_WAIT)
    return None
