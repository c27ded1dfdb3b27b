"""Lists for people: a table as wide as the terminal; on a pipe, one line a row, whole."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from datetime import datetime

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

PIPE_WIDTH = 1000


def show(columns: Sequence[str], rows: Iterable[Sequence[str]], *, numbers: int = 0) -> None:
    """Print a table. What is in the cells is only text, never markup. The last ``numbers`` columns are numbers."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for n, column in enumerate(columns, numbers - len(columns)):
        table.add_column(column, overflow="fold", justify="right" if n >= 0 else "left")
    for row in rows:
        table.add_row(*[Text(cell) for cell in row])
    Console(width=None if sys.stdout.isatty() else PIPE_WIDTH, soft_wrap=False).print(table)


def minute(moment: datetime | None) -> str:
    return "" if moment is None else f"{moment:%Y-%m-%d %H:%M}"
