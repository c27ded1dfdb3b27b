"""What the drivers raise, in the words of the domain. No message repeats a value: of a record, a query or the URL."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any

from bson.errors import InvalidDocument
from pymongo.errors import BulkWriteError, ConnectionFailure, DocumentTooLarge, ExecutionTimeout, PyMongoError

from backchat.errors import BackchatError, StaleWrite, TooLarge, Unavailable

TAKEN = 11000
"""The server's code for a value that a unique index holds already."""
SNAPSHOT_UNAVAILABLE = 246
"""Its code for a moment in which an index was just being made: the next one is as good."""
_SNAPSHOT_TOO_OLD = 239
_TOO_LARGE = frozenset((10334, 17280, 17419, 17420))
_NO_ROOM = 388
REFUSED = frozenset((13, 18))
"""Its codes for a user without the right, and for one who is not who they say."""
CONFLICT = 112
"""Its code for a transaction that has met another one; or that did not fit into its cache, it does not say which."""
UNANSWERED = "the database does not answer"
TOO_LARGE = "the record is too large: MongoDB holds 16 MB in one document"


@contextmanager
def translated() -> Generator[None, None, None]:
    """Around calls of a driver: what it raises becomes a BackchatError."""
    try:
        yield
    except (PyMongoError, InvalidDocument) as error:
        # Without what it was made from, which holds values and may end in a log.
        raise translation(error) from None


def translation(error: Exception) -> BackchatError:
    """The BackchatError for an error of a driver: Unavailable, if it is nothing that the caller has brought about."""
    if isinstance(error, DocumentTooLarge | InvalidDocument) or any(map(_is_too_large, _faults(error))):
        return TooLarge(TOO_LARGE)
    if TAKEN in codes(error):
        return StaleWrite("another record has the same values")
    if _SNAPSHOT_TOO_OLD in codes(error):
        return Unavailable(
            "the database does not know any more how it was at that moment: set minSnapshotHistoryWindowInSeconds, a "
            "parameter of its servers, to the seconds that it takes to read everything"
        )
    if _NO_ROOM in codes(error):
        return Unavailable("the batch does not fit into the cache of the database: give its servers a larger one")
    if codes(error) & REFUSED:
        return Unavailable("the database does not let this server in")
    if unanswered(error):
        return Unavailable(UNANSWERED)
    return Unavailable(f"the database fails ({_named(error)})")


def unanswered(error: Exception) -> bool:
    """Whether the time was over, or nothing is there, so that others would wait in vain as well."""
    return isinstance(error, ConnectionFailure | ExecutionTimeout) or (
        isinstance(error, PyMongoError) and error.timeout
    )


def codes(error: Exception) -> frozenset[int]:
    """The server's codes in an error; of a bulk, those of its single writes."""
    return frozenset(fault["code"] for fault in _faults(error) if isinstance(fault.get("code"), int))


def _faults(error: Exception) -> list[Mapping[str, Any]]:
    """What the server says: ``code``, ``errmsg``, ``codeName``. None of it if it has said nothing."""
    details = getattr(error, "details", None)
    if not isinstance(details, Mapping):
        return [{"code": getattr(error, "code", None)}]
    if isinstance(error, BulkWriteError):
        return [*details.get("writeErrors", ()), *details.get("writeConcernErrors", ())]
    return [details]


def _is_too_large(fault: Mapping[str, Any]) -> bool:
    """For what is inserted the server has no code of its own."""
    return fault.get("code") in _TOO_LARGE or str(fault.get("errmsg", "")).startswith("object to insert too large")


def _named(error: Exception) -> str:
    for fault in _faults(error):
        if name := fault.get("codeName") or fault.get("code"):
            return str(name)
    return type(error).__name__
