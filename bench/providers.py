"""What a token costs in each provider, beside reading the same bytes with bare aiohttp."""

from __future__ import annotations

import asyncio
import gc
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Any

import aiohttp

from backchat.domain.message import Text
from backchat.domain.run import TextDelta
from backchat.plugins import Plugins
from backchat.ports.providers import LLMProvider, ModelRequest, PromptMessage
from bench.arena import Options, workplace
from bench.processes import RIG_CORE, Child
from bench.protocols import MODEL
from bench.report import Report, percentile
from bench.wire import HOST

REQUEST = ModelRequest(messages=[PromptMessage("user", (Text("hi"),))])
PROVIDERS: Mapping[str, tuple[str, Mapping[str, Any], str]] = {
    "openai": ("openai", {}, "/v1/chat/completions"),
    "openai, Responses": ("openai", {"api": "responses"}, "/v1/responses"),
    "anthropic": ("anthropic", {}, "/v1/messages"),
    "google": ("google", {}, f"/v1beta/models/{MODEL}:streamGenerateContent"),
    "ollama": ("ollama", {}, "/api/chat"),
}
"""The component, options, and where it asks."""


@dataclass(frozen=True, slots=True)
class Contender:
    """``provider`` and ``raw`` read one whole answer each; the first says how many characters of text were in it."""

    name: str
    provider: Callable[[], Awaitable[int]]
    raw: Callable[[], Awaitable[None]]


@asynccontextmanager
async def contenders(port: int, tokens: int, gap: float) -> AsyncIterator[list[Contender]]:
    base = f"http://{HOST}:{port}/t{tokens}-g{gap:g}"
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)))
        plugins = Plugins(from_entry_points=True)
        found = []
        for name, (use, options, path) in PROVIDERS.items():
            section = {"model": MODEL, "base_url": base + ("/v1" if use == "openai" else ""), **options}
            component: Any = plugins.providers.pick(use)
            if "api_key" in component.schema.fields and component.schema.fields["api_key"].required:
                section["api_key"] = "sk-none"
            provider = await stack.enter_async_context(component.open(component.schema.load(section)))
            found.append(Contender(name, partial(_through, provider), partial(_bare, session, base + path)))
        yield found


async def _through(provider: LLMProvider) -> int:
    said = 0
    async with aclosing(provider.stream(REQUEST)) as events:
        async for event in events:
            if type(event) is TextDelta:
                said += len(event.text)
    return said


async def _bare(session: aiohttp.ClientSession, url: str) -> None:
    async with session.post(url, data=b"{}") as response:
        while await response.content.readany():
            pass


async def _cpu(work: Callable[[], Awaitable[Any]], streams: int) -> tuple[float, list[Any]]:
    """CPU seconds of this process for so many at once, and what they answered."""
    gc.collect()
    began = time.process_time()
    answers = await asyncio.gather(*[work() for _ in range(streams)])
    return time.process_time() - began, answers


async def measure(options: Options) -> Report:
    tokens = options.pick(50, 250)
    rounds = options.round_count(3, 9)
    report = Report(
        "providers", f"Answers of {tokens} tokens, {rounds} rounds, interleaved; microseconds of CPU a token."
    )
    with workplace(options.directory) as directory:
        args = [sys.executable, "-m", "bench.protocols", "--port", str(options.ports)]
        upstream = Child("protocols", args, core=RIG_CORE, log=directory / "upstream.log")
        try:
            upstream.wait_for(f"http://{HOST}:{options.ports}/ready")
            for caption, streams, gap in (
                ("20 streams at once, a token every 4 ms: each comes in a read of its own", 20, 4.0),
                ("4 streams at once, as fast as they go: many tokens in a read", 4, 0.0),
            ):
                async with contenders(options.ports, tokens, gap) as found:
                    report.add(await _table(report, found, rounds, streams, tokens), caption)
        finally:
            upstream.stop()
    return report


async def _table(
    report: Report, found: list[Contender], rounds: int, streams: int, tokens: int
) -> list[dict[str, str | float]]:
    costs: dict[str, list[tuple[float, float]]] = {one.name: [] for one in found}
    for one in found:
        await _cpu(one.provider, 1)
        await _cpu(one.raw, 1)
    for _ in range(rounds):
        for one in found:
            with_provider, said = await _cpu(one.provider, streams)
            bare, _ = await _cpu(one.raw, streams)
            report.fault(one.name, [str(n) for n in said if n != 6 * tokens])
            costs[one.name].append((with_provider, bare))
    each = 1e6 / (streams * tokens)
    rows: list[dict[str, str | float]] = []
    for name, pairs in costs.items():
        ratios = [with_provider / bare for with_provider, bare in pairs]
        spread = f"{median(ratios):.2f} ({min(ratios):.2f} - {percentile(ratios, 1):.2f})"
        rows.append(
            {
                "provider": name,
                "µs a token": median([p for p, _ in pairs]) * each,
                "bare aiohttp": median([b for _, b in pairs]) * each,
                "ratio, median (lowest - highest)": spread,
                "added µs a token": median([p - b for p, b in pairs]) * each,
            }
        )
    return rows
