"""The files of backups: made beside their place and put there when complete, and read without being changed."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path

import click

from backchat.config import Selected, opened
from backchat.errors import ConfigError
from backchat.plugins import Plugins
from backchat.ports.storage import RecordStore, StorageBackend
from backchat.services.kinds import KINDS

BACKEND = "sqlite"
"""The backend whose files backups are."""
_NAME = "backup.db"


@asynccontextmanager
async def open_file(path: str) -> AsyncIterator[RecordStore]:
    """Open a file of ``BACKEND``; it is made if it is not there. Raises ConfigError for one that is not one of ours."""
    selected = await asyncio.to_thread(_selected, path)  # it looks for plugins
    async with opened(selected, KINDS, lambda batches: None) as store:
        yield store


def _selected(path: str) -> Selected[StorageBackend]:
    component = Plugins(from_entry_points=True).storages[BACKEND]
    return Selected("", BACKEND, component, component.schema.load({"path": path}))


@asynccontextmanager
async def open_copy(path: str, source: Path) -> AsyncIterator[RecordStore]:
    """Open the copy of a backup. Raises ClickException if it is none: the configuration has no part in that."""
    async with AsyncExitStack() as stack:
        try:
            store = await stack.enter_async_context(open_file(path))
        except ConfigError as error:
            raise click.ClickException(f"{source}: {error.problems[0].removeprefix(': ')}") from error
        yield store


@contextmanager
def making(target: Path, *, force: bool) -> Iterator[str]:
    """Where to make the file that becomes ``target`` in the end, if nothing is raised; only its owner can read it.

    With ``force`` in place of a file that is there.
    """
    _check_free(target, force)
    try:
        with tempfile.TemporaryDirectory(prefix=".backchat-", suffix=".part", dir=target.parent) as beside:
            made = Path(beside, _NAME)
            yield str(made)
            _durable(made)
            made.chmod(0o600)
            _check_free(target, force)  # it took a while
            os.replace(made, target)
            _durable(target.parent)
    except OSError as error:
        raise click.ClickException(f"{target} cannot be written: {error.strerror}") from error


@contextmanager
def copied(source: Path) -> Iterator[str]:
    """A copy of a backup that may be opened: to open a file may change it. Beside it, or else among temporary files."""
    try:
        beside = source.parent if os.access(source.parent, os.W_OK) else None
        with tempfile.TemporaryDirectory(prefix=".backchat-", suffix=".part", dir=beside) as directory:
            copy = Path(directory, _NAME)
            shutil.copyfile(source, copy)
            copy.chmod(0o600)
            yield str(copy)
    except OSError as error:
        raise click.ClickException(f"{source} cannot be read or copied: {error.strerror}") from error


def _check_free(target: Path, force: bool) -> None:
    if target.exists() and not target.is_file():
        raise click.ClickException(f"{target} is no regular file")
    if target.exists() and not force:
        raise click.ClickException(f"{target} is there already; --force replaces it")


def _durable(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
