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
from backchat.cli.private_files import private_file
from backchat.cli.tables import minute, show
from backchat.cli.vault import Server, reason, server_options
from backchat.cli.vault_files import body, file_name, written
from backchat.client.vault import Entry, VaultClient, VaultError
from backchat.domain.vault import VaultMessage
from backchat.sealing.failures import CannotOpen

STDOUT = "-"
COLUMNS = ("Entry", "Platform", "Chat", "Title", "Category", "Tags", "Changed", "Messages", "Version")
CROPPED = ("Platform", "Chat", "Title", "Category", "Tags")


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

    The list on a terminal shows only the beginning of what is too long for it, but the number of the entry always: the
    other commands take it with --entry.

    With --out DIR each chat is a file, which only its owner can read and which is replaced when it is pulled again.
    backchat vault push brings it back as the same chat; backchat import makes a conversation of it. With --out - each
    is a line on standard output, as POST /api/v1/push takes it.

    A chat that does not open is told on standard error, and the others are pulled; the exit code is 1 then.
    """
    wanted = Wanted(platform=platform, category=category, search=search, tags=tags, chat=chat, limit=limit)
    if out is None:
        found = server.run(lambda client: _listed(client, wanted))
        show(COLUMNS, found, numbers=2, cropped=CROPPED)
        if found and sys.stdout.isatty():
            click.echo(f"the versions of the first: backchat vault log --entry {found[0][0]}", err=True)
        return
    pulling = Pulling(Standard() if out == STDOUT else Directory(Path(out)))
    try:
        server.run(lambda client: pulling.pull(client, wanted))
    except (KeyboardInterrupt, click.ClickException):
        if pulling.opened:
            pulling.tell()
        raise
    pulling.tell()
    if pulling.failed:
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
            with private_file(self._path / file_name(entry)) as sink:
                sink.write(written(entry, messages))
        except OSError as error:
            raise click.ClickException(f"{self._path} cannot be written: {error.strerror}") from error


class Pulling:
    """How many were ``opened``, and how many could not be, so far."""

    def __init__(self, target: Standard | Directory) -> None:
        self.opened = self.failed = 0
        self._target = target
        self._closed: dict[str | None, VaultError] = {}  # by the vault keys that this API key has not

    def tell(self) -> None:
        what = "1 chat" if self.opened == 1 else f"{self.opened} chats"
        click.echo(f"pulled {what} to {self._target}", err=True)

    async def pull(self, client: VaultClient, wanted: Wanted) -> None:
        with _status() as status:
            async with aclosing(wanted.of(client)) as entries:
                async for entry in entries:
                    try:
                        messages = await self._messages(client, entry)
                    except (CannotOpen, VaultError) as error:
                        if isinstance(error, VaultError) and entry.key not in self._closed:
                            raise
                        self.failed += 1
                        line = f"entry {entry.id} ({one_line(entry.title)}): {reason(error)}"
                        status.console.out(line, highlight=False)
                        continue
                    await asyncio.to_thread(self._target.write, entry, messages)
                    self.opened += 1
                    status.update(f"{self.opened} chats")

    async def _messages(self, client: VaultClient, entry: Entry) -> list[VaultMessage]:
        """Asks for each key once. Raises what ``VaultClient.open`` does."""
        if (refusal := self._closed.get(entry.key)) is not None:
            raise refusal
        try:
            return await client.open(entry)
        except VaultError as error:
            if error.status == 403:
                self._closed[entry.key] = error
            raise


def _status() -> Status:
    """On standard error, and nothing for somebody who does not look at it."""
    return Console(stderr=True).status("")
