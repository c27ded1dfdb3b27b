"""Figures to Markdown: on the screen, and in ``bench/results``."""

from __future__ import annotations

import os
import platform
import sqlite3
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

RESULTS = Path(__file__).parent / "results"
Cell = str | float | int | None


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which ``share`` of them lie (nearest rank)."""
    if not values:
        return float("nan")
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def _cell(value: Cell) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:,.1f}" if abs(value) >= 100 else f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) else value


def table(rows: Sequence[Mapping[str, Cell]]) -> str:
    columns = list(dict.fromkeys(name for row in rows for name in row))
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    lines += ["| " + " | ".join(_cell(row.get(name)) for name in columns) + " |" for row in rows]
    return "\n".join(lines)


def environment(directory: Path) -> str:
    """Where the figures come from, the disk included: most of what durability costs is its flush."""
    probe = directory / "flush"
    times = []
    with probe.open("wb") as file:
        for _ in range(50):
            file.seek(0)
            file.write(os.urandom(4096))
            file.flush()
            began = time.perf_counter()
            os.fdatasync(file.fileno())
            times.append(time.perf_counter() - began)
    probe.unlink()
    packages = ", ".join(f"{name} {version(name)}" for name in ("backchat", "aiohttp", "uvloop"))
    return (
        f"{time.strftime('%Y-%m-%d %H:%M')}, Python {platform.python_version()}, {packages}, SQLite "
        f"{sqlite3.sqlite_version}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.2f}, "
        f"fdatasync of 4 KiB {percentile(times, 0.5) * 1e6:.0f} µs (p50)"
    )


@dataclass(slots=True)
class Report:
    """One measurement. ``goals`` are lines for people; ``faults`` make the run fail."""

    name: str
    what: str
    tables: list[str] = field(default_factory=list)
    goals: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def add(self, rows: Sequence[Mapping[str, Cell]], caption: str = "") -> None:
        self.tables.append((f"{caption}\n\n" if caption else "") + table(rows))

    def goal(self, what: str, value: float, limit: float, *, at_least: bool = False, unit: str = "") -> None:
        met = value >= limit if at_least else value <= limit
        sign = ">=" if at_least else "<="
        unit = f" {unit}" if unit else ""
        self.goals.append(f"{'met   ' if met else 'MISSED'} {what}: {value:.3g}{unit} (goal {sign} {limit:g}{unit})")

    def fault(self, what: str, faults: Sequence[str]) -> None:
        if faults:
            self.faults.append(f"{what}: {len(faults)} failed, first: {faults[0]}")

    def publish(self, where: str) -> None:
        goals = "\n".join(f"- {line}" for line in self.goals)
        faults = "\n".join(f"- FAULT {line}" for line in self.faults)
        parts = (f"## {self.name}", self.what, *self.tables, goals, faults, where)
        text = "\n\n".join([part for part in parts if part]) + "\n"
        print(text, flush=True)
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / f"{time.strftime('%Y%m%d-%H%M%S')}-{self.name}.md").write_text(text, encoding="utf-8")


def note(line: str) -> None:
    """Progress, beside the results."""
    print(line, file=sys.stderr, flush=True)
