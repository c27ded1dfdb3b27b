"""Errors as the contract of the vault has them. None of them repeats what was sent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
from aiohttp import web

from backchat.errors import VersionConflict
from backchat.web.dialect import Problem

CODES: Mapping[int, str] = {
    400: "bad_request",
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    409: "conflict",
    413: "payload_too_large",
    415: "unsupported_media_type",
    422: "validation_error",
    429: "rate_limited",
    503: "unavailable",
}
STATUSES: Mapping[str, int] = {"invalid_input": 422, "misfit": 422}
WHOLE = "body"
"""Under which name it is told what is wrong with all of a body."""


def render_error(problem: Problem, request: web.Request) -> web.Response:
    headers = {"WWW-Authenticate": "Bearer"} if problem.status == 401 else {}
    return web.Response(
        body=orjson.dumps(body_of(problem)), status=problem.status, content_type="application/json", headers=headers
    )


def body_of(problem: Problem) -> dict[str, Any]:
    told: dict[str, Any] = {
        "success": False,
        "error": CODES.get(problem.status, "internal_error"),
        "message": problem.message,
    }
    if problem.status == 422:
        told["details"] = _details(problem)
    if isinstance(problem.cause, VersionConflict):
        told["version"] = problem.cause.version
    return told


def _details(problem: Problem) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for field in problem.fields:
        name = ".".join(map(str, field.loc[1:])) or WHOLE
        found.setdefault(name, []).append(field.message)
    return found or {WHOLE: [problem.message]}
