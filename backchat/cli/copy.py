"""``backchat copy``: all of one storage into another, also while it is served."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import click

from backchat.app import new_id
from backchat.cli.harmless import one_line
from backchat.cli.installation import DATA
from backchat.cli.interruptions import Interruption, confirm
from backchat.cli.progress import Advance, pace
from backchat.config import Selected, load_storage, opened
from backchat.errors import ConfigError, Unavailable
from backchat.plugins import Plugins
from backchat.ports.storage import RecordStore, StorageBackend
from backchat.services.copying import Copying, Step
from backchat.services.copying_beginning import begin, check_pair, check_unserved, give_up, unfinished
from backchat.services.copying_digests import Differences
from backchat.services.copying_reading import held, is_empty
from backchat.services.copying_servers import listed
from backchat.services.copying_writing import empty
from backchat.services.kinds import KINDS
from backchat.web.logs import set_up_logs

NAMED = 5
"""Differences that are named."""


@dataclass(frozen=True, slots=True)
class Wishes:
    replace: bool
    yes: bool
    once: bool
    verify: bool


@click.command()
@click.argument("source", metavar="FROM", type=click.Path(path_type=Path))
@click.argument("target", metavar="TO", type=click.Path(path_type=Path))
@click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    default=DATA,
    show_default=True,
    envvar="BACKCHAT_DATA",
    show_envvar=True,
    help="The data directory of either, where {$data: name} in FROM and TO points to.",
)
@click.option("--once", is_flag=True, help="End when TO is up to date, though servers run on FROM.")
@click.option("--no-verify", is_flag=True, help="Do not compare FROM and TO in the end.")
@click.option("--replace", is_flag=True, help="Delete what TO holds first; asks.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option(
    "--abandon", is_flag=True, help="Copy nothing: give up an unfinished copy, so that FROM notes no changes any more."
)
def copy(
    source: Path, target: Path, data: Path, once: bool, no_verify: bool, replace: bool, yes: bool, abandon: bool
) -> None:
    """Copy everything in the storage of the configuration FROM into the storage of the configuration TO.

    Of both files only the section storage matters. FROM may be served meanwhile: what changes is taken over as well,
    and when TO is up to date, the command waits until the servers on FROM are stopped, takes the last changes over, and
    compares both record by record. Started again after it was interrupted or killed, it goes on where it was. TO must
    be empty, and must not be served before the copy is finished.

    The exit code is 1 if TO is not what FROM is.
    """
    set_up_logs("console", "warning")
    wishes = Wishes(replace=replace, yes=yes, once=once, verify=not no_verify)
    with Interruption() as interruption:
        plugins = Plugins(from_entry_points=True)
        with _named("FROM"):
            from_, _ = load_storage(source, plugins, data=data)
        with _named("TO"):
            to, uses_data = load_storage(target, plugins, data=data)
        if abandon:
            asyncio.run(_abandon(from_))
            click.echo("FROM notes no changes any more; what TO has got of it is still there")
            return
        if uses_data:
            _make(data)
        differences = asyncio.run(_copy(from_, to, wishes, interruption))
    if differences.count:
        for kind, id in differences.places[:NAMED]:
            click.echo(f"not the same in FROM and TO: {kind} {one_line(id)}", err=True)
        raise click.ClickException(
            f"{differences.count} records are not the same in FROM and TO; begin anew with --replace"
        )


def _make(data: Path) -> None:
    try:
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"--data: {data} cannot be made: {error.strerror}") from error


@contextmanager
def _named(which: str) -> Iterator[None]:
    """Problems of a configuration with the name of the argument that it is for."""
    try:
        yield
    except ConfigError as error:
        raise ConfigError([f"{which}: {problem}" for problem in error.problems]) from error


@asynccontextmanager
async def _open(which: str, storage: Selected[StorageBackend]) -> AsyncIterator[RecordStore]:
    async with AsyncExitStack() as stack:
        with _named(which):
            store = await stack.enter_async_context(opened(storage, KINDS, lambda batches: None))
        yield store


async def _abandon(source: Selected[StorageBackend]) -> None:
    async with _open("FROM", source) as store:
        await give_up(store)


async def _copy(
    from_: Selected[StorageBackend], to: Selected[StorageBackend], wishes: Wishes, interruption: Interruption
) -> Differences:
    async with _open("FROM", from_) as source, _open("TO", to) as target:
        await check_pair(source, target, new_id)
        await check_unserved(target, replaced=wishes.replace)
        if wishes.replace:
            await _replace(target, interruption, ask=not wishes.yes)
        again = await unfinished(source, target)
        if again or await is_empty(target):  # else nothing is begun
            interruption.words = "interrupted: the same command goes on with it, and with --abandon it is given up"
        copy = await begin(source, target, new_id)
        began = time.monotonic()
        with Advance() as advance:
            if again:
                advance.say("going on with the copy that was begun")
            view = _View(advance)
            differences = await Copying(source, target, copy, view.show, view.waits).run(
                once=wishes.once, verify=wishes.verify
            )
    if not differences.count:
        click.echo(f"copied: {pace(view.records, view.size, time.monotonic() - began)}{view.verdict}")
    return differences


async def _replace(target: RecordStore, interruption: Interruption, *, ask: bool) -> None:
    count = await held(target)
    if count and ask:
        confirm(f"Delete the {count:,} records that TO holds?")
    interruption.words = "interrupted: TO may hold a part of what it held; begin anew with --replace"
    with Advance() as advance:
        deleted = 0

        def emptied(records: int) -> None:
            nonlocal deleted
            deleted += records
            advance.show("deleting", deleted, count)

        await empty(target, emptied)


class _View:
    """What the engine tells, as people see it."""

    def __init__(self, advance: Advance) -> None:
        self._advance = advance
        self._waiting = ""
        self.records = self.size = 0
        self.verdict = ", not compared"

    def show(self, step: Step) -> None:
        self.records, self.size = step.records, step.size
        match step.stage:
            case "records":
                self._advance.show("records", step.done, step.total, f"{step.size / 1e6:,.0f} MB")
            case "changes":
                # Between two looks at the servers it is the same as following.
                what = "following" if self._waiting else "changes since then"
                self._advance.show(what, step.done, None, f"{step.done:,} changes")
            case "servers":
                self._wait(step)
            case "digests":
                self.verdict = f", {step.done:,} compared"
                self._advance.show("comparing", step.done, step.total)

    def waits(self, error: Unavailable) -> None:
        self._advance.say(f"waiting: {error}")

    def _wait(self, step: Step) -> None:
        waiting = listed(step.servers)
        if waiting != self._waiting:
            self._waiting = waiting
            elsewhere = "" if all(server.here for server in step.servers) else ", or end with --once if they are gone"
            self._advance.say(f"TO is up to date. Stop what runs on FROM ({waiting}){elsewhere}; then this ends.")
        self._advance.show("following", step.done, None, f"{step.done:,} changes")
