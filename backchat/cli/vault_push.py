"""``backchat vault push``: conversations from files into the vault, sealed here."""

from __future__ import annotations

import asyncio
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
from backchat.cli.vault_sources import Outgoing, Passed, Source, Wish
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
    type=click.Path(exists=True, dir_okay=False, allow_dash=True),
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
    it may be nothing but an array of messages, each with role and content.

    A conversation that is in the vault already gets a new version, or stays as it is if nothing changed; so a file can
    be pushed again. What the options do not say is taken from the file, and the platform is the product that the file
    is from, else that of the API key.

    Of a conversation with branches, the active one is pushed. Messages are text: the answers of tools are messages of
    the role tool; their calls, images and files are named in brackets, and reasoning is left out.

    The exit code is 1 if something could not be read or pushed; the rest is pushed all the same.
    """
    if sources.count(STDIN) > 1:
        raise click.UsageError("standard input can be read once only")
    wish = Wish(
        platform=platform, category=category, tags=tags, topic=topic, title=title, model=model, chat=chat, base=base
    )
    read = [_source(source) for source in sources]
    importers = list(Plugins(from_entry_points=True).importers.values())
    found: Iterator[Outgoing | Passed] = chain.from_iterable(
        [source.read(importers, wish, datetime.now(UTC)) for source in read]
    )
    if wish.of_one:
        found = _one(found, wish)
    pushing = Pushing(read)
    with _bar() as bar:
        end = server.run(lambda client: pushing.push(client, found, bar))
    show(("Conversation", "Result", "Version"), [row.cells for row in pushing.rows], numbers=1)
    if end is not None:
        raise click.ClickException(reason(end))
    if any(row.failed for row in pushing.rows):
        sys.exit(1)


def _source(source: str) -> Source:
    """Standard input is kept in memory: what is in it is nowhere else on this machine."""
    return Source("standard input", sys.stdin.buffer.read()) if source == STDIN else Source(source)


def _one(found: Iterator[Outgoing | Passed], wish: Wish) -> Iterator[Outgoing | Passed]:
    """The only conversation, and what cannot be pushed. Raises UsageError before anything of several is."""
    ahead: list[Outgoing | Passed] = []
    for each in found:
        ahead.append(each)
        if sum([isinstance(one, Outgoing) for one in ahead]) > 1:
            raise click.UsageError(f"there are several conversations: {wish.of_one[0]} is for one")
    return iter(ahead)


@dataclass(slots=True)
class Row:
    """What became of a conversation."""

    label: str
    result: str = ""
    version: str = ""
    failed: bool = False

    @property
    def cells(self) -> Sequence[str]:
        return one_line(self.label), one_line(self.result), self.version


class Pushing:
    """Several conversations at a time; those of one chat one after the other, in the order of the sources."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self.rows: list[Row] = []
        self._sources, self._total = sources, sum([source.size for source in sources])
        self._free = asyncio.Semaphore(AT_ONCE)
        self._latest: dict[str, asyncio.Task[None]] = {}
        self._end: VaultError | None = None

    async def push(self, client: VaultClient, found: Iterator[Outgoing | Passed], bar: Progress) -> VaultError | None:
        """``rows`` says how it went. Returns the refusal that would have met the others as well, if there was one."""
        task = bar.add_task("", total=self._total, count="")
        try:
            async with asyncio.TaskGroup() as group:
                while self._end is None and (each := await asyncio.to_thread(next, found, None)) is not None:
                    read = sum([source.meter.place for source in self._sources])
                    bar.update(task, completed=read, count=f"{len(self.rows)} conversations")
                    row = Row(each.label)
                    self.rows.append(row)
                    if isinstance(each, Passed):
                        row.result, row.failed = _passed(each), each.failed
                        continue
                    await self._free.acquire()
                    before = self._latest.get(each.chat)
                    self._latest[each.chat] = group.create_task(self._one(client, each, row, before))
        finally:
            for source in self._sources:
                source.meter.stopped = True  # a thread may be reading still
        return self._end

    async def _one(self, client: VaultClient, each: Outgoing, row: Row, before: asyncio.Task[None] | None) -> None:
        try:
            if before is not None:
                await before
            if self._end is not None:
                row.result, row.failed = "not pushed", True
                return
            result = await client.push(each.chat, each.messages, platform=each.platform, base=each.base, **each.details)
            row.result, row.version = _outcome(result), str(result.version)
        except (VaultError, CannotOpen) as error:
            row.result, row.failed = f"failed: {reason(error)}", True
            if isinstance(error, VaultError) and _is_for_all(error):
                self._end = self._end or error
        finally:
            self._free.release()


def _is_for_all(error: VaultError) -> bool:
    """Whether the next conversation would meet the same; being too large, for a proxy perhaps, is its own affair."""
    return (
        error.code in ("unreachable", "no_key")
        or error.status in (401, 403, 429, 502, 503, 504)
        or (error.code == "not_a_vault" and error.status != 413)
    )


def _passed(each: Passed) -> str:
    return f"failed: {each.reason}" if each.failed else f"left out: {each.reason}"


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
