"""Errors as Django REST framework shows them, which the clients of this API know."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
from aiohttp import web

from backchat.web.dialect import Problem

NON_FIELD = "non_field_errors"
CODES: Mapping[str, str] = {
    "missing_credentials": "not_authenticated",
    "invalid_credentials": "token_not_valid",
    "forbidden": "permission_denied",
    "not_owned": "not_found",
    "expired": "not_found",
    "run_in_progress": "generation_in_progress",
    "provider_timeout": "timeout",
    "provider_rejected": "provider_error",
    "provider_rate_limited": "provider_error",
    "provider_credentials": "provider_error",
    "interrupted": "server_restart",
    "rate_limited": "throttled",
}
"""What errors are called here that have another name elsewhere."""
NOT_FOUND = "Not found."
"""What is said of a path that there is not, and of every public link that shows nothing."""

PUBLIC = "/api/chats/shared/"
"""Where public links are."""
HIDDEN = {"Cache-Control": "no-store", "X-Robots-Tag": "noindex", "Referrer-Policy": "no-referrer"}
"""Headers of everything there, whatever the status: nobody keeps it, finds it or passes the link on."""


def render_error(problem: Problem, request: web.Request) -> web.Response:
    shown = problem
    if request.match_info.http_exception is not None:
        text = NOT_FOUND if problem.status == 404 else f'Method "{request.method}" not allowed.'
        shown = Problem(problem.status, problem.code, text)
    headers = {"WWW-Authenticate": 'JWT realm="api"'} if problem.status == 401 else {}
    if request.path.startswith(PUBLIC):
        headers |= HIDDEN
    return web.Response(
        body=orjson.dumps(body_of(shown)), status=problem.status, content_type="application/json", headers=headers
    )


def body_of(problem: Problem) -> dict[str, Any]:
    """For 400 a list of sentences for each field, or for none of them; else ``detail`` and ``code``."""
    if problem.status != 400:
        return {"detail": sentence(problem.message), "code": code_of(problem.code)}
    found: dict[str, Any] = {}
    for field in problem.fields:
        name = str(field.loc[1]) if len(field.loc) > 1 else NON_FIELD
        found.setdefault(name, []).append(sentence(field.message))
    return found or {NON_FIELD: [sentence(problem.message)]}


def code_of(code: str) -> str:
    return CODES.get(code, code)


def sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else ".")
