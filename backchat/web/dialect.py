"""A dialect: one set of URLs and shapes over the shared services; and how it is mounted."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any

from aiohttp import web
from marshmallow import RAISE, Schema

from backchat.domain.identity import Identity
from backchat.errors import ConfigError, Forbidden
from backchat.ports.auth import Credentials
from backchat.ports.component import SettingsSchema
from backchat.services.container import Services
from backchat.web.auth import ANONYMOUS, authenticate, credentials
from backchat.web.body import JSON, read_body, read_query
from backchat.web.keys import DIALECT_SETTINGS, DIALECTS, SERVICES
from backchat.web.limiting import Budget, charge
from backchat.web.spool import Spool

_REGEX = re.compile(r":[^{}]+\}")


@dataclass(frozen=True, slots=True)
class FieldProblem:
    """One field of the input that does not fit: ``loc`` like ``("body", "text")``."""

    loc: tuple[str | int, ...]
    message: str
    missing: bool = False


@dataclass(frozen=True, slots=True)
class Problem:
    """An error on its way to a client; the dialect gives it a body."""

    status: int
    code: str
    message: str
    fields: Sequence[FieldProblem] = ()
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Call:
    """What a handler receives: never the app, never the store. ``body`` and ``query`` passed the route's schemas.

    ``who`` is ``backchat.web.auth.ANONYMOUS`` on a public route.
    """

    request: web.Request
    who: Identity
    services: Services
    settings: Any
    body: Any
    query: Any

    def path(self, name: str) -> str:
        return self.request.match_info[name]


Handler = Callable[[Call], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One route of a dialect; the OpenAPI document is made from these.

    path      below the dialect's mount, with ``{names}``, or ``{name:.+}`` where a name may hold slashes
    body      schema of the body;  query  of the query string;  answer  of the JSON answer, for the docs
    accepts   content types of the body; see ``backchat.web.body.read_body`` for what the schema gets of each
    limit     bytes of a multipart body, where that is not the server's limit of every body
    spooled   the files of a multipart body are kept on the disk while the handler works, not in memory
    statuses  what it may answer, with a sentence each;  streams  it may answer ``text/event-stream``
    public    it needs no credentials, and looks at none
    limited   how often it may be called, by the dialect's settings; calls count before their query and body are read
    """

    method: str
    path: str
    handler: Handler
    summary: str
    body: Schema | None = None
    query: Schema | None = None
    answer: Schema | None = None
    statuses: Mapping[int, str] = field(default_factory=lambda: {200: "OK"})
    headers: Mapping[str, str] = field(default_factory=dict)
    streams: bool = False
    accepts: Sequence[str] = (JSON,)
    limit: Callable[[Services], int] | None = None
    spooled: bool = False
    public: bool = False
    limited: Callable[[Any], Budget] | None = None


class NoSettings(Schema):
    """The settings of a dialect that has none."""

    class Meta:
        unknown = RAISE


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """A set of routes with shapes of their own.

    render_error  gives a problem its body; the request tells which route it was
    credentials   what a request brought, None for nothing
    statuses      error code -> status, where this dialect differs from ``backchat.web.errors.STATUS``
    An API key with scopes reaches the dialects that its scopes name.
    """

    name: str
    mount: str
    routes: Sequence[Route]
    render_error: Callable[[Problem, web.Request], web.Response]
    credentials: Callable[[web.Request], Credentials | None] = credentials
    statuses: Mapping[str, int] = field(default_factory=dict)
    schema: SettingsSchema = field(default_factory=NoSettings)


def _enter(dialect: Dialect, route: Route) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def view(request: web.Request) -> web.StreamResponse:
        who = ANONYMOUS if route.public else await authenticate(request, dialect.credentials(request))
        if who.scopes and dialect.name not in who.scopes:
            raise Forbidden(f"this key is limited to: {', '.join(sorted(who.scopes))}")
        settings = request.app[DIALECT_SETTINGS][dialect.name]
        if route.limited is not None:
            await charge(request, who, route.limited(settings))
        query = read_query(request, route.query)
        services = request.app[SERVICES]
        limit = route.limit(services) if route.limit is not None else None
        async with Spool(disk=route.spooled) as spool:
            body = await read_body(request, route.body, route.accepts, limit, spool=spool)
            return await route.handler(Call(request, who, services, settings, body, query))

    return view


def mount(app: web.Application, dialect: Dialect) -> None:
    """Serve a dialect's routes. ConfigError if a method and path is served already (aiohttp would be silent)."""
    taken = {(r.method, r.resource.canonical) for r in app.router.routes() if r.resource}
    for route in dialect.routes:
        path = dialect.mount + route.path
        if (route.method, _REGEX.sub("}", path)) in taken:
            raise ConfigError(f"dialects: {dialect.name} and another one both serve {route.method} {path}")
        app[DIALECTS][app.router.add_route(route.method, path, _enter(dialect, route))] = (dialect, route)


def dialect_of(request: web.Request) -> Dialect | None:
    """The dialect of the matched route, else the one whose paths come closest to this path."""
    mounted = request.app[DIALECTS]
    found = mounted.get(request.match_info.route)
    if found is not None:
        return found[0]
    asked = request.path.strip("/").split("/")

    def closeness(route: web.AbstractRoute) -> int:
        assert route.resource is not None
        served = route.resource.canonical.strip("/").split("/")
        same = (a == s or s.startswith("{") for a, s in zip(asked, served, strict=False))
        return sum(1 for _ in takewhile(bool, same))

    best = max(mounted, key=closeness, default=None)
    return mounted[best][0] if best is not None and closeness(best) else None
