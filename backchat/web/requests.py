"""What happens around every request: its id, its line in the log, its count."""

from __future__ import annotations

import re
from time import perf_counter

import structlog
import uuid_utils
from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

from backchat.web.dialect import dialect_of
from backchat.web.keys import METRICS, RATE_HEADERS, REQUEST_ID

log = structlog.get_logger(source="backchat.access")
_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


async def sign(request: web.Request, response: web.StreamResponse) -> None:
    """The headers of every answer: the request's id, what is left of a limit, those of its dialect, and no word on what
    the server is made of.
    """
    response.headers["Server"] = "backchat"
    if REQUEST_ID in request:
        response.headers["X-Request-ID"] = request[REQUEST_ID]
    response.headers.update(request.get(RATE_HEADERS, {}))
    dialect = dialect_of(request)
    if dialect is not None:
        response.headers.update(dialect.headers)


@web.middleware
async def requests(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Give the request an id (its own ``X-Request-ID`` if that is harmless), log and count it.

    The log line has the path as it was sent, so without control characters, and without the query string, which may
    hold a token. A method that HTTP does not have is any word: it is not repeated, nor counted one by one.
    """
    given = request.headers.get("X-Request-ID", "")
    request[REQUEST_ID] = given if _ID.fullmatch(given) else str(uuid_utils.uuid7())
    method = request.method if request.method in hdrs.METH_ALL else "other"
    started = perf_counter()
    status = 499
    with structlog.contextvars.bound_contextvars(request=request[REQUEST_ID]):
        try:
            response = await handler(request)
            status = response.status
            return response
        finally:
            seconds = perf_counter() - started
            resource = request.match_info.route.resource
            route = resource.canonical if resource is not None else "unmatched"
            request.app[METRICS].request(method, route, status, seconds)
            log.info(
                "request",
                method=method,
                path=request.rel_url.raw_path,
                status=status,
                ms=round(seconds * 1000, 1),
            )
