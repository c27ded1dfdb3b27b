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
        self._line = self._last = ""
        self._first: int | None = None

    def __enter__(self) -> Advance:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.stop()
        self._tell()

    def show(self, what: str, done: int, total: int | None, beside: str = "") -> None:
        """``done`` of ``total`` of ``what``. Cheap: it can be called for every batch."""
        if self._bar is not None:
            if self._task is None or what != self._what:
                if self._task is not None:
                    self._bar.remove_task(self._task)
                self._task = self._bar.add_task(what, beside="")
            self._bar.update(self._task, completed=done, total=total, beside=beside)
        else:
            self._show_plainly(what, done, total, beside)
        self._what = what

    def _show_plainly(self, what: str, done: int, total: int | None, beside: str) -> None:
        new = what != self._what
        if new:
            self._tell()
            self._first = done if total is None else None
        if done == self._first:  # nothing of what has no end: that is no news
            return
        self._first = None
        if total is None:
            self._line = f"{what}: {beside or f'{done:,}'}"
        else:
            self._line = f"{what}: {done:,} of {total:,}{f' ({beside})' if beside else ''}"
        if new or time.monotonic() - self._told >= LINE_EVERY:
            self._tell()

    def _tell(self) -> None:
        """The line that is due, if it was not told."""
        if self._line != self._last:
            click.echo(self._line, err=True)
            self._told, self._last = time.monotonic(), self._line

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
