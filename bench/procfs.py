"""What the kernel knows of a process and its children. Linux only."""

from __future__ import annotations

import os
import time
from pathlib import Path

_PAGE_KIB = os.sysconf("SC_PAGE_SIZE") / 1024


def tree(pid: int) -> list[int]:
    """The process and everything below it that is alive."""
    found, todo = [], [pid]
    while todo:
        current = todo.pop()
        try:
            tasks = os.listdir(f"/proc/{current}/task")
            found.append(current)
            for task in tasks:
                todo += map(int, Path(f"/proc/{current}/task/{task}/children").read_text().split())
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def cpu_seconds(pid: int) -> float:
    """CPU time of the tree: every thread, also those that have ended.

    Read from each process's own clock (``clock_getcpuclockid``), in nanoseconds: ``/proc/<pid>/stat`` counts ticks of
    10 ms, and the ``schedstat`` of the tasks forgets a thread that is gone.
    """
    total = 0
    for process in tree(pid):
        try:
            total += time.clock_gettime_ns((~process << 3) | 2)
        except OSError:
            continue
    return total / 1e9


def reaped_seconds(pid: int) -> float:
    """CPU time of the process's children that have ended, and theirs, in ticks of 10 ms."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[13]) + int(fields[14])) / os.sysconf("SC_CLK_TCK")


def waited_seconds(pid: int) -> float:
    """How long the main thread was runnable but had no core: other work was in its way."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e9


def rss_kib(pid: int) -> float:
    """Resident memory of the tree."""
    total = 0
    for process in tree(pid):
        try:
            total += int(Path(f"/proc/{process}/statm").read_text().split()[1])
        except (FileNotFoundError, ProcessLookupError):
            continue
    return total * _PAGE_KIB


def peak_rss_kib(pid: int) -> float:
    """The most resident memory that the process itself ever had (``VmHWM``)."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return float(next(line for line in lines if line.startswith("VmHWM:")).split()[1])


def pss_kib(pid: int) -> float:
    """Resident memory with shared pages divided among their users."""
    total = 0
    for process in tree(pid):
        for line in Path(f"/proc/{process}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1])
    return float(total)


def open_files(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def threads(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/task"))


def cores() -> tuple[int, int]:
    """The core for the process under test and the one for the rig; the same one where there is only one."""
    available = sorted(os.sched_getaffinity(0))
    return available[-1], available[0]
