"""Which statuses routes answer with, for the OpenAPI document."""

from __future__ import annotations

from collections.abc import Mapping

FAILS = {401: "No or no valid token", 403: "The token lacks the scope"}
UNFIT = {422: "The input does not fit"}
BODY = {**UNFIT, 400: "The body is not JSON", 413: "The body is too large", 415: "The body is not JSON by its type"}
MISSING = {404: "There is no such thing of the caller's"}
LIMITED = {429: "Too many requests; Retry-After says when to come back"}
KEYLESS = {403: "The token lacks the scope, or has no vault key"}


def statuses(*parts: Mapping[int, str], ok: str, status: int = 200) -> dict[int, str]:
    found = {status: ok, **FAILS}
    for part in parts:
        found |= part
    return dict(sorted(found.items()))
