"""``backchat vault pull``: entries of the vault, as a list, as files, or as lines of JSON, opened here."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

import click
import orjson
from rich.console import Console
from rich.status import Status

from backchat.cli.harmless import one_line
from backchat.cli.tables import minute, show
from backchat.cli.vault import Server, reason, server_options
from backchat.cli.vault_files import body, file_name, put, written
from backchat.client.vault import Entry, VaultClient, VaultError
from backchat.domain.vault import VaultMessage
from backchat.sealing.failures import CannotOpen

STDOUT = "-"
COLUMNS = ("Entry", "Platform", "Chat", "Title", "Category", "Tags", "Changed", "Messages", "Version")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which entries; None: all of them."""

    platform: str | None
    category: str | None
    search: str | None
    tags: Sequence[str]
    chat: str | None
    limit: int | None

    def of(self, client: VaultClient) -> AsyncGenerator[Entry, None]:
        return client.pull(
            platform=self.platform,
            category=self.category,
            search=self.search,
            tags=self.tags,
            chat=self.chat,
            limit=self.limit,
        )


@click.command()
@click.option("--platform", metavar="NAME", help="Only chats of this platform.")
@click.option("--category", metavar="NAME", help="Only chats of this category.")
@click.option("--search", metavar="WORDS", help="Only chats with these words, or their beginnings, in title or topic.")
@click.option("--tag", "tags", metavar="TAG", multiple=True, help="Only chats with this tag; can be given often.")
@click.option("--chat", metavar="ID", help="Only the chat with this id.")
@click.option("--limit", metavar="NUMBER", type=click.IntRange(min=1), help="No more than so many, the last changed.")
@click.option("--out", metavar="DIR", help="Open them, and write a file for each into DIR, or - for lines of JSON.")
@server_options
def pull(
    server: Server,
    platform: str | None,
    category: str | None,
    search: str | None,
    tags: tuple[str, ...],
    chat: str | None,
    limit: int | None,
    out: str | None,
) -> None:
    """List the chats in the vault, last changed first, or open them into files. Times are in UTC.

    With --out DIR each chat is a file, which only its owner can read and which is replaced when it is pulled again.
    backchat vault push brings it back as the same chat; backchat import makes a conversation of it. With --out - each
    is a line on standard output, as POST /api/v1/push takes it.

    A chat that does not open is told on standard error, and the others are pulled; the exit code is 1 then.
    """
    wanted = Wanted(platform=platform, category=category, search=search, tags=tags, chat=chat, limit=limit)
    if out is None:
        show(COLUMNS, server.run(lambda client: _listed(client, wanted)), numbers=2)
        return
    target = Standard() if out == STDOUT else Directory(Path(out))
    opened, failed = server.run(lambda client: _opened(client, wanted, target))
    what = "1 chat" if opened == 1 else f"{opened} chats"
    click.echo(f"pulled {what} to {target}", err=True)
    if failed:
        sys.exit(1)


async def _listed(client: VaultClient, wanted: Wanted) -> list[Sequence[str]]:
    async with aclosing(wanted.of(client)) as entries:
        return [_row(entry) async for entry in entries]


def _row(entry: Entry) -> Sequence[str]:
    texts = (entry.platform, entry.chat, entry.title, entry.category or "", ", ".join(entry.tags))
    return (
        str(entry.id),
        *map(one_line, texts),
        minute(entry.updated_at),
        str(entry.messages),
        str(entry.version),
    )


class Standard:
    """Standard output: a line of JSON for each. A terminal sees no character that could command it."""

    def __str__(self) -> str:
        return "standard output"

    def write(self, entry: Entry, messages: Sequence[VaultMessage]) -> None:
        value = body(entry, messages)
        line = json.dumps(value).encode() if sys.stdout.isatty() else orjson.dumps(value)
        sys.stdout.buffer.write(line + b"\n")
        sys.stdout.buffer.flush()


class Directory:
    """A file for each. A directory that is not there is made, for its owner only."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __str__(self) -> str:
        return str(self._path)

    def write(self, entry: Entry, messages: Sequence[VaultMessage]) -> None:
        """Raises ClickException if that is not possible."""
        try:
            self._path.mkdir(mode=0o700, parents=True, exist_ok=True)
            put(self._path / file_name(entry), written(entry, messages))
        except OSError as error:
            raise click.ClickException(f"{self._path} cannot be written: {error.strerror}") from error


async def _opened(client: VaultClient, wanted: Wanted, target: Standard | Directory) -> tuple[int, int]:
    """How many were opened, and how many could not be."""
    opened = failed = 0
    closed: dict[str | None, VaultError] = {}  # by the vault keys that this API key has not
    with _status() as status:
        async with aclosing(wanted.of(client)) as entries:
            async for entry in entries:
                try:
                    messages = await _messages(client, entry, closed)
                except (CannotOpen, VaultError) as error:
                    if isinstance(error, VaultError) and entry.key not in closed:
                        raise
                    failed += 1
                    line = f"entry {entry.id} ({one_line(entry.title)}): {reason(error)}"
                    status.console.out(line, highlight=False)
                    continue
                await asyncio.to_thread(target.write, entry, messages)
                opened += 1
                status.update(f"{opened} chats")
    return opened, failed


async def _messages(client: VaultClient, entry: Entry, closed: dict[str | None, VaultError]) -> list[VaultMessage]:
    """Asks for each key once. Raises what ``VaultClient.open`` does."""
    if (refusal := closed.get(entry.key)) is not None:
        raise refusal
    try:
        return await client.open(entry)
    except VaultError as error:
        if error.status == 403:
            closed[entry.key] = error
        raise


def _status() -> Status:
    """On standard error, and nothing for somebody who does not look at it."""
    return Console(stderr=True).status("")
