"""The root of all commands, and how their failures end: one line on standard error, and an exit code."""

from __future__ import annotations

from importlib import import_module
from keyword import iskeyword
from typing import Any

import click

from backchat import __version__
from backchat.errors import BackchatError, ConfigError

# Each command's module, imported when the command is called for: a chat client need not load the server. In it the
# command has its own name, with an underscore behind it where that is a word of Python.
COMMANDS = {
    "chat": "chat",
    "check": "check",
    "export": "exporting",
    "import": "importing",
    "keys": "keys",
    "plugins": "check",
    "serve": "serve",
    "usage": "usage",
    "users": "users",
    "vault": "vault",
    "worker": "serve",
}


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

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except ConfigError as error:
            for problem in error.problems:
                click.echo(problem, err=True)
            ctx.exit(2)
        except BackchatError as error:
            raise click.ClickException(f"{error.field}: {error}" if error.field else str(error)) from error


@click.group(cls=Root, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="backchat")
def main() -> None:
    """backchat: a self-hosted conversation server."""
