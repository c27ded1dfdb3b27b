"""``backchat keys``: API keys, made and revoked beside the running server."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import click

from backchat.app import now
from backchat.cli.installation import Installation, installation_options
from backchat.cli.tables import minute, show
from backchat.services.accounts import Accounts

_DURATION = re.compile(r"(\d{1,5})([mhdw])")
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


class Duration(click.ParamType[timedelta]):
    """A length of time such as ``90d``."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        if isinstance(value, timedelta):
            return value
        found = _DURATION.fullmatch(str(value))
        if found is None or not int(found[1]):
            self.fail(f"{value!r} is not a duration such as 30m, 12h, 90d or 8w", param, ctx)
        return timedelta(**{_UNITS[found[2]]: int(found[1])})


@click.group()
def keys() -> None:
    """Make, list and revoke API keys, also while the server runs."""


@keys.command()
@click.option("--user", metavar="NAME", required=True, help="Name of the user it speaks for; made if there is none.")
@click.option("--name", metavar="NAME", default="cli", show_default=True, help="What the key is called in lists.")
@click.option("--platform", help="The platform that will use the key.")
@click.option("--scope", "scopes", metavar="API", multiple=True, help="Limit the key to this API; can be given often.")
@click.option("--expires", type=Duration(), help="How long it is good for, such as 30m, 12h, 90d or 8w.")
@installation_options
def create(
    user: str,
    name: str,
    platform: str | None,
    scopes: tuple[str, ...],
    expires: timedelta | None,
    file: Path | None,
    data: Path,
) -> None:
    """Make a key and print it, once and alone on standard output."""

    async def made(accounts: Accounts) -> str:
        until = now() + expires if expires is not None else None
        owner = await accounts.ensure_user(user)
        _, key = await accounts.create_key(owner, name, platform=platform, scopes=scopes, expires=until)
        return key

    click.echo(Installation(file, data).run(made))


@keys.command("list")
@installation_options
def list_(file: Path | None, data: Path) -> None:
    """List the keys, never their secrets. Times are in UTC."""

    rows = [
        (
            key.id,
            key.user_name,
            key.name,
            key.platform or "",
            ", ".join(key.scopes) or "all",
            minute(key.created_at),
            minute(key.expires_at) or "never",
            minute(key.revoked_at),
        )
        for key in Installation(file, data).run(Accounts.keys)
    ]
    show(("Id", "User", "Name", "Platform", "Scopes", "Created", "Expires", "Revoked"), rows)


@keys.command()
@click.argument("id")
@installation_options
def revoke(id: str, file: Path | None, data: Path) -> None:
    """End the key with this ID (see keys list) for good, from the next request on."""
    key = Installation(file, data).run(lambda accounts: accounts.revoke_key(id))
    click.echo(f"revoked {key.id} ({key.name}, of {key.user_name})")
