"""Everything that can go wrong, in domain words. No HTTP in this file.

    BackchatError                   kind            code
      InvalidInput                  invalid         invalid_input
        NoVision                    invalid         no_vision
      InvalidCredentials            unauthenticated invalid_credentials
      MissingCredentials            unauthenticated missing_credentials
      Forbidden                     forbidden       forbidden
      NotFound                      not_found       not_found
        NotOwned                    not_found       not_owned
        Expired                     not_found       expired
      Conflict                      conflict        conflict
        StaleWrite                  conflict        stale_write
        IdempotencyMismatch         conflict        idempotency_mismatch
        VersionConflict             conflict        version_conflict
        RunInProgress               conflict        run_in_progress
        DocumentsPending            conflict        documents_pending
      TooLarge                      too_large       too_large
      InsufficientCredits           exhausted       insufficient_credits
      RateLimited                   rate_limited    rate_limited
      Unavailable                   unavailable     unavailable
        NotConfigured               unavailable     not_configured
        Draining                    unavailable     draining
      ProviderError                 upstream        provider_error
        ProviderTimeout             timeout         provider_timeout
        ProviderRejected            upstream        provider_rejected
        ProviderThrottled           upstream        provider_rate_limited
        ProviderCredentials         upstream        provider_credentials
        GaveWay                     upstream        gave_way
      Cancelled                     conflict        cancelled
      Interrupted                   unavailable     interrupted
      Internal                      internal        internal
    ConfigError                     raised before the server listens, printed, never rendered as HTTP

The message of every error may be shown to the caller: it names fields and things, and never repeats a credential.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import ClassVar


class ErrorKind(Enum):
    """What went wrong, as a caller would say it. One table in ``backchat.web.errors`` turns it into a status."""

    INVALID = "invalid"
    UNAUTHENTICATED = "unauthenticated"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not_found"
    CONFLICT = "conflict"
    TOO_LARGE = "too_large"
    EXHAUSTED = "exhausted"
    RATE_LIMITED = "rate_limited"
    UPSTREAM = "upstream"
    TIMEOUT = "timeout"
    UNAVAILABLE = "unavailable"
    INTERNAL = "internal"


class BackchatError(Exception):
    """Base of every error that a caller may see.

    ``field`` names the offending input, dotted from its place: ``body.text``, ``header.Idempotency-Key``.
    ``retry_after`` is in seconds.
    """

    kind: ClassVar[ErrorKind] = ErrorKind.INTERNAL
    code: ClassVar[str] = "internal"

    def __init__(self, message: str, *, field: str | None = None, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.field = field
        self.retry_after = retry_after


class InvalidInput(BackchatError):
    kind = ErrorKind.INVALID
    code = "invalid_input"


class NoVision(InvalidInput):
    """An image for a model that cannot see."""

    code = "no_vision"


class MissingCredentials(BackchatError):
    """No authenticator recognised anything in the request."""

    kind = ErrorKind.UNAUTHENTICATED
    code = "missing_credentials"


class InvalidCredentials(BackchatError):
    """A credential of a known scheme that is wrong, expired or revoked."""

    kind = ErrorKind.UNAUTHENTICATED
    code = "invalid_credentials"


class Forbidden(BackchatError):
    kind = ErrorKind.FORBIDDEN
    code = "forbidden"


class NotFound(BackchatError):
    kind = ErrorKind.NOT_FOUND
    code = "not_found"


class NotOwned(NotFound):
    """It exists and is somebody else's. Reads like NotFound; a dialect may give it a status of its own."""

    code = "not_owned"


class Expired(NotFound):
    """It existed, and was kept as long as the configuration says."""

    code = "expired"


class Conflict(BackchatError):
    kind = ErrorKind.CONFLICT
    code = "conflict"


class StaleWrite(Conflict):
    """A record does not stand at the expected version, or a unique group is taken. Nothing was written."""

    code = "stale_write"


class IdempotencyMismatch(Conflict):
    """An Idempotency-Key was used before with another request body."""

    code = "idempotency_mismatch"


class VersionConflict(Conflict):
    """A push that was made from another version than the current one, which is ``version``."""

    code = "version_conflict"

    def __init__(self, message: str, version: int) -> None:
        super().__init__(message, field="body.baseVersion")
        self.version = version


class RunInProgress(Conflict):
    """The conversation has an active run and the caller asked not to wait for it."""

    code = "run_in_progress"


class DocumentsPending(Conflict):
    """Documents that a reply would be grounded with are still being read."""

    code = "documents_pending"


class TooLarge(BackchatError):
    kind = ErrorKind.TOO_LARGE
    code = "too_large"


class InsufficientCredits(BackchatError):
    """The user, or the workspace, has spent what may be spent."""

    kind = ErrorKind.EXHAUSTED
    code = "insufficient_credits"


class RateLimited(BackchatError):
    kind = ErrorKind.RATE_LIMITED
    code = "rate_limited"


class Unavailable(BackchatError):
    kind = ErrorKind.UNAVAILABLE
    code = "unavailable"


class NotConfigured(Unavailable):
    """A known provider or feature that this server's configuration does not offer."""

    code = "not_configured"


class Draining(Unavailable):
    """The server is shutting down and starts no new runs."""

    code = "draining"


class ProviderError(BackchatError):
    """The upstream model failed, broke its protocol, or cut the connection.

    ``at_work``: it may have worked on the request, as far as is known; then what it was sent is paid for, even if
    nothing has come of it. It has not where the service said no, or could not be reached.
    """

    kind = ErrorKind.UPSTREAM
    code = "provider_error"
    at_work: bool = True

    def __init__(
        self, message: str, *, field: str | None = None, retry_after: int | None = None, at_work: bool | None = None
    ) -> None:
        """None leaves ``at_work`` as it is for this class of errors."""
        super().__init__(message, field=field, retry_after=retry_after)
        if at_work is not None:
            self.at_work = at_work


class ProviderTimeout(ProviderError):
    kind = ErrorKind.TIMEOUT
    code = "provider_timeout"


class ProviderRejected(ProviderError):
    """The upstream model refused the request itself (its 4xx)."""

    code = "provider_rejected"
    at_work = False


class ProviderThrottled(ProviderError):
    code = "provider_rate_limited"
    at_work = False


class ProviderCredentials(ProviderError):
    """The upstream model refused this server's key."""

    code = "provider_credentials"
    at_work = False


class GaveWay(ProviderError):
    """A call that nobody waited for was ended by this side, because a reply needed its place."""

    code = "gave_way"


class Cancelled(BackchatError):
    """A run was stopped on request."""

    kind = ErrorKind.CONFLICT
    code = "cancelled"


class Interrupted(BackchatError):
    """The server stopped while the run was being worked on; what it had said is kept."""

    kind = ErrorKind.UNAVAILABLE
    code = "interrupted"


class Internal(BackchatError):
    """A fault of this server. Its message says nothing about the inside."""


class ConfigError(Exception):
    """The configuration is wrong. ``problems`` holds one line each, with the option's path, never a secret value."""

    def __init__(self, problems: str | Sequence[str]) -> None:
        self.problems: tuple[str, ...] = (problems,) if isinstance(problems, str) else tuple(problems)
        super().__init__("\n".join(self.problems))
