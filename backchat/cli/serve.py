"""``backchat serve``: one process, or several on one port."""

from __future__ import annotations

import asyncio
import os
import sys
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from backchat.app import build_app, open_accounts
from backchat.cli.crew import Crew, reserve
from backchat.cli.installation import Installation, installation_options, raise_file_limit
from backchat.cli.secrecy import guard_memory
from backchat.cli.server import run
from backchat.cli.server import serve as serve_app
from backchat.cli.signals import Stop
from backchat.cli.welcome import first_key, url_of, welcome
from backchat.config import Config
from backchat.services.container import Services
from backchat.web.logs import set_up_logs

READY = b"ready\n"


@click.command()
@installation_options
@click.option("--host", metavar="HOST", help="Address to listen on, instead of server.host.")
@click.option(
    "--port",
    metavar="PORT",
    type=click.IntRange(0, 65535),
    help="Port to listen on, instead of server.port; 0 takes a free one.",
)
@click.option(
    "--workers",
    metavar="N",
    type=click.IntRange(1, 256),
    default=1,
    show_default=True,
    help="Processes that share the port. One that dies is replaced, and its replies are ended by the others.",
)
def serve(file: Path | None, data: Path, host: str | None, port: int | None, workers: int) -> None:
    """Start the server.

    On an empty store it makes a first user and a key, and prints the key once. SIGTERM or Ctrl-C lets running replies
    end for up to server.drain seconds; a second one ends them at once, and keeps what they have said.
    """
    installation = Installation(file, data)
    config = _listening_on(installation.load_usable(), host, port)
    set_up_logs(config.server.log, config.server.log_level)
    raise_file_limit()
    guard_memory()

    def reread() -> Config:
        return _listening_on(installation.load(), host, port)

    if workers > 1:
        _serve_several(installation, config, workers)
    else:
        app = build_app(config)

        async def listening(port: int, services: Services, stop: Stop) -> None:
            key = await first_key(services.accounts)
            welcome(app, url_of(config.server.host, port), key, installation, config)

        run(serve_app(app, config, listening, reread))


def _listening_on(config: Config, host: str | None, port: int | None) -> Config:
    server = config.server
    server = replace(server, host=server.host if host is None else host, port=server.port if port is None else port)
    return replace(config, server=server)


def _serve_several(installation: Installation, config: Config, workers: int) -> None:
    app = build_app(config)

    async def first() -> str | None:
        async with open_accounts(config) as accounts:
            return await first_key(accounts)

    with reserve(config.server.host, config.server.port) as port, TemporaryDirectory(prefix="backchat-") as metrics:
        welcome(app, url_of(config.server.host, port), asyncio.run(first()), installation, config)
        options = ["--host", config.server.host, "--port", str(port), "--data", str(installation.data)]
        if installation.file is not None:
            options += ["--config", str(installation.file)]
        # -P: what happens to lie in the working directory is not to be imported.
        crew = Crew([sys.executable, "-P", "-m", "backchat", "worker", *options], workers, metrics)
        code = asyncio.run(crew.work())
    if code:
        raise click.exceptions.Exit(code)


@click.command(hidden=True)
@installation_options
@click.option("--host", required=True)
@click.option("--port", type=int, required=True)
def worker(file: Path | None, data: Path, host: str, port: int) -> None:
    """One process of ``serve --workers``: standard output says that it is ready, and it ends with standard input."""
    installation = Installation(file, data)
    config = _listening_on(installation.load_usable(), host, port)
    set_up_logs(config.server.log, config.server.log_level)
    raise_file_limit()
    guard_memory()

    def reread() -> Config:
        return _listening_on(installation.load(), host, port)

    run(serve_app(build_app(config), config, _report, reread, share_port=True))


async def _report(port: int, services: Services, stop: Stop) -> None:
    loop = asyncio.get_running_loop()

    def parent_left() -> None:
        loop.remove_reader(0)
        stop.ask()

    loop.add_reader(0, parent_left)
    os.write(1, READY)
    os.dup2(2, 1)  # whatever else is printed is for people
