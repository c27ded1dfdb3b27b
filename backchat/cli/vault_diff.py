"""What changed between two versions of a chat, for people: in colour on a terminal, as plain text elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import click
from rich.console import Console

from backchat.cli.harmless import lines, one_line
from backchat.client.diff import Edit
from backchat.domain.vault import VaultMessage

STYLES = {"-": "red", "+": "green", " ": "dim"}


def shown(edits: Sequence[Edit]) -> bool:
    """Print them. False, and nothing is printed, if there is no change."""
    if all(edit.kind == "same" for edit in edits):
        return False
    console = Console()
    for line in _lines(edits):
        if console.is_terminal:
            console.out(line, style=STYLES[line[0]], highlight=False)
        else:
            click.echo(line)  # as it is: rich would replace tabs
    return True


def _lines(edits: Sequence[Edit]) -> Iterator[str]:
    """Messages are numbered from 1: those that were removed as they stood before, those that were added as now."""
    before = after = 1
    for edit in edits:
        if edit.kind == "same":
            yield f"  {_same(after, len(edit.new))}"
        else:
            yield from _marked("-", before, edit.old)
            yield from _marked("+", after, edit.new)
        before += len(edit.old)
        after += len(edit.new)


def _same(first: int, count: int) -> str:
    return f"message {first}: the same" if count == 1 else f"messages {first} to {first + count - 1}: the same"


def _marked(sign: str, first: int, messages: Sequence[VaultMessage]) -> Iterator[str]:
    for number, message in enumerate(messages, first):
        when = f", {one_line(message.timestamp)}" if message.timestamp is not None else ""
        yield f"{sign} message {number}, {message.role}{when}"
        for line in lines(message.content):
            yield f"{sign}   {line}".rstrip()
