"""Tables as text in which a fact stands beside the name of its column."""

from __future__ import annotations

from collections.abc import Sequence

LARGE = 4 << 20
"""Characters from which on the names of the columns come once in a while only."""
AGAIN = 10
"""Rows between two of those."""


def written(rows: Sequence[Sequence[str]]) -> str:
    """A line for each row: ``River: Rhine; Length: 1233`` under a header, else the cells with bars between."""
    full = [[_line(cell) for cell in row] for row in rows]
    full = [row for row in full if any(row)]
    if not full:
        return ""
    head = full[0]
    if len(full) < 2 or not _names(head):
        return "\n".join(" | ".join(cell for cell in row if cell) for row in full)
    names = sum(len(name) + 4 for name in head)
    if names * len(full) > LARGE:
        return _compact(head, full[1:])
    lines = [" | ".join(head)]
    for row in full[1:]:
        cells = [f"{name}: {cell}" for name, cell in zip(head, row, strict=False) if cell]
        lines.append("; ".join([*cells, *filter(None, row[len(head) :])]))
    return "\n".join(lines)


def _compact(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines: list[str] = []
    for n, row in enumerate(rows):
        if n % AGAIN == 0:
            lines.append(" | ".join(head))
        lines.append(" | ".join(row))
    return "\n".join(lines)


def _names(row: Sequence[str]) -> bool:
    """Whether a first row names columns: different words, none missing, none a number."""
    return len(row) > 1 and all(row) and len(set(row)) == len(row) and not any(_number(cell) for cell in row)


def _number(cell: str) -> bool:
    return not any(c.isalpha() for c in cell)


def _line(cell: str) -> str:
    return " ".join(cell.split())
