"""What most measurements stand on: the upstream, the yardstick and backchat, side by side."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import processes
from bench.load import Round, Target, open_connections, read, run_round
from bench.script import script
from bench.server import Backchat, backchat, configuration
from bench.wire import ask, request


@dataclass(frozen=True, slots=True)
class Options:
    """How to measure. ``ports`` and the two that follow are used; ``directory`` holds data meanwhile."""

    short: bool
    ports: int
    directory: Path | None
    rounds: int | None
    prefilled: Path | None = None
    storage: str = "sqlite"
    """As ``stores.storage`` names it. Only some measurements have the choice."""

    def pick(self, short: int, full: int) -> int:
        return short if self.short else full

    def round_count(self, short: int, full: int) -> int:
        return self.rounds or self.pick(short, full)


@dataclass(frozen=True, slots=True)
class Arena:
    directory: Path
    upstream: Target
    relay: Target
    backchat: Target
    server: Backchat

    async def upstream_counts(self) -> dict[str, Any]:
        counts: dict[str, Any] = (await ask(self.upstream.port, request("GET", "/stats"))).json()
        return counts

    async def reset_counts(self) -> None:
        await ask(self.upstream.port, request("POST", "/reset"))


@contextmanager
def workplace(parent: Path | None) -> Iterator[Path]:
    """A directory for the data of one measurement."""
    with tempfile.TemporaryDirectory(prefix="backchat-bench-", dir=parent) as name:
        yield Path(name)


@contextmanager
def arena(options: Options) -> Iterator[Arena]:
    upstream_port, relay_port, port = range(options.ports, options.ports + 3)
    with ExitStack() as stack:
        directory = stack.enter_context(workplace(options.directory))
        upstream = stack.enter_context(processes.upstream(upstream_port, directory))
        relay = stack.enter_context(processes.relay(relay_port, upstream_port, directory))
        server = stack.enter_context(backchat(directory, port, configuration(upstream_port)))
        key = server.create_key()
        server.start()
        yield Arena(
            directory,
            Target("upstream", upstream_port, upstream.pid),
            Target("relay", relay_port, relay.pid),
            server.target(key),
            server,
        )


async def warm_up(target: Target, *, clients: int, turns: int) -> Round:
    """Fast turns in new conversations, until code and caches are in their working state."""
    connections = await open_connections(target, clients)
    result = await run_round(target, connections, turns, lambda: script(16))
    for connection in connections:
        connection.drop()
    if result.failures:
        raise RuntimeError(f"{target.name} does not answer: {result.failures[0]}")
    return result


async def with_history(target: Target, *, clients: int, each: int, turns: int) -> list[list[str]]:
    """For every client ``each`` conversations of ``turns`` short turns, made the way a client makes them."""

    async def one(number: int) -> list[str]:
        made = []
        for _ in range(each):
            conversation = None
            for _ in range(turns):
                exchange = await connections[number].ask(target.turn(script(2), conversation))
                if exchange.status != 200:
                    raise RuntimeError(f"{target.name}: {exchange.status} {exchange.body()[:200]!r}")
                conversation = read(exchange).conversation
            assert conversation is not None
            made.append(conversation)
        return made

    connections = await open_connections(target, clients)
    try:
        return await asyncio.gather(*[one(number) for number in range(clients)])
    finally:
        for connection in connections:
            connection.drop()
