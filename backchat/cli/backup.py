"""``backchat backup``, ``restore`` and ``verify``: all of a storage in one file, and back."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import click
from rich.filesize import decimal

from backchat import __version__
from backchat.app import now
from backchat.cli.backup_files import copied, making, open_copy, open_file
from backchat.cli.installation import Installation, installation_options
from backchat.cli.interruptions import Interruption, confirm
from backchat.cli.progress import Advance, pace
from backchat.cli.tables import minute, show
from backchat.config import Selected, opened
from backchat.ports.storage import RecordStore, StorageBackend
from backchat.services.backing_up import Finding, Note, Stage, Told, back_up, examined, served
from backchat.services.backing_up import restore as restore_into
from backchat.services.copying_marks import other_process, unfinished_business
from backchat.services.copying_reading import held, is_empty
from backchat.services.copying_servers import listed
from backchat.services.copying_writing import empty
from backchat.services.kinds import KINDS
from backchat.web.logs import set_up_logs

WATCHED = 35.0
"""Seconds in which a server elsewhere shows a sign of life: with ``replies.lease`` up to 100."""
_STAGES: dict[Stage, str] = {
    "saving": "saving",
    "reading": "reading the backup",
    "restoring": "restoring",
    "comparing": "comparing",
}


@click.command()
@click.argument("target", metavar="FILE", type=click.Path(path_type=Path))
@click.option("--force", is_flag=True, help="Replace FILE if it is there.")
@installation_options
def backup(target: Path, force: bool, file: Path | None, data: Path) -> None:
    """Write all of the storage into FILE, as it is at one moment. Servers may run on it meanwhile.

    FILE is an SQLite database, whatever the storage is. It is there when it is complete and has been read back, and
    only its owner can read it. What the configuration names, such as keys of providers, is not in it.
    """
    began = time.monotonic()
    storage = Installation(file, data).load_usable_storage()
    set_up_logs("console", "warning")
    with Interruption(), making(target, force=force) as path:
        note = asyncio.run(_back_up(storage, path))
    records = sum(note.held.counts.values())
    what = pace(records, target.stat().st_size, time.monotonic() - began)
    click.echo(f"backed up: {what}; digest {note.held.digest}")


@click.command()
@click.argument("source", metavar="FILE", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--replace", is_flag=True, help="Delete what the storage holds first; asks.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@installation_options
def restore(source: Path, replace: bool, yes: bool, file: Path | None, data: Path) -> None:
    """Put all that the backup FILE holds into the storage, which must be empty, and read it back.

    No server may run on the storage. FILE is read first, and nothing is touched if it is not as it was made.
    """
    began = time.monotonic()
    storage = Installation(file, data).load_usable_storage()
    set_up_logs("console", "warning")
    with Interruption() as interruption, copied(source) as path:
        finding = asyncio.run(_restore(path, source, storage, interruption, replace=replace, ask=not yes))
    records = sum(finding.held.counts.values())
    what = pace(records, source.stat().st_size, time.monotonic() - began)
    click.echo(f"restored: {what}; digest {finding.held.digest}")


@click.command()
@click.argument("source", metavar="FILE", type=click.Path(path_type=Path, exists=True, dir_okay=False))
def verify(source: Path) -> None:
    """Read all of the backup FILE, and compare it with what it held when it was made. FILE is not changed.

    The exit code is 1 if it is damaged, or has been changed.
    """
    set_up_logs("console", "warning")
    with Interruption(), copied(source) as path:
        finding = asyncio.run(_verify(path, source))
    show(("Kind", "Records"), [(kind, f"{n:,}") for kind, n in sorted(finding.held.counts.items())], numbers=1)
    _refuse_damaged(source, finding, "")
    count = sum(finding.held.counts.values())
    what = "1 record" if count == 1 else f"{count:,} records"
    click.echo(f"{what}, {decimal(source.stat().st_size)}; digest {finding.held.digest}")
    click.echo(_made(finding.note))


async def _back_up(storage: Selected[StorageBackend], path: str) -> Note:
    async with opened(storage, KINDS, lambda batches: None) as store:
        if await is_empty(store):
            raise click.ClickException("the storage holds nothing: is it the right one? (see --config and --data)")
        with Advance() as advance:
            return await back_up(store, path, open_file, now=now(), version=__version__, told=_told(advance))


async def _restore(
    path: str,
    source: Path,
    storage: Selected[StorageBackend],
    interruption: Interruption,
    *,
    replace: bool,
    ask: bool,
) -> Finding:
    async with open_copy(path, source) as backup:
        with Advance() as advance:
            finding = await examined(backup, _told(advance))
        _refuse_damaged(source, finding, "; nothing was restored")
        async with opened(storage, KINDS, lambda batches: None) as target:
            with Advance() as advance:
                await _check_unserved(target, advance)
            taken = not await is_empty(target) or await unfinished_business(target) is not None
            if taken and not replace:
                raise click.ClickException("the storage is not empty; --replace deletes what it holds")
            if taken and ask:
                confirm(f"Delete the {await held(target):,} records that the storage holds?")
            interruption.words = "interrupted: begin anew with --replace"
            if taken:
                await empty(target, lambda records: None)
            with Advance() as advance:
                await restore_into(backup, finding.held, target, _told(advance))
        return finding


async def _check_unserved(target: RecordStore, advance: Advance) -> None:
    seconds = f"{WATCHED:.0f} s"
    servers = await served(
        target, WATCHED, lambda: advance.say(f"looking whether servers elsewhere still run on the storage: {seconds}")
    )
    if servers:
        raise click.ClickException(f"a server runs on the storage: stop it first ({listed(servers)})")
    if other := await other_process(target):
        raise click.ClickException(f"another process copies or restores into the storage: {other}")


async def _verify(path: str, source: Path) -> Finding:
    async with open_copy(path, source) as backup:
        with Advance() as advance:
            return await examined(backup, _told(advance))


def _told(advance: Advance) -> Told:
    return lambda stage, done, total: advance.show(_STAGES[stage], done, total)


def _refuse_damaged(source: Path, finding: Finding, consequence: str) -> None:
    if not finding.problems:
        return
    for problem in finding.problems:
        click.echo(f"{source}: {problem}", err=True)
    raise click.ClickException(f"{source} is not as it was made{consequence}")


def _made(note: Note | None) -> str:
    if note is None:
        return "the file does not say what it held when it was made: it was not made by backchat backup"
    return f"as it was made at {minute(note.at)} UTC by backchat {note.version}"
