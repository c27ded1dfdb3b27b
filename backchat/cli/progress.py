"""How far a long command is: a bar for somebody who looks at it, else a line now and then. On standard error."""

from __future__ import annotations

import time
from types import TracebackType

import click
from rich.console import Console
from rich.filesize import decimal
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

LINE_EVERY = 10.0
"""Seconds between two lines about the same, when nobody looks at it."""


class Advance:
    """A context manager. One thing is done at a time; ``total`` may be unknown, ``beside`` says more of it."""

    def __init__(self) -> None:
        console = Console(stderr=True)
        self._bar: Progress | None = None
        if console.is_terminal:
            self._bar = Progress(
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                TextColumn("{task.fields[beside]}", markup=False),
                TimeRemainingColumn(),
                console=console,
                transient=True,
            )
        self._task: TaskID | None = None
        self._what = ""
        self._told = 0.0

    def __enter__(self) -> Advance:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.stop()

    def show(self, what: str, done: int, total: int | None, beside: str = "") -> None:
        """``done`` of ``total`` of ``what``. Cheap: it can be called for every batch."""
        if self._bar is not None:
            if self._task is None or what != self._what:
                if self._task is not None:
                    self._bar.remove_task(self._task)
                self._task = self._bar.add_task(what, beside="")
            self._bar.update(self._task, completed=done, total=total, beside=beside)
        elif what != self._what or time.monotonic() - self._told >= LINE_EVERY:
            self._told = time.monotonic()
            so_far = f" {done:,}" if done else ""
            of = f" of {total:,}" if total is not None else ""
            click.echo(f"{what}:{so_far}{of}{f' ({beside})' if beside else ''}" if so_far or of else what, err=True)
        self._what = what

    def say(self, line: str) -> None:
        """A line that stays."""
        if self._bar is not None:
            self._bar.console.print(line, markup=False, highlight=False)
        else:
            click.echo(line, err=True)


def pace(records: int, size: int, seconds: float) -> str:
    """What was done in a time: ``size`` in bytes."""
    each = f", {records / seconds:,.0f} records/s" if records and seconds else ""
    return f"{records:,} record{'' if records == 1 else 's'}, {decimal(size)}, {seconds:.1f} s{each}"
