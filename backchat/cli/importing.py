"""``backchat import``: conversations from files that other products wrote, also while the server runs."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from backchat.app import new_id, now, open_store
from backchat.cli.installation import Installation, installation_options
from backchat.cli.tables import show
from backchat.config import Config
from backchat.domain.identity import Identity
from backchat.services.access import Access
from backchat.services.accounts import Accounts
from backchat.services.import_records import Import
from backchat.services.imports import Imports
from backchat.web.logs import set_up_logs


@click.command("import")
@click.argument(
    "sources", metavar="FILE...", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
@click.option("--user", metavar="NAME", required=True, help="Name of the user whose conversations they become.")
@installation_options
def import_(sources: tuple[Path, ...], user: str, file: Path | None, data: Path) -> None:
    """Import the conversations in each FILE: JSON that another product has exported, or a zip with such files.

    Each conversation is imported as a whole or not at all. One that is there already gets the messages that are new,
    and stays as it is otherwise, so a file can be imported again. The exit code is 1 if a file could not be read to its
    end, or if nothing was imported and something could not be.
    """
    config = Installation(file, data).load_usable()
    set_up_logs("console", "warning")
    results = asyncio.run(_import(config, user, sources))
    show(("File", "Imported", "There already", "Failed", "End"), [_row(*each) for each in results])
    for source, result in results:
        if isinstance(result, str):
            continue
        for problem in result.problems:
            title = f" ({problem.title})" if problem.title else ""
            click.echo(f"{source}: entry {problem.index + 1}{_printable(title)}: {problem.reason}", err=True)
        if result.failed > len(result.problems):
            click.echo(f"{source}: and {result.failed - len(result.problems)} more", err=True)
    ended = [result for _, result in results if not isinstance(result, str)]
    broken = len(ended) < len(results) or any(r.status != "done" for r in ended)
    if broken or (any(r.failed for r in ended) and not any(r.imported for r in ended)):
        sys.exit(1)


def _row(source: Path, result: Import | str) -> Sequence[str]:
    if isinstance(result, str):
        return str(source), "0", "0", "0", result
    return (
        str(source),
        str(result.imported),
        str(result.skipped),
        str(result.failed),
        result.problem or result.status,
    )


async def _import(config: Config, name: str, sources: Sequence[Path]) -> list[tuple[Path, Import | str]]:
    """Of each file how it went, or why it cannot be read."""
    limits = replace(config.imports, max_size=sys.maxsize, max_conversation=sys.maxsize)  # which are about uploads
    async with open_store(config) as store:
        user = await Accounts(store, now=now, new_id=new_id).user_by_name(name)
        if user is None:
            raise click.ClickException(f"there is no user called {name!r} in this storage (see --data and --config)")
        access = Access(store, config.authorize, now)
        imports = Imports(store, access, config.importers, limits, config.retention, new_id(), now=now, new_id=new_id)
        async with imports:
            with _bar() as bar:
                who = Identity(user=user.id)
                return [(source, await _one(imports, who, source, bar)) for source in sources]


async def _one(imports: Imports, who: Identity, source: Path, bar: Progress) -> Import | str:
    try:
        opened = await asyncio.to_thread(source.open, "rb")
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    at = await imports.begin(who, opened, name=source.name)
    task = bar.add_task(source.name, total=at.size, count="")
    async with aclosing(imports.follow(who, at.id)) as steps:
        async for at in steps:
            bar.update(task, completed=at.read, count=f"{at.imported + at.skipped + at.failed} conversations")
    return at


def _bar() -> Progress:
    """On standard error, and only for somebody who looks at it."""
    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TextColumn("{task.fields[count]}"),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
        transient=True,
    )


def _printable(text: str) -> str:
    """Without what would command the terminal."""
    return "".join([c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text])
