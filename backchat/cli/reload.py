"""``backchat reload``: running servers read their configuration again."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path

import click

from backchat.cli.installation import Installation, installation_options
from backchat.config import opened
from backchat.ports.storage import RecordStore
from backchat.services.copying_servers import Server, running
from backchat.services.kinds import KINDS
from backchat.services.reloads import Reload, reload_in
from backchat.services.runstate import WORKER
from backchat.web.logs import set_up_logs

PATIENCE = 30.0
LOOK = 0.05
_WRONG = 2
"""The exit code of a configuration that is wrong."""


@click.command()
@installation_options
def reload(file: Path | None, data: Path) -> None:
    """Have the running servers read their configuration again, those of this installation that run on this host.

    They open anew what has changed of `providers`, and follow `default_provider` and `fallback`; answers end with the
    provider they began with. Keys in `{$file: ...}` are read again; the environment of a running server cannot change.
    With a configuration that is wrong, nothing changes. Other sections need a restart, and are named.
    """
    storage = Installation(file, data).load_usable_storage()
    set_up_logs("console", "warning")

    async def ask() -> int:
        async with opened(storage, KINDS, lambda batches: None) as store:
            return await _ask(store)

    if code := asyncio.run(ask()):
        raise click.exceptions.Exit(code)


async def _ask(store: RecordStore) -> int:
    """Ask all of them, and tell how it went; the exit code."""
    found = await running(store)
    here = [server for server in found if server.here]
    if not here:
        raise click.ClickException("no server of this installation runs on this host")
    codes = await asyncio.gather(*[_one(store, server) for server in here])
    for server in found:
        if not server.here:
            click.echo(f"{server}: ask there", err=True)
    return max(codes)


async def _one(store: RecordStore, server: Server) -> int:
    if await _last(store, server) is None:
        return _failed(server, ["does not listen to this command: start it again instead"])
    asked = time.monotonic()
    try:
        os.kill(server.pid, signal.SIGHUP)
    except OSError as error:
        return _failed(server, [f"cannot be asked: {error.strerror}"])
    while (now := await _last(store, server)) is not None and now.began < asked:
        if time.monotonic() > asked + PATIENCE:
            return _failed(server, [f"has not answered for {PATIENCE:g} seconds: see its log"])
        await asyncio.sleep(LOOK)
    if now is None:
        return _failed(server, ["has ended"])
    if now.problems:
        _failed(server, now.problems)
        return _WRONG
    for line in now.changes or ("providers: nothing has changed",):
        click.echo(f"{server}: {line}")
    for section in now.restart:
        click.echo(f"{server}: {section}: has changed too, which needs a restart")
    return 0


def _failed(server: Server, lines: Sequence[str]) -> int:
    for line in lines:
        click.echo(f"{server}: {line}", err=True)
    return 1


async def _last(store: RecordStore, server: Server) -> Reload | None:
    record = await store.get(WORKER.name, server.worker)
    return reload_in(record.doc) if record is not None else None
