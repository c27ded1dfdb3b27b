"""``backchat keys``: API keys, made and revoked beside the running server."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

import click

from backchat.app import now
from backchat.cli.durations import Duration
from backchat.cli.installation import Installation, installation_options
from backchat.cli.tables import minute, show
from backchat.domain.identity import ApiKey
from backchat.services.accounts import Accounts
from backchat.services.keyrings import Reach

_CONSEQUENCES: Mapping[Reach, str] = {
    "recovery": "only the recovery key does now",
    "nobody": "what is in it cannot be opened any more, for there is no recovery key either",
}


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
@click.option("--abandon", is_flag=True, help="Also if nobody can open the vault of its user then, or a part of it.")
@installation_options
def revoke(id: str, abandon: bool, file: Path | None, data: Path) -> None:
    """End the key with this ID (see keys list) for good, from the next request on."""

    async def ended(accounts: Accounts) -> tuple[ApiKey, set[Reach]]:
        key = await accounts.api_key(id)
        before = await accounts.vault_reach(key.user) if key is not None else {}
        nothing_to_lose = key is None or not await accounts.has_vault(key.user)
        key = await accounts.revoke_key(id, abandon=abandon or nothing_to_lose)
        after = await accounts.vault_reach(key.user)
        if nothing_to_lose:
            return key, set()
        return key, {after[vault] for vault, reach in before.items() if reach == "tokens" and vault in after}

    key, reaches = Installation(file, data).run(ended)
    click.echo(f"revoked {key.id} ({key.name}, of {key.user_name})")
    for reach, consequence in _CONSEQUENCES.items():
        if reach in reaches:
            what = f"the last key that opened the vault of {key.user_name}, or a part of it"
            click.echo(f"warning: this was {what}: {consequence}", err=True)
