"""Lists for people: a table as wide as the terminal; on a pipe, one line a row, whole."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

PIPE_WIDTH = 1000


def show(
    columns: Sequence[str], rows: Iterable[Sequence[str]], *, numbers: int = 0, cropped: Collection[str] = ()
) -> None:
    """Print a table. What is in the cells is only text, never markup. The last ``numbers`` columns are numbers.

    On a terminal that is too narrow, lines are folded; if there are ``cropped`` columns, only the beginning of what is
    in those is shown, and the others are whole. Those of them in which nothing is are left out.
    """
    rows, whole = list(rows), not sys.stdout.isatty()
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=not cropped, collapse_padding=bool(cropped))
    shortened = [n for n, column in enumerate(columns) if column in cropped]
    kept = [n for n in range(len(columns)) if whole or n not in shortened or any(row[n] for row in rows)]
    for n in kept:
        table.add_column(
            columns[n],
            overflow="ellipsis" if n in shortened else "fold",
            no_wrap=bool(shortened) and n not in shortened,
            min_width=max(map(len, [columns[n], *[row[n] for row in rows]]))
            if shortened and n == 0 and n not in shortened
            else None,
            justify="right" if n >= len(columns) - numbers else "left",
        )
    for row in rows:
        table.add_row(*[Text(row[n], no_wrap=n in shortened or None) for n in kept])
    Console(width=PIPE_WIDTH if whole else None, soft_wrap=False).print(table)


def minute(moment: datetime | None) -> str:
    return "" if moment is None else f"{moment:%Y-%m-%d %H:%M}"
