"""What every request begins with: who calls, and what their token has to do with vault keys."""

from __future__ import annotations

import re

from aiohttp import web

from backchat.errors import NotFound
from backchat.ports.auth import Credentials
from backchat.sealing.tokens import parse
from backchat.services.vault_keys import Bearer
from backchat.web.auth import credentials
from backchat.web.dialect import Call
from backchat_dialect_vault.fields import LARGEST

_NUMBER = re.compile(r"[1-9][0-9]{0,15}", re.ASCII)


def from_headers(request: web.Request) -> Credentials | None:
    """Not from the query string: a token opens the vault, and addresses are kept in logs of proxies."""
    given = credentials(request)
    return None if given is None or given.scheme == "query" else given


async def attending(call: Call) -> Bearer:
    """The bearer, whose token has been seen to."""
    given = parse(call.token or "")
    mine = given is not None and given.use == "token" and given.id == call.who.key
    return await call.services.vault_keys.attend(Bearer(call.who, given if mine else None))


def number(call: Call, name: str) -> int:
    """A number of the path. Raises NotFound for what is none that anything can have."""
    text = call.path(name)
    if not _NUMBER.fullmatch(text) or int(text) > LARGEST:
        raise NotFound("there is no such entry or version")
    return int(text)
