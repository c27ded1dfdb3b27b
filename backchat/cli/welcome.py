"""What a starting server says to the person who started it: on standard output, never in a log."""

from __future__ import annotations

import ipaddress
import os
import shlex
import shutil
import sys
from pathlib import Path

import click
from aiohttp import web

from backchat import __version__
from backchat.cli.installation import Installation
from backchat.config import Config
from backchat.errors import Conflict
from backchat.services.accounts import Accounts

FIRST_USER = "admin"
STREAM = "/api/chat/stream"


def url_of(host: str, port: int) -> str:
    """A URL that reaches a server on this box; one that listens everywhere is reached through the loopback."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return f"http://{host}:{port}"
    if address.is_unspecified:
        host = "127.0.0.1" if address.version == 4 else "::1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


async def first_key(accounts: Accounts) -> str | None:
    """On a store without accounts, a first user and its key; None on any other, and if another process makes them."""
    if not await accounts.is_empty():
        return None
    try:
        user = await accounts.create_user(FIRST_USER, role="admin")
    except Conflict:
        return None
    _, key = await accounts.create_key(user, "first key")
    return key


def own_command() -> list[str]:
    """What to type in this directory to call this program again: a virtualenv's need not be on the PATH."""
    called = Path(sys.argv[0])
    found = shutil.which(called.name)
    if found is not None and called.exists() and os.path.samefile(found, called):
        return [called.name]
    if called.name == "__main__.py":
        return [_from_here(Path(sys.executable)), "-m", called.parent.name]
    return [_from_here(called)]


def _from_here(program: Path) -> str:
    here, there = Path.cwd(), program.absolute()
    return str(there.relative_to(here) if there.is_relative_to(here) else there)


def welcome(app: web.Application, url: str, key: str | None, installation: Installation, config: Config) -> None:
    """Print the address, where the data is, and the key if there is one to tell, with a line that uses it."""
    lines = [f"backchat {__version__}: {url}   API documentation: {url}/docs"]
    if config.uses_data:
        lines.append(f"Data: {installation.data.absolute()}")
    if key is None:
        command = shlex.join([*own_command(), "keys", "create", "--user", "NAME", *installation.options()])
        lines.append(f"To make a key: {command}")
    else:
        lines += ["", f"The first user is {FIRST_USER}. Its key, shown only now:", "", f"    {key}", ""]
        if _serves(app, STREAM):
            body = """'{"text": "Hello"}'"""
            bearer, kind = f'-H "Authorization: Bearer {key}"', '-H "Content-Type: application/json"'
            lines += ["Try it:", "", f"    curl -N {url}{STREAM} {bearer} {kind} -d {body}", ""]
    click.echo("\n".join(lines))


def _serves(app: web.Application, path: str) -> bool:
    return any(r.method == "POST" and r.resource and r.resource.canonical == path for r in app.router.routes())
