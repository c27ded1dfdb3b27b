"""A dialect: one set of URLs and shapes over the shared services; and how it is mounted."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import takewhile
from typing import Any

from aiohttp import web
from marshmallow import RAISE, Schema

from backchat.domain.identity import Identity
from backchat.errors import BackchatError, ConfigError, Forbidden
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
    """An error on its way to a client; the dialect gives it a body. ``cause`` may know more than all errors do."""

    status: int
    code: str
    message: str
    fields: Sequence[FieldProblem] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    cause: BackchatError | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """What a handler receives: never the app, never the store. ``body`` and ``query`` passed the route's schemas.

    ``who`` is ``backchat.web.auth.ANONYMOUS`` on a public route. ``opened`` is what the route's ``opens`` found.
    ``token`` is what ``who`` was known by, for the few services that need more than to know who it is.
    """

    request: web.Request
    who: Identity
    services: Services
    settings: Any
    body: Any = field(default=None, repr=False)
    query: Any = field(default=None, repr=False)
    opened: Any = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)

    def path(self, name: str) -> str:
        return self.request.match_info[name]


Handler = Callable[[Call], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One route of a dialect; the OpenAPI document is made from these.

    path      below the dialect's mount, with ``{names}``, or ``{name:.+}`` where a name may hold slashes
    body      schema of the body;  query  of the query string;  answer  of the JSON answer, for the docs
    accepts   content types of the body; see ``backchat.web.body.read_body`` for what the schema gets of each
    limit     bytes of the body, where that is not the server's limit of every body; only a multipart one may be larger
    spooled   the files of a multipart body are kept on the disk while the handler works, not in memory
    streamed  the handler reads the multipart body itself, part by part, with a ``StreamedForm``; ``body`` describes it
    statuses  what it may answer, with a sentence each;  streams  it may answer ``text/event-stream``
    public    it needs no credentials, and looks at none
    scopes    what a key with scopes may be limited to and call it all the same, besides the dialect's name
    limited   how often it may be called, by the dialect's settings; calls count before their query and body are read
    opens     finds what the path names, and refuses who may not do with it what the route does; then only are query and
              body read and judged, so that nobody learns from a 400 what there is. Rights are the service's to check
              all the same: time passes in between
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
    streamed: bool = False
    public: bool = False
    scopes: Sequence[str] = ()
    limited: Callable[[Any], Budget] | None = None
    opens: Callable[[Call], Awaitable[Any]] | None = None


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
    slashes       paths that end with a slash are served without it as well: by the same route, without a redirect,
                  which would cost a POST its body
    headers       of all its answers, whatever their status; also where a path is none, but closest to its own
    An API key with scopes reaches the dialects that its scopes name, and routes whose scopes it has one of.
    """

    name: str
    mount: str
    routes: Sequence[Route]
    render_error: Callable[[Problem, web.Request], web.Response]
    credentials: Callable[[web.Request], Credentials | None] = credentials
    statuses: Mapping[str, int] = field(default_factory=dict)
    schema: SettingsSchema = field(default_factory=NoSettings)
    slashes: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)


def _enter(dialect: Dialect, route: Route) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def view(request: web.Request) -> web.StreamResponse:
        given = None if route.public else dialect.credentials(request)
        who = ANONYMOUS if route.public else await authenticate(request, given)
        if who.scopes and who.scopes.isdisjoint((dialect.name, *route.scopes)):
            raise Forbidden(f"this key is limited to: {', '.join(sorted(who.scopes))}")
        settings = request.app[DIALECT_SETTINGS][dialect.name]
        if route.limited is not None:
            await charge(request, who, route.limited(settings))
        services = request.app[SERVICES]
        call = Call(request, who, services, settings, token=given.token if given is not None else None)
        if route.opens is not None:
            call = replace(call, opened=await route.opens(call))
        query = read_query(request, route.query)
        limit = route.limit(services) if route.limit is not None else None
        async with Spool(disk=route.spooled) as spool:
            schema = None if route.streamed else route.body
            body = await read_body(request, schema, route.accepts, limit, spool=spool)
            return await route.handler(replace(call, body=body, query=query))

    return view


class EitherSlash(web.DynamicResource):
    """A path that ends with a slash, and the same one without it; it is known by the first."""

    def __init__(self, path: str) -> None:
        super().__init__(path.removesuffix("/") + "{slash:/?}")

    @property
    def canonical(self) -> str:
        return super().canonical.removesuffix("{slash}") + "/"


def mount(app: web.Application, dialect: Dialect) -> None:
    """Serve a dialect's routes. ConfigError if a method and path is served already (aiohttp would be silent)."""
    taken = {(r.method, path) for r in app.router.routes() if r.resource for path in _spellings(r.resource)}
    either: dict[str, EitherSlash] = {}
    for route in dialect.routes:
        path = dialect.mount + route.path
        plain = _REGEX.sub("}", path)
        slashes = dialect.slashes and len(path) > 1 and path.endswith("/")
        if not taken.isdisjoint((route.method, p) for p in ((plain, plain.removesuffix("/")) if slashes else (plain,))):
            raise ConfigError(f"dialects: {dialect.name} and another one both serve {route.method} {path}")
        if slashes:
            if path not in either:
                either[path] = EitherSlash(path)
                app.router.register_resource(either[path])
            mounted: web.AbstractRoute = either[path].add_route(route.method, _enter(dialect, route))
        else:
            mounted = app.router.add_route(route.method, path, _enter(dialect, route))
        app[DIALECTS][mounted] = (dialect, route)


def _spellings(resource: web.AbstractResource) -> Sequence[str]:
    """The paths that a resource serves."""
    path = resource.canonical
    return (path, path.removesuffix("/")) if isinstance(resource, EitherSlash) else (path,)


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
