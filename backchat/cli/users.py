"""``backchat users``: accounts."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Literal

import click

from backchat.cli.installation import Installation, installation_options
from backchat.cli.tables import minute, show
from backchat.services.accounts import Accounts


@click.group()
def users() -> None:
    """Make and list accounts."""


@users.command()
@click.argument("name")
@click.option("--email", help="Address that the user may log in with.")
@click.option("--password-stdin", is_flag=True, help="Read the password from the first line of standard input.")
@click.option("--role", type=click.Choice(["user", "admin"]), default="user", show_default=True, help="Its rights.")
@installation_options
def create(
    name: str,
    email: str | None,
    password_stdin: bool,
    role: Literal["user", "admin"],
    file: Path | None,
    data: Path,
) -> None:
    """Make an account called NAME and print its id. Without a password it is reached by keys and tokens only."""
    password = sys.stdin.readline().rstrip("\r\n") if password_stdin else None
    if password_stdin and not password:
        raise click.UsageError("--password-stdin: standard input holds no password")
    user = Installation(file, data).run(
        lambda accounts: accounts.create_user(name, email=email, password=password, role=role)
    )
    click.echo(user.id)


@users.command("list")
@installation_options
def list_(file: Path | None, data: Path) -> None:
    """List the accounts. Times are in UTC."""
    rows = [
        (user.id, user.name, user.email or "", user.role, minute(user.created_at))
        for user in Installation(file, data).run(Accounts.users)
    ]
    show(("Id", "Name", "E-mail", "Role", "Created"), rows)
