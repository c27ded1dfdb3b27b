"""The processes of ``backchat copy``, watched and killed."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from bench.processes import RIG_CORE, Child
from bench.procfs import peak_rss_kib
from bench.server import COMMAND
from bench.stores import Storage

ENDS = 900.0
"""Seconds that a copy may take."""
_DONE = re.compile(r"copied: ([\d,]+) records?, ([\d.]+) (bytes|kB|MB|GB), ([\d.]+) s")
_UNITS = {"bytes": 1e-6, "kB": 1e-3, "MB": 1.0, "GB": 1e3}


@dataclass(slots=True)
class Hop:
    """One copy: its processes, and what came of it."""

    name: str
    source: Storage
    target: Storage
    kills: int = 0
    peak: float = 0.0
    row: dict[str, str | int | float] = field(default_factory=dict)


class Copier:
    """Processes of ``backchat copy``, one after the other."""

    def __init__(self, directory: Path, hop: Hop, source: Path, target: Path) -> None:
        self._args = [COMMAND, "copy", str(source), str(target), "--data", str(directory / "none")]
        self._hop, self._log = hop, directory / f"copy-{hop.name}.log"
        self.child: Child | None = None

    def start(self) -> None:
        self._log.write_text("")
        self.child = Child("copy", self._args, core=RIG_CORE, log=self._log)

    def runs(self) -> bool:
        """Whether it does; looks at its memory meanwhile."""
        assert self.child is not None
        if self.child.process.poll() is not None:
            return False
        try:
            self._hop.peak = max(self._hop.peak, peak_rss_kib(self.child.pid) / 1024)
        except (OSError, StopIteration):
            return False
        return True

    async def die(self, seconds: float) -> None:
        """Let it copy for so long, then kill it. Raises RuntimeError if it has ended before."""
        await self.says("records: ")
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            if not self.runs():
                raise RuntimeError(f"{self._hop.name}: ended before it was killed: {self.words()}")
            await asyncio.sleep(0.05)
        assert self.child is not None
        self.child.kill()
        self._hop.kills += 1

    async def says(self, what: str) -> None:
        """Wait for a line. Raises RuntimeError if it ends without it."""
        await self._until(lambda: what in self.words())
        if what not in self.words():
            raise RuntimeError(f"{self._hop.name}: {self.words()}")

    async def end(self) -> None:
        """Wait for its end. Raises RuntimeError if that is not a good one."""
        await self._until(lambda: False)
        assert self.child is not None
        if await asyncio.to_thread(self.child.process.wait, ENDS):
            raise RuntimeError(f"{self._hop.name}: {self.words()}")

    async def _until(self, holds: Callable[[], bool]) -> None:
        """Or until it has ended, or has had its time."""
        deadline = time.monotonic() + ENDS
        while self.runs() and time.monotonic() < deadline and not holds():  # noqa: ASYNC110 - of another process
            await asyncio.sleep(0.05)

    def words(self) -> str:
        return self._log.read_text()

    def figures(self) -> tuple[int, float, float]:
        """Records, MB and seconds of the last process."""
        found = _DONE.search(self.words())
        if found is None:
            raise RuntimeError(f"{self._hop.name}: {self.words()}")
        records, amount, unit, seconds = found.groups()
        return int(records.replace(",", "")), float(amount) * _UNITS[unit], float(seconds)
