"""``backchat vault push``: conversations from files into the vault, sealed here."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain

import click
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from backchat.cli.harmless import one_line
from backchat.cli.tables import show
from backchat.cli.vault import Server, reason, server_options
from backchat.cli.vault_sources import Outgoing, Passed, Source, Wish, sources_at
from backchat.client.vault import Result, VaultClient, VaultError
from backchat.plugins import Plugins
from backchat.sealing.failures import CannotOpen

STDIN = "-"
AT_ONCE = 4


@click.command()
@click.argument(
    "sources",
    metavar="SOURCE...",
    nargs=-1,
    required=True,
    type=click.Path(exists=True, allow_dash=True),
)
@click.option("--platform", metavar="NAME", help="Where the conversations are from; without it, what the file says.")
@click.option("--category", metavar="NAME", help="Category of the conversations, such as coding.")
@click.option(
    "--tag", "tags", metavar="TAG", multiple=True, help="A tag, besides those of the file; can be given often."
)
@click.option("--topic", metavar="TEXT", help="What the conversations are about; a search finds it.")
@click.option("--model", metavar="NAME", help="The model of the conversations; without it, what the file says.")
@click.option("--title", metavar="TEXT", help="Title of the conversation, if there is only one.")
@click.option("--chat", metavar="ID", help="The platform's lasting id of the conversation, if there is only one.")
@click.option(
    "--base",
    metavar="VERSION",
    type=click.IntRange(min=0),
    help="Push only if this is the version that the vault has, 0 for none; if there is only one conversation.",
)
@server_options
def push(
    server: Server,
    sources: tuple[str, ...],
    platform: str | None,
    category: str | None,
    tags: tuple[str, ...],
    topic: str | None,
    model: str | None,
    title: str | None,
    chat: str | None,
    base: int | None,
) -> None:
    """Push the conversations in each SOURCE; - is standard input. They are sealed before they leave this machine.

    A SOURCE is an export of a product that backchat import knows, a zip with such files, what backchat vault pull has
    written, or what POST /api/v1/push takes: an object with chatId and messages, or such objects on lines. With --chat
    it may be nothing but an array of messages, each with role and content. Of a directory it is all .json files in it.

    A conversation that is in the vault already gets a new version, or stays as it is if nothing changed; so a file can
    be pushed again. That holds after the vault key was rotated as well, unless the API key has the scope push alone:
    it cannot look at what there is, and makes a new version once. What the options do not say is taken from the file,
    and the platform is the product that the file is from, else that of the API key.

    Of a conversation with branches, the active one is pushed. Messages are text: the answers of tools are messages of
    the role tool; their calls, images and files are named in brackets, and reasoning is left out.

    What could not be read or pushed is told on standard error, and the rest is pushed all the same; the exit code is 1
    then. A refusal that the others would meet as well ends it. A chat may have about 7.8 MB of text.
    """
    if sources.count(STDIN) > 1:
        raise click.UsageError("standard input can be read once only")
    wish = Wish(
        platform=platform, category=category, tags=tags, topic=topic, title=title, model=model, chat=chat, base=base
    )
    read = list(chain.from_iterable([_sources(source) for source in sources]))
    importers = list(Plugins(from_entry_points=True).importers.values())
    found: Iterator[Outgoing | Passed] = chain.from_iterable(
        [source.read(importers, wish, datetime.now(UTC)) for source in read]
    )
    if wish.of_one:
        found = _one(found, wish)
    pushing = Pushing(read)
    try:
        with _bar() as bar:
            end = server.run(lambda client: pushing.push(client, found, bar))
    except KeyboardInterrupt:
        click.echo(f"{pushing.done} pushed; push the same again for the rest", err=True)
        raise
    _told(pushing, several=len(read) > 1)
    if end is not None:
        rest = f"; {pushing.untried} not tried" if pushing.untried else ""
        raise click.ClickException(f"{reason(end)}{rest}")
    if any(row.failed for row in pushing.rows):
        sys.exit(1)


def _sources(source: str) -> Sequence[Source]:
    """Standard input is kept in memory: what is in it is nowhere else on this machine."""
    if source == STDIN:
        return [Source("standard input", sys.stdin.buffer.read())]
    try:
        return sources_at(source)
    except OSError as error:
        raise click.ClickException(f"{source} cannot be read: {error.strerror}") from error


def _one(found: Iterator[Outgoing | Passed], wish: Wish) -> Iterator[Outgoing | Passed]:
    """The only conversation, and what cannot be pushed. Raises UsageError before anything of several is."""
    ahead: list[Outgoing | Passed] = []
    for each in found:
        ahead.append(each)
        if sum([isinstance(one, Outgoing) for one in ahead]) > 1:
            raise click.UsageError(f"there are several conversations: {wish.of_one[0]} is for one")
    return iter(ahead)


@dataclass(slots=True, eq=False)
class Row:
    """What became of a conversation. ``why`` it failed; empty if ``Pushing.push`` returns that."""

    label: str
    source: str
    result: str = ""
    version: str = ""
    failed: bool = False
    why: str = ""


def _told(pushing: Pushing, *, several: bool) -> None:
    """The outcome on standard output, why something failed on standard error; with ``several`` sources, of which."""
    cells: list[Sequence[str]] = [
        (one_line(row.label or row.source), one_line(row.result), row.version) for row in pushing.rows
    ]
    names = {row.source: os.path.basename(row.source) for row in pushing.rows}
    if len(set(names.values())) < len(names):
        names = {name: name for name in names}
    if several:
        cells = [(one_line(names[row.source]), *cell) for row, cell in zip(pushing.rows, cells, strict=True)]
    columns = (*(["Source"] if several else []), "Conversation", "Result", "Version")
    show(columns, cells, numbers=1, cropped=("Source", "Conversation"))
    for row in pushing.rows:
        if row.why:
            where = dict.fromkeys([*([row.source] if several else []), row.label or row.source])
            click.echo(one_line(": ".join([*where, row.why])), err=True)


class Pushing:
    """Several conversations at a time; those of one chat one after the other, in the order of the sources.

    ``rows`` has what became of them, and ``untried`` how many were left when all the others would have failed as well.
    """

    def __init__(self, sources: Sequence[Source]) -> None:
        self.rows: list[Row] = []
        self.untried = 0
        self._sources, self._total = sources, sum([source.size for source in sources])
        self._free = asyncio.Semaphore(AT_ONCE)
        self._latest: dict[str, asyncio.Task[None]] = {}
        self._end: VaultError | None = None

    @property
    def done(self) -> int:
        """How many are in the vault now."""
        return sum([row.version != "" for row in self.rows])

    async def push(self, client: VaultClient, found: Iterator[Outgoing | Passed], bar: Progress) -> VaultError | None:
        """Returns the refusal that would have met the others as well, if there was one."""
        task = bar.add_task("", total=self._total, count="")
        try:
            async with asyncio.TaskGroup() as group:
                while self._end is None and (each := await asyncio.to_thread(next, found, None)) is not None:
                    read = sum([source.meter.place for source in self._sources])
                    bar.update(task, completed=read, count=f"{len(self.rows)} conversations")
                    row = Row(each.label, each.source)
                    self.rows.append(row)
                    if isinstance(each, Passed):
                        row.failed = each.failed
                        row.result = "failed" if each.failed else f"left out: {each.reason}"
                        row.why = each.reason if each.failed else ""
                        continue
                    await self._free.acquire()
                    before = self._latest.get(each.chat)
                    self._latest[each.chat] = group.create_task(self._one(client, each, row, before))
            if self._end is not None:
                self.untried += await asyncio.to_thread(_count, found)
        finally:
            for source in self._sources:
                source.meter.stopped = True  # a thread may be reading still
        return self._end

    async def _one(self, client: VaultClient, each: Outgoing, row: Row, before: asyncio.Task[None] | None) -> None:
        try:
            if before is not None:
                await before
            if self._end is not None:
                self.rows.remove(row)
                self.untried += 1
                return
            result = await client.push(each.chat, each.messages, platform=each.platform, base=each.base, **each.details)
            row.result, row.version = _outcome(result), str(result.version)
        except (VaultError, CannotOpen) as error:
            row.result, row.failed = "failed", True
            if isinstance(error, VaultError) and _is_for_all(error):
                self._end = self._end or error
            else:
                row.why = reason(error)
        finally:
            self._free.release()


def _is_for_all(error: VaultError) -> bool:
    """Whether the next conversation would meet the same; being too large, for a proxy perhaps, is its own affair."""
    return (
        error.code in ("unreachable", "no_key")
        or error.status in (401, 403, 429, 502, 503, 504)
        or (error.code == "not_a_vault" and error.status != 413)
    )


def _count(found: Iterator[Outgoing | Passed]) -> int:
    return sum([isinstance(each, Outgoing) for each in found])


def _outcome(result: Result) -> str:
    return result.message if result.changed else "unchanged"


def _bar() -> Progress:
    """On standard error, and only for somebody who looks at it."""
    console = Console(stderr=True)
    return Progress(
        TextColumn("Pushing"),
        BarColumn(),
        DownloadColumn(),
        TextColumn("{task.fields[count]}"),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
        transient=True,
    )
