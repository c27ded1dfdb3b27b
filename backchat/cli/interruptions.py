"""Ctrl-C in long commands, and questions that nobody can answer."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from types import TracebackType

import click

INTERRUPTED = 130


@dataclass(slots=True)
class Interruption:
    """A context manager: a command that is interrupted inside says ``words`` as they are then, and ends with 130."""

    words: str = "interrupted"

    def __enter__(self) -> Interruption:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if isinstance(error, KeyboardInterrupt):
            click.echo(self.words, err=True)
            sys.exit(INTERRUPTED)


def confirm(question: str) -> None:
    """Raises Abort unless the answer is yes, ClickException when there is nobody who could answer."""
    try:
        if click.confirm(question):
            return
    except click.Abort as abort:
        if isinstance(abort.__context__, EOFError) and not sys.stdin.isatty():
            click.echo(err=True)
            raise click.ClickException("there is no terminal to answer the question on: --yes answers it") from None
        raise
    raise click.Abort
