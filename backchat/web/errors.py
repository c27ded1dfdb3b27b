"""The one place where an exception becomes a response."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler

from backchat.errors import BackchatError, ErrorKind
from backchat.web.body import Misfit, UnsupportedMedia
from backchat.web.dialect import Dialect, FieldProblem, Problem, dialect_of

log = structlog.get_logger(source=__name__)

STATUS: Mapping[ErrorKind, int] = {
    ErrorKind.INVALID: 400,
    ErrorKind.UNAUTHENTICATED: 401,
    ErrorKind.EXHAUSTED: 402,
    ErrorKind.FORBIDDEN: 403,
    ErrorKind.NOT_FOUND: 404,
    ErrorKind.CONFLICT: 409,
    ErrorKind.TOO_LARGE: 413,
    ErrorKind.RATE_LIMITED: 429,
    ErrorKind.INTERNAL: 500,
    ErrorKind.UPSTREAM: 502,
    ErrorKind.UNAVAILABLE: 503,
    ErrorKind.TIMEOUT: 504,
}
CODE_STATUS: Mapping[str, int] = {UnsupportedMedia.code: 415}
"""Codes with a status of their own; a dialect's ``statuses`` go before."""
CLIENT_LEFT = 499
"""nginx' status for a client that did not wait; nobody gets it, but the log and the metrics do."""
HTTP_CODES: Mapping[int, str] = {404: "not_found", 405: "method_not_allowed", 413: "too_large"}


def problem_of(error: BackchatError, statuses: Mapping[str, int]) -> Problem:
    """A problem with the status that the dialect gives this error, else the one of its code or kind."""
    headers = {"Retry-After": str(error.retry_after)} if error.retry_after is not None else {}
    fields = (FieldProblem(tuple(error.field.split(".")), str(error)),) if error.field else ()
    status = statuses.get(error.code) or CODE_STATUS.get(error.code) or STATUS[error.kind]
    return Problem(status, error.code, str(error), fields, headers, error)


def _fields(where: str, messages: Any, path: tuple[str | int, ...] = ()) -> Iterator[FieldProblem]:
    """marshmallow's nested messages, flat."""
    if isinstance(messages, Mapping):
        for name, inner in messages.items():
            yield from _fields(where, inner, path if name == "_schema" else (*path, name))
    else:
        for message in messages:
            yield FieldProblem((where, *path), str(message), str(message).startswith("Missing data"))


def _problem(error: Exception, dialect: Dialect | None) -> Problem:
    statuses = dialect.statuses if dialect else {}
    match error:
        case BackchatError():
            if error.kind in (ErrorKind.UNAVAILABLE, ErrorKind.INTERNAL):
                log.warning("request.failed", code=error.code)
            return problem_of(error, statuses)
        case Misfit():
            fields = tuple(_fields(error.where, error.messages))
            status = statuses.get("misfit", statuses.get("invalid_input", STATUS[ErrorKind.INVALID]))
            return Problem(status, "invalid_input", "the request does not fit", fields)
        case web.HTTPException():
            headers = {k: v for k, v in error.headers.items() if k == "Allow"}
            code = HTTP_CODES.get(error.status, "http_error")
            return Problem(error.status, code, error.reason, headers=headers)
    log.error("request.crashed", exc_info=error)
    return Problem(500, "internal", "internal error")


@web.middleware
async def errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Render whatever a handler raises in the shape of the route's dialect."""
    try:
        return await handler(request)
    except web.HTTPException as error:
        if error.status < 400:
            raise
        raised: Exception = error
    except Exception as error:  # the request path's only broad except: nothing leaves without a shape
        raised = error
    if request.transport is None:
        return web.Response(status=CLIENT_LEFT)
    dialect = dialect_of(request)
    problem = _problem(raised, dialect)
    if dialect is None:
        response = web.json_response(
            {"error": {"code": problem.code, "message": problem.message}}, status=problem.status
        )
    else:
        response = dialect.render_error(problem, request)
    response.headers.extend(problem.headers)
    return response
