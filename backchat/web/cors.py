"""Cross-origin requests: which other web pages may use this server from a browser (https://fetch.spec.whatwg.org/)."""

from __future__ import annotations

from collections.abc import Sequence

from aiohttp import web
from aiohttp.typedefs import Handler

ALLOWED_HEADERS = "Authorization, Content-Type, Idempotency-Key, Last-Event-ID, Prefer, X-API-Key, X-Request-ID"
EXPOSED_HEADERS = (
    "Location, Preference-Applied, Retry-After, X-RateLimit-Limit, X-RateLimit-Remaining, X-RateLimit-Reset, "
    "X-Request-ID"
)
PREFLIGHT_SECONDS = "600"


def allow_origins(app: web.Application, origins: Sequence[str]) -> None:
    """Let pages of these origins in; ``*`` is every origin. Cookies play no part: a page needs a key like anybody."""
    if not origins:
        return

    def allowed(request: web.Request) -> str | None:
        origin = request.headers.get("Origin")
        if origin is None:
            return None
        return "*" if "*" in origins else origin if origin in origins else None

    @web.middleware
    async def preflight(request: web.Request, handler: Handler) -> web.StreamResponse:
        wanted = request.headers.get("Access-Control-Request-Method")
        if request.method != "OPTIONS" or wanted is None or allowed(request) is None:
            return await handler(request)
        headers = {
            "Access-Control-Allow-Methods": wanted,
            "Access-Control-Allow-Headers": ALLOWED_HEADERS,
            "Access-Control-Max-Age": PREFLIGHT_SECONDS,
        }
        return web.Response(status=204, headers=headers)

    async def mark(request: web.Request, response: web.StreamResponse) -> None:
        response.headers["Vary"] = "Origin"
        origin = allowed(request)
        if origin is not None:
            response.headers["Access-Control-Allow-Origin"] = origin
            response.headers["Access-Control-Expose-Headers"] = EXPOSED_HEADERS

    app.middlewares.append(preflight)
    app.on_response_prepare.append(mark)
