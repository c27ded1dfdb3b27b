"""``backchat vault key``: who can open the vault, and what to do when a key is lost or known to others."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta

import click

from backchat.cli.durations import Duration
from backchat.cli.harmless import one_line
from backchat.cli.tables import minute
from backchat.cli.tables import show as show_table
from backchat.cli.vault import Server, server_options
from backchat.client.vault import Token, VaultClient
from backchat.sealing.tokens import parse


@click.group()
def key() -> None:
    """Say who can open the vault, and help when a key is lost, or known to others.

    Messages are sealed under a vault key. The server has it only locked, once for each API key and once for a recovery
    key: whoever has lost all of these has lost the messages.
    """


@key.command()
@server_options
def show(server: Server) -> None:
    """Print the id of the vault key that messages are sealed under now, if this API key opens it; else say why not."""
    click.echo(server.run(VaultClient.key_id))


@key.command()
@click.option(
    "--abandon",
    is_flag=True,
    help="Also if only the recovery key before opens a part of the vault: that part stays closed for good.",
)
@click.option("--yes", is_flag=True, help="Do not ask.")
@server_options
def recovery(server: Server, abandon: bool, yes: bool) -> None:
    """Make a recovery key and print it, once and alone on standard output.

    Keep it where no API key is: it opens the vault when all API keys are lost. The one before is good no more.
    """
    if abandon:
        _sure("Give up what only the recovery key before opens?", yes)
    click.echo(server.run(lambda client: client.make_recovery_key(abandon=abandon)))


@key.command()
@server_options
def recover(server: Server) -> None:
    """Open the vault for this API key with the recovery key.

    The recovery key is asked for on the terminal, or is the first line of standard input.
    """
    secret = _recovery_key()
    click.echo(f"this API key opens the vault now, with the key {server.run(lambda client: client.recover(secret))}")


@key.command()
@click.option(
    "--abandon",
    is_flag=True,
    help="Also if no API key is left that has the vault key: what is sealed under it stays closed, unless there is a"
    " recovery key, which may still open it (see recover).",
)
@click.option("--yes", is_flag=True, help="Do not ask.")
@server_options
def rotate(server: Server, abandon: bool, yes: bool) -> None:
    """Make a new vault key for what is pushed from now on, and print its id.

    All API keys get it, and what was pushed before opens as it did: do this when an API key that was revoked may be
    known to others, for they may have kept the vault key.
    """
    if abandon:
        _sure("Abandon the vault key if no API key has it? Only a recovery key opens then what is under it.", yes)
    click.echo(server.run(lambda client: client.rotate_key(abandon=abandon)))


@key.command()
@click.option("--name", metavar="NAME", required=True, help="What the API key is called in lists.")
@click.option("--platform", metavar="NAME", help="The platform that will use it: that of what it pushes.")
@click.option(
    "--scope",
    "scopes",
    metavar="SCOPE",
    multiple=True,
    help="Limit it to push, to pull, or to an API; can be given often. Without it, it may do what this API key may.",
)
@click.option("--expires", type=Duration(), help="How long it is good for, such as 30m, 12h, 90d or 8w.")
@click.option("--recover", is_flag=True, help="Give it the vault key by the recovery key, which is asked for.")
@server_options
def issue(
    server: Server, name: str, platform: str | None, scopes: tuple[str, ...], expires: timedelta | None, recover: bool
) -> None:
    """Make another API key that opens the vault, and print it, once and alone on standard output.

    It may do no more than the one that makes it, and is good for no longer.
    """
    secret = _recovery_key() if recover else None

    async def issued(client: VaultClient) -> tuple[Token, str]:
        return await client.issue_token(
            name,
            platform=platform,
            scopes=scopes or None,
            expires=datetime.now(UTC) + expires if expires is not None else None,
            recovery_key=secret,
        )

    made, text = server.run(issued)
    click.echo(text)
    if not made.has_key:
        click.echo("it waits for the vault key: the next request with an API key that has it hands it on", err=True)


@key.command()
@server_options
def tokens(server: Server) -> None:
    """List the API keys of the user, and whether each opens the vault. Times are in UTC."""
    rows = [
        (
            token.id,
            one_line(token.name),
            one_line(token.platform or ""),
            one_line(", ".join(token.scopes)) or "all",
            minute(token.created_at),
            minute(token.expires_at) or "never",
            "yes" if token.has_key else "waits",
        )
        for token in server.run(VaultClient.tokens)
    ]
    show_table(("Id", "Name", "Platform", "Scopes", "Created", "Expires", "Opens the vault"), rows)


@key.command()
@click.argument("id")
@click.option("--abandon", is_flag=True, help="Also if nobody can open the vault then, or a part of it.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@server_options
def revoke(server: Server, id: str, abandon: bool, yes: bool) -> None:
    """End the API key with this ID (see tokens) for good, from the next request on.

    If others may know it, rotate the vault key as well.
    """
    if abandon:
        _sure("Revoke it also if nobody can open the vault then, or a part of it?", yes)
    server.run(lambda client: client.revoke_token(id, abandon=abandon))
    click.echo(f"revoked {id}")


def _sure(question: str, yes: bool) -> None:
    """Ask on a terminal, unless ``yes``. Raises Abort."""
    if not yes and sys.stdin.isatty():
        click.confirm(question, abort=True, err=True)


def _recovery_key() -> str:
    """Never an argument, which other users of the machine could see. Raises ClickException if it is none."""
    asked = sys.stdin.isatty()
    text: str = click.prompt("Recovery key", hide_input=True, err=True) if asked else sys.stdin.readline()
    secret = parse(text.strip())
    if secret is None or secret.use != "recovery":
        raise click.ClickException("that is no recovery key: it begins with bsr_ and has no blanks in it")
    return secret.text
