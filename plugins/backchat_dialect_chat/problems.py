"""Errors as the chat dialect shows them."""

from __future__ import annotations

import orjson
from aiohttp import web

from backchat.web.dialect import Problem

DETAILS = {
    "missing_credentials": "Authentication required",
    "invalid_credentials": "Invalid or expired token",
    "not_owned": "Conversation does not belong to this user",
}


def render_error(problem: Problem, request: web.Request) -> web.Response:
    """``{"detail": text}``; for 422 a list with the place of each field. Values are never repeated."""
    detail: object = DETAILS.get(problem.code, problem.message)
    if problem.status == 422:
        detail = [
            {"loc": list(f.loc), "msg": f.message, "type": "missing" if f.missing else "value_error"}
            for f in problem.fields
        ] or [{"loc": ["body"], "msg": problem.message, "type": problem.code}]
    body = orjson.dumps({"detail": detail})
    response = web.Response(body=body, status=problem.status, content_type="application/json")
    if problem.status == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    return response
