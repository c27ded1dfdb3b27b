"""Which installation a command works on: its configuration file and its data directory."""

from __future__ import annotations

import asyncio
import os
import resource
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

from backchat.app import open_accounts
from backchat.config import Config, Selected, load_config, load_storage
from backchat.errors import ConfigError
from backchat.plugins import Plugins
from backchat.ports.storage import StorageBackend
from backchat.services.accounts import Accounts
from backchat.web.logs import set_up_logs

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])
DATA = Path("backchat-data")


@dataclass(frozen=True, slots=True)
class Installation:
    """``file`` is None for the configuration that comes with backchat."""

    file: Path | None
    data: Path

    def load(self) -> Config:
        """The checked configuration; ConfigError with every problem. Opens nothing."""
        return load_config(self.file, Plugins(from_entry_points=True), data=self.data)

    def load_usable(self) -> Config:
        """The same, and the data directory is there if the configuration uses it: readable by its owner only."""
        config = self.load()
        if config.uses_data:
            self._make_data()
        return config

    def load_usable_storage(self) -> Selected[StorageBackend]:
        """The section ``storage`` alone: what else is in the file, and in the environment, plays no part."""
        storage, uses_data = load_storage(self.file, Plugins(from_entry_points=True), data=self.data)
        if uses_data:
            self._make_data()
        return storage

    def _make_data(self) -> None:
        try:
            self.data.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"--data: {self.data} cannot be made: {error.strerror}") from error
        if not os.access(self.data, os.R_OK | os.W_OK | os.X_OK):
            raise ConfigError(f"--data: {self.data} cannot be written")

    def run(self, work: Callable[[Accounts], Coroutine[Any, Any, T]]) -> T:
        """Do some work on the accounts, also while a server runs on them. What a store has to say is logged."""
        config = self.load_usable()
        set_up_logs("console", "warning")

        async def opened() -> T:
            async with open_accounts(config) as accounts:
                return await work(accounts)

        return asyncio.run(opened())

    def options(self) -> list[str]:
        """The options that select this installation."""
        chosen = ["--config", str(self.file)] if self.file is not None else []
        return chosen + (["--data", str(self.data)] if self.data != DATA else [])


def installation_options(command: F) -> F:
    """Give a command ``--config`` and ``--data``."""
    command = click.option(
        "--data",
        type=click.Path(path_type=Path, file_okay=False),
        default=DATA,
        show_default=True,
        envvar="BACKCHAT_DATA",
        show_envvar=True,
        help="Directory for everything the server keeps.",
    )(command)
    return click.option(
        "--config",
        "file",
        metavar="FILE",
        type=click.Path(path_type=Path),
        envvar="BACKCHAT_CONFIG",
        show_envvar=True,
        help="Configuration file; without one, SQLite, the echo provider, and all APIs.",
    )(command)


def raise_file_limit() -> None:
    """Let this process, and those it starts, have as many connections as the system allows."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
