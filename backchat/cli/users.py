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
    """Make, list and delete accounts."""


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


@users.command()
@click.argument("name")
@installation_options
def password(name: str, file: Path | None, data: Path) -> None:
    """Give the account called NAME the password that is the first line of standard input, and end its logins."""
    given = sys.stdin.readline().rstrip("\r\n")
    if not given:
        raise click.UsageError("standard input holds no password")

    async def set_(accounts: Accounts) -> None:
        user = await accounts.user_by_name(name)
        if user is None:
            raise click.ClickException(f"there is no user called {name!r}")
        await accounts.set_password(user.id, given)

    Installation(file, data).run(set_)
    click.echo(f"{name} has a new password")


@users.command()
@click.argument("name")
@click.option("--id", "by_id", is_flag=True, help="NAME is an id, such as the subject of a token.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@installation_options
def delete(name: str, by_id: bool, yes: bool, file: Path | None, data: Path) -> None:
    """Delete the account called NAME with everything that is its own, so that nothing of it is left in the storage.

    It works beside a running server, whose writes wait at the end, about a second for 50 MB. Copies that were made
    elsewhere, such as backups, are not touched. With --id it also deletes what belongs to nobody's account, and what
    requests that were under way have stored since the account was deleted. What was said in conversations of others
    stays in them.
    """
    installation = Installation(file, data)

    async def found(accounts: Accounts) -> str:
        user = await (accounts.user(name) if by_id else accounts.user_by_name(name))
        if user is None and not by_id:
            raise click.ClickException(f"there is no user called {name!r}")
        return user.id if user is not None else name

    id = installation.run(found)
    if not yes:
        click.confirm(f"Delete {name} with all conversations, documents and memories?", abort=True)
    installation.run(lambda accounts: accounts.forget(id))
    click.echo(f"deleted {name}" + ("" if by_id else f", whose id was {id}"))


@users.command("list")
@installation_options
def list_(file: Path | None, data: Path) -> None:
    """List the accounts. Times are in UTC."""
    rows = [
        (user.id, user.name, user.email or "", user.role, minute(user.created_at))
        for user in Installation(file, data).run(Accounts.users)
    ]
    show(("Id", "Name", "E-mail", "Role", "Created"), rows)
