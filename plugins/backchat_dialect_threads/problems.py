"""Errors as the threads dialect shows them."""

from __future__ import annotations

import orjson
from aiohttp import web

from backchat.web.dialect import Problem

DETAILS = {
    "missing_credentials": "Authentication required: send the API key in the X-API-Key header",
    "invalid_credentials": "Invalid or expired API key",
}
STATUSES = {
    "misfit": 422,
    "malformed_body": 422,
    "provider_rejected": 400,
    "provider_rate_limited": 429,
}


def render_error(problem: Problem, request: web.Request) -> web.Response:
    """``{"detail": text}``, where the text begins with the field it is about; for 422 a list with one entry a field."""
    # Here a conversation is called a thread.
    message = problem.message.replace("conversation", "thread")
    detail: object = DETAILS.get(problem.code, message)
    if problem.status == 422:
        detail = [
            {"loc": list(f.loc), "msg": f.message, "type": "missing" if f.missing else "value_error"}
            for f in problem.fields
        ] or [{"loc": ["body"], "msg": message, "type": problem.code}]
    elif problem.fields:
        place = ".".join(str(step) for step in problem.fields[0].loc[1:])
        detail = f"{place}: {message}" if place else message
    response = web.Response(
        body=orjson.dumps({"detail": detail}), status=problem.status, content_type="application/json"
    )
    if problem.status == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    return response
