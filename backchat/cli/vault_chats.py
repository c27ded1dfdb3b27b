"""``backchat vault log``, ``diff``, ``restore``, ``delete`` and ``adopt``: one chat, and its versions."""

from __future__ import annotations

import asyncio

import click

from backchat.cli.harmless import one_line
from backchat.cli.tables import minute, show
from backchat.cli.vault import Server, Which, chat_argument, server_options
from backchat.cli.vault_diff import shown
from backchat.client.diff import Edit
from backchat.client.diff import diff as compared
from backchat.client.vault import Entry, VaultClient, VaultError, Version
from backchat.domain.vault import VaultMessage
from backchat.sealing.failures import CannotOpen

NUMBER = click.IntRange(min=1)


@click.command()
@chat_argument
@server_options
def log(server: Server, which: Which) -> None:
    """List the versions of CHAT, newest first. Times are in UTC."""

    async def told(client: VaultClient) -> tuple[Entry, list[Version]]:
        entry = await which.find(client)
        return entry, await client.versions(entry.id)

    entry, versions = server.run(told)
    rows = [
        (
            str(version.number),
            str(version.messages),
            minute(version.created_at),
            "current" if version.number == entry.version else "",
        )
        for version in reversed(versions)
    ]
    show(("Version", "Messages", "Pushed", ""), rows)


@click.command()
@chat_argument
@click.argument("v1", type=NUMBER)
@click.argument("v2", type=NUMBER, required=False)
@server_options
def diff(server: Server, which: Which, v1: int, v2: int | None) -> None:
    """Show what changed in CHAT from version V1 to V2, or to the current one, message by message.

    A message that was removed has - before its lines, one that was added +; one that was changed is both.
    """

    async def told(client: VaultClient) -> list[Edit]:
        entry = await which.find(client)
        before = await _messages(client, entry, v1)
        after = await _messages(client, entry, entry.version if v2 is None else v2)
        return await asyncio.to_thread(compared, before, after)

    if not shown(server.run(told)):
        click.echo("both have the same messages", err=True)


@click.command()
@chat_argument
@click.argument("version", type=NUMBER)
@server_options
def restore(server: Server, which: Which, version: int) -> None:
    """Make the messages of VERSION the current ones of CHAT again.

    They become a new version, so nothing is lost; title, category, tags and the like stay. If the current version has
    the same messages, or the chat gets another version meanwhile, nothing is restored.
    """

    async def done(client: VaultClient) -> tuple[int, bool]:
        entry = await which.find(client)
        messages = await _messages(client, entry, version)
        if await _has(client, entry, messages):
            return entry.version, False
        result = await client.push(entry.chat, messages, platform=entry.platform, base=entry.version)
        return result.version, result.changed

    current, changed = server.run(done)
    if changed:
        click.echo(f"restored version {version} of {which} as version {current}")
    else:
        click.echo(f"version {current}, the current one of {which}, has these messages already")


@click.command()
@chat_argument
@click.option("--yes", is_flag=True, help="Do not ask.")
@server_options
def delete(server: Server, which: Which, yes: bool) -> None:
    """Delete CHAT from the vault, with all of its versions, for good."""
    entry = server.run(which.find)
    if not yes:
        title, platform = one_line(entry.title), one_line(entry.platform)
        click.confirm(f'Delete {which}, "{title}" of {platform}, with all of its versions?', abort=True)
    server.run(lambda client: client.delete(entry.id))
    click.echo(f"deleted {which}")


@click.command()
@chat_argument
@server_options
def adopt(server: Server, which: Which) -> None:
    """Make a conversation on the server out of CHAT, and print its id.

    It is opened here, and its messages are sent as they are: from then on the server can read them, like those of all
    its conversations. The chat in the vault stays as it is. Adopted again, it becomes another conversation.
    """

    async def done(client: VaultClient) -> str:
        entry = await which.find(client)
        messages = await client.open(entry)
        if not messages:
            raise click.ClickException(f"there are no messages in {which}, so no conversation can be made of it")
        click.echo(f"sending the messages of {which} to {server.url}, which can read this conversation then", err=True)
        return await client.adopt(entry.id, messages)

    click.echo(one_line(server.run(done)))


async def _has(client: VaultClient, entry: Entry, messages: list[VaultMessage]) -> bool:
    """Whether its current version has these. One that does not open has not: it can still be replaced."""
    try:
        return await client.open(entry) == messages
    except CannotOpen:
        return False
    except VaultError as error:
        if error.status != 403:
            raise
        return False


async def _messages(client: VaultClient, entry: Entry, number: int) -> list[VaultMessage]:
    """Those of a version. Raises ClickException if there is none, and what ``VaultClient`` does."""
    try:
        return await client.open(await client.version(entry.id, number))
    except VaultError as error:
        if error.status == 404:
            raise click.ClickException(f"there is no version {number} of it: log shows which there are") from error
        raise
