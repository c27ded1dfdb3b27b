"""``docs/cli.md``, made from the commands themselves: ``python -m backchat.cli.reference > docs/cli.md``."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

import click

from backchat.cli import main

HEAD = """\
# The command line

Made from the commands themselves by `python -m backchat.cli.reference`; a test compares.

Exit codes: 0, all is well; 1, it failed, and one line on standard error says why; 2, the configuration or the command
line is wrong, with one line for each problem of the configuration. Every command also has `--help`.
"""


def reference() -> str:
    """The whole page."""
    return "\n".join([HEAD, *_section(main, click.Context(main, info_name="backchat"), 2)])


def _section(command: click.Command, ctx: click.Context, level: int) -> Iterator[str]:
    usage = " ".join(command.collect_usage_pieces(ctx))
    yield f"{'#' * level} {ctx.command_path}\n"
    yield f"```\n{ctx.command_path} {usage}\n```\n"
    yield f"{inspect.cleandoc(command.help or '')}\n"
    options = [p for p in command.params if isinstance(p, click.Option) and not p.hidden]
    if options:
        yield "| Option | |\n|---|---|"
        for option in options:
            yield f"| `{_names(option, ctx)}` | {_help(option)} |"
        yield ""
    if isinstance(command, click.Group):
        for name in command.list_commands(ctx):
            child = command.get_command(ctx, name)
            assert child is not None
            if not child.hidden:
                yield from _section(child, click.Context(child, info_name=name, parent=ctx), level + 1)


def _names(option: click.Option, ctx: click.Context) -> str:
    value = "" if option.is_flag else f" {option.make_metavar(ctx)}"
    return f"{', '.join(option.opts)}{value}".replace("|", "\\|")


def _help(option: click.Option) -> str:
    notes = ["required"] if option.required else []
    if option.show_default:
        notes.append(f"default: `{option.default}`")
    if option.envvar:
        notes.append(f"environment: `{option.envvar}`")
    text = (option.help or "").replace("|", "\\|")
    return f"{text} ({'; '.join(notes)})" if notes else text


if __name__ == "__main__":
    click.echo(reference(), nl=False)
