"""Which statuses routes answer with, for the OpenAPI document."""

from __future__ import annotations

from collections.abc import Mapping

FAILS = {401: "No or no valid token"}
UNFIT = {400: "The input does not fit"}
MISSING = {404: "There is no such thing, or it is not for the caller to see"}
REFUSED = {403: "The caller may see it, but not do this"}
BODY = {**UNFIT, 413: "The body is too large", 415: "The body is not JSON"}
BROKE = {402: "The user or the workspace has spent what may be spent"}
LIMITED = {429: "Too many requests; Retry-After says when to come back"}
REPLIES = {
    **BROKE,
    409: "A reply of this session is being made",
    502: "The model failed; the user's message is kept",
    503: "The server is stopping, or the session's provider is gone from it",
    504: "The model took too long; the user's message is kept",
}


def statuses(*parts: Mapping[int, str], ok: str, status: int = 200) -> dict[int, str]:
    found = {status: ok, **FAILS}
    for part in parts:
        found |= part
    return dict(sorted(found.items()))
