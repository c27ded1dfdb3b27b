"""Who is calling: the credentials of a request, shown to the configured authenticators in order."""

from __future__ import annotations

from aiohttp import web

from backchat.domain.identity import Identity
from backchat.errors import InvalidCredentials, MissingCredentials
from backchat.ports.auth import Credentials
from backchat.web.keys import AUTHENTICATORS

SCHEMES = ("bearer", "jwt")
ANONYMOUS = Identity(user="")
"""Who calls a public route: nobody, to whom nothing belongs."""


def credentials(request: web.Request) -> Credentials | None:
    """``Authorization: Bearer …`` (or ``JWT …``), ``X-API-Key: …``, or ``?token=…`` where no header can be set.

    An Authorization header of another scheme, which may be meant for a proxy, counts only if there is nothing else.
    """
    header = request.headers.get("Authorization")
    if header is not None:
        scheme, _, token = header.partition(" ")
        if scheme.lower() in SCHEMES and token.strip():
            return Credentials(scheme.lower(), token.strip())
    key = request.headers.get("X-API-Key")
    if key:
        return Credentials("x-api-key", key)
    token = request.query.get("token", "")
    if token:
        return Credentials("query", token)
    if header is not None:
        raise InvalidCredentials("the Authorization header is not of a known scheme")
    return None


async def authenticate(request: web.Request, given: Credentials | None) -> Identity:
    """Raises MissingCredentials, or InvalidCredentials if no authenticator knows the token."""
    if given is None:
        raise MissingCredentials("authentication required")
    for authenticator in request.app[AUTHENTICATORS]:
        who = await authenticator.identify(given)
        if who is not None:
            return who
    raise InvalidCredentials("invalid or expired token")
