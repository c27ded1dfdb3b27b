"""What a test has of a storage that it runs on."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
import tempfile
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from backchat.config import Config, opened
from backchat.plugins import GROUP
from backchat.ports.storage import Change, Kind, OnCommit, OpenStore, Purge, Put, Query, Range, RecordStore
from backchat.testing.choosing import WORKER, Choice
from backchat.testing.loading import installed_plugins, loaded

_LEFT: dict[str, dict[str, bool]] = {}
"""For each section of a shared store: the kinds of which there may be records, since this process has looked."""


class Storage:
    """What one test stores in. It is empty when the test opens it first; opened again, it holds what the test stored.

    Making one may read files and start servers.

    id       what tests on it are told apart by
    package  the top-level package that offers the backend
    section  its section of the configuration
    opened   the classes of the stores that the test has opened, with their modules
    """

    def __init__(self, choice: Choice, directory: Path, blanks: Path) -> None:
        """``directory`` is what ``{dir}`` stands for, ``blanks`` one of this process for empty stores to be copied."""
        settings = choice.settings()
        self.id = choice.id
        self.package = _package_of(choice.use)
        self.section = {"use": choice.use, **_filled(settings, {"{dir}": str(directory), "{worker}": WORKER})}
        self.opened: set[str] = set()
        self._choice, self._directory, self._blanks = choice, directory, blanks
        self._is_here = "{dir}" in repr(settings)  # then there cannot be records of other tests
        self._emptied: set[str] = set()

    def watched(self, config: Config) -> Config:
        """The same, with a store that is checked, noted in ``opened``, and emptied when the test opens it first."""
        backend = config.storage.component
        component = replace(backend, open=self._opening(backend.open))
        return replace(config, storage=replace(config.storage, component=component))

    @asynccontextmanager
    async def open(
        self, kinds: Sequence[Kind], on_commit: OnCommit = lambda commits: None
    ) -> AsyncGenerator[RecordStore, None]:
        """The store itself, without a server."""
        config = self.watched(await asyncio.to_thread(loaded, self._directory, {"storage": self.section}))
        async with opened(config.storage, kinds, on_commit) as store:
            yield store

    def _opening(self, open: OpenStore) -> OpenStore:
        @asynccontextmanager
        async def opening(
            settings: Any, kinds: Sequence[Kind], on_commit: OnCommit
        ) -> AsyncGenerator[RecordStore, None]:
            if self._choice.copied and not self.opened:
                await asyncio.to_thread(_copy, await self._blank(kinds), self._directory)
            async with open(settings, kinds, on_commit) as store:
                self._note(store)
                if not self._is_here:
                    await self._empty(store, kinds)
                yield store

        return opening

    def _note(self, store: RecordStore) -> None:
        kind = type(store)
        found, meant = kind.__module__, self.package
        assert found.partition(".")[0] == meant, f"{self._choice.use} opened a store of {found}, not one of {meant}"
        self._choice.check(store)
        self.opened.add(f"{found}.{kind.__qualname__}")

    async def _empty(self, store: RecordStore, kinds: Sequence[Kind]) -> None:
        """Purge what other tests have left; what that can be is known after a first look into the store."""
        left = _LEFT.setdefault(repr(self.section), {})
        for kind in kinds:
            if kind.name not in left:
                left[kind.name] = bool(await store.find(Query(kind=kind.name, limit=1)))
        full = [kind.name for kind in kinds if left[kind.name] and kind.name not in self._emptied]
        await asyncio.gather(*[store.apply([Purge(name, ranges=(Range("id", low=""),))]) for name in full])
        left.update(dict.fromkeys(full, False))
        self._emptied.update([kind.name for kind in kinds])
        apply = store.apply

        async def noting(changes: Sequence[Change]) -> None:
            left.update({change.kind: True for change in changes if isinstance(change, Put)})
            await apply(changes)

        setattr(store, "apply", noting)  # noqa: B010 - a method, to mypy

    async def _blank(self, kinds: Sequence[Kind]) -> Path:
        """The files of an empty store of these kinds: made once, by the backend itself."""
        digest = hashlib.sha256(repr(kinds).encode()).hexdigest()[:16]
        blank = self._blanks / f"{self.id}-{digest}"
        if not await asyncio.to_thread(blank.is_dir):
            data = Path(await asyncio.to_thread(tempfile.mkdtemp, dir=self._blanks))
            made = data / "store"
            await asyncio.to_thread(made.mkdir)
            section = Storage(self._choice, made, self._blanks).section
            config = await asyncio.to_thread(loaded, data, {"storage": section})
            async with opened(config.storage, kinds, lambda commits: None):
                pass
            await asyncio.to_thread(made.rename, blank)
        return blank


@cache
def _package_of(backend: str) -> str:
    plugin = installed_plugins().storages.plugin_of[backend]
    (entry,) = entry_points(group=GROUP, name=plugin)
    return entry.module.partition(".")[0]


def _copy(source: Path, target: Path) -> None:
    """Copy all that is in a directory, unless some of it is in the other already: then a store is there."""
    files = list(source.iterdir())
    if not any((target / file.name).exists() for file in files):
        for file in files:
            if file.is_dir():
                shutil.copytree(file, target / file.name)
            else:
                shutil.copy(file, target)


def _filled(value: Any, places: Mapping[str, str]) -> Any:
    if isinstance(value, Mapping):
        return {key: _filled(each, places) for key, each in value.items()}
    if isinstance(value, list):
        return [_filled(each, places) for each in value]
    if isinstance(value, str):
        for place, text in places.items():
            value = value.replace(place, text)
    return value
