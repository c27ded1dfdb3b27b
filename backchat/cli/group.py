"""The root of all commands, and how their failures end: one line on standard error, and an exit code."""

from __future__ import annotations

import errno
import os
import sys
from codecs import lookup
from contextlib import suppress
from importlib import import_module
from keyword import iskeyword
from typing import Any

import click

from backchat import __version__
from backchat.errors import BackchatError, ConfigError

# Each command's module, imported when the command is called for: a chat client need not load the server. In it the
# command has its own name, with an underscore behind it where that is a word of Python.
COMMANDS = {
    "backup": "backup",
    "chat": "chat",
    "check": "check",
    "copy": "copy",
    "export": "exporting",
    "import": "importing",
    "keys": "keys",
    "plugins": "check",
    "reload": "reload",
    "restore": "backup",
    "serve": "serve",
    "usage": "usage",
    "users": "users",
    "vault": "vault",
    "verify": "backup",
    "worker": "serve",
}


_WRITING = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF, errno.EPIPE)


class Root(click.Group):
    """Exit code 2 for a configuration that is wrong, with a line for each problem; 1 for whatever else fails."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        attribute = f"{cmd_name}_" if iskeyword(cmd_name) else cmd_name
        command = getattr(import_module(f"backchat.cli.{COMMANDS[cmd_name]}"), attribute)
        assert isinstance(command, click.Command)
        return command

    def main(self, *args: Any, **more: Any) -> Any:
        if sys.stdout is None:  # it was closed
            sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - for as long as the process runs
        try:
            try:
                return super().main(*args, **more)
            finally:
                sys.stdout.flush()
        except (OSError, UnicodeEncodeError) as error:
            why = _unwritable(error)
            if why is None:
                raise
        _silence()
        click.echo(f"Error: the output cannot be written: {why}", err=True)
        sys.exit(1)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except ConfigError as error:
            for problem in error.problems:
                click.echo(problem, err=True)
            ctx.exit(2)
        except BackchatError as error:
            raise click.ClickException(f"{error.field}: {error}" if error.field else str(error)) from error


def _unwritable(error: OSError | UnicodeEncodeError) -> str | None:
    """Why, if it is the output that the error is about. Click itself ends without a word when a reader has left."""
    if isinstance(error, OSError):
        return error.strerror if error.errno in _WRITING and error.filename is None else None
    if lookup(sys.stdout.encoding).name == "utf-8":
        return None
    return f"its encoding, {sys.stdout.encoding}, has not all characters: set PYTHONIOENCODING=utf-8"


def _silence() -> None:
    """The interpreter writes at its end what could not be written, and has its own words for it."""
    with suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@click.group(cls=Root, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="backchat")
def main() -> None:
    """backchat: a self-hosted conversation server."""
