"""``backchat export``: all conversations of a user in one file, also while the server runs."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import click
from rich.console import Console
from rich.filesize import decimal
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from backchat.app import new_id, now, open_store
from backchat.cli.installation import Installation, installation_options
from backchat.cli.private_files import private_file
from backchat.config import Config
from backchat.domain.identity import Identity
from backchat.services.access import Access
from backchat.services.accounts import Accounts
from backchat.services.bundles import Bundles, ExportFormat
from backchat.web.logs import set_up_logs

STDOUT = "-"


@click.command()
@click.argument("target", metavar="FILE")
@click.option("--user", metavar="NAME", required=True, help="Name of the user whose conversations they are.")
@click.option(
    "--format",
    "format_",
    type=click.Choice(["zip", "jsonl"]),
    help="A zip with a file for each conversation, or lines of JSON; without it jsonl if FILE ends so, else zip.",
)
@click.option("--force", is_flag=True, help="Replace FILE if it is there.")
@installation_options
def export(target: str, user: str, format_: ExportFormat | None, force: bool, file: Path | None, data: Path) -> None:
    """Write all conversations of a user but temporary ones into FILE, or to standard output if it is -.

    FILE is there when it is complete, and only its owner can read it. backchat import reads it back.
    """
    format: ExportFormat = format_ or ("jsonl" if target.endswith(".jsonl") else "zip")
    if target == STDOUT and sys.stdout.isatty():
        raise click.UsageError("standard output is a terminal: name a file, or send it on")
    installation = Installation(file, data)
    config = installation.load_usable()
    set_up_logs("console", "warning")
    with _opened(target, force) as sink:
        written, size = asyncio.run(_export(config, user, format, sink))
    what = "1 conversation" if written == 1 else f"{written} conversations"
    where = "standard output" if target == STDOUT else target
    click.echo(f"exported {what} of {user} to {where}, {decimal(size)}", err=True)


async def _export(config: Config, name: str, format: ExportFormat, sink: IO[bytes]) -> tuple[int, int]:
    """Returns how many conversations there were, and how many bytes."""
    async with open_store(config) as store:
        user = await Accounts(store, now=now, new_id=new_id).user_by_name(name)
        if user is None:
            raise click.ClickException(f"there is no user called {name!r}")
        who, bundles, size = Identity(user=user.id), Bundles(store, Access(store, config.authorize, now), now), 0
        with _bar() as bar:
            task = bar.add_task("", total=await bundles.count(who), size=decimal(0))
            async for piece in bundles.write(who, format, lambda n: bar.update(task, completed=n)):
                await asyncio.to_thread(_all_written, sink, piece)
                size += len(piece)
                bar.update(task, size=decimal(size))
        return int(bar.tasks[0].completed), size


def _all_written(sink: IO[bytes], piece: bytes) -> None:
    try:
        sink.write(piece)
        sink.flush()
    except OSError as error:
        raise click.ClickException(f"the export cannot be written: {error.strerror}") from error


def _bar() -> Progress:
    """On standard error, and only for somebody who looks at it."""
    console = Console(stderr=True)
    return Progress(
        TextColumn("Conversations"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[size]}"),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
        transient=True,
    )


@contextmanager
def _opened(target: str, force: bool) -> Iterator[IO[bytes]]:
    """What to write to: a private file beside the target, which becomes it at the end, or is gone."""
    if target == STDOUT:
        yield sys.stdout.buffer
        return
    path = Path(target)
    if path.exists() and not path.is_file():
        raise click.ClickException(f"{path} is no regular file")
    if path.exists() and not force:
        raise click.ClickException(f"{path} is there already; --force replaces it")
    try:
        with private_file(path) as sink:
            yield sink
    except OSError as error:
        raise click.ClickException(f"{path} cannot be written: {error.strerror}") from error
