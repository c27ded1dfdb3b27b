"""What a server holds that nobody uses."""

from __future__ import annotations

import asyncio
from statistics import median

from bench.arena import Options, warm_up, workplace
from bench.processes import upstream
from bench.procfs import open_files, pss_kib, rss_kib, threads
from bench.report import Cell, Report
from bench.server import backchat, configuration


async def measure(options: Options) -> Report:
    starts = options.round_count(2, 5)
    report = Report("idle", f"Memory of `backchat serve`, {starts} starts each, 3 s after it was ready.")
    rows: list[dict[str, Cell]] = []
    resident: dict[str, float] = {}
    for name in ("minimal configuration", "API keys, openai"):
        seconds, rss, pss, files, tasks, used = [], [], [], [], [], []
        for _ in range(starts):
            with workplace(options.directory) as directory, upstream(options.ports, directory):
                config = None if name.startswith("minimal") else configuration(options.ports)
                with backchat(directory, options.ports + 2, config) as server:
                    key = server.create_key() if config is not None else None
                    seconds.append(server.start())
                    await asyncio.sleep(3)
                    rss.append(rss_kib(server.pid) / 1024)
                    pss.append(pss_kib(server.pid) / 1024)
                    files.append(open_files(server.pid))
                    tasks.append(threads(server.pid))
                    if key is not None:
                        await warm_up(server.target(key), clients=32, turns=options.pick(3, 30))
                        used.append(rss_kib(server.pid) / 1024)
        resident[name] = median(rss)
        rows.append(
            {
                "server": name,
                "RSS MiB": median(rss),
                "PSS MiB": median(pss),
                "after turns of 32 clients, MiB": median(used) if used else None,
                "open files": median(files),
                "threads": median(tasks),
                "ready after s": median(seconds),
            }
        )
    report.add(rows)
    report.goal("idle memory, minimal configuration", resident["minimal configuration"] * 1.048576, 90, unit="MB")
    return report
