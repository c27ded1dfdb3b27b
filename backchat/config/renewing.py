"""The configured providers, opened; and opened anew where the configuration says something else by now."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Self

import structlog

from backchat.config.opening import opened_provider
from backchat.config.sections import Config, Selected
from backchat.domain.limits import ProviderLimits
from backchat.errors import ConfigError
from backchat.ports.metrics import Meter
from backchat.ports.providers import LLMProvider, ProviderBackend, ProviderWrapper
from backchat.services.guarding import Guarded
from backchat.services.providers import Configured, Providers
from backchat.services.titles import namer

log = structlog.get_logger(source=__name__)
Chosen = Selected[ProviderBackend | ProviderWrapper]

OPENING = 60.0
"""Seconds that the opening of a provider may take."""
CLOSING = 10.0
"""Seconds for which one is waited for that is to stop opening."""
_FOLLOWED = ("providers", "default_provider", "fallback")
_INSTALLED = ("extractors", "importers", "authorize", "uses_data")
"""What a configuration does not say, or says with something else."""


@dataclass(slots=True)
class _Kept:
    """An opened provider. One task opens and closes it, as some libraries want; it is closed when ``over`` is set."""

    over: asyncio.Event = field(default_factory=asyncio.Event)
    opened: asyncio.Future[LLMProvider] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    async def keep(self, name: str, selected: Chosen) -> None:
        try:
            async with opened_provider(selected) as provider:
                self.opened.set_result(provider)
                await self.over.wait()
        except asyncio.CancelledError:
            self.opened.cancel()
            raise
        except Exception as error:
            if not self.opened.done():
                self.opened.set_exception(error)
            else:  # whoever still waits for anything has got it
                log.exception("provider.not_closed", provider=name)


class OpenProviders:
    """``providers`` are those of the configuration that was read last, each with its guard. An async context manager.

    A guard stays, whatever becomes of its provider: whoever has it asks who answers under that name now.
    """

    def __init__(self, config: Config, meter: Meter) -> None:
        self._meter, self._config = meter, config
        self._guards: dict[str, Guarded] = {}
        self._says: Mapping[str, object] = {}
        self._tasks: dict[asyncio.Task[None], _Kept] = {}
        self.providers = Providers({}, config.default_provider)

    async def __aenter__(self) -> Self:
        """Raises ConfigError for a provider that cannot be opened."""
        await self.renew(self._config)
        return self

    async def __aexit__(self, *_: object) -> None:
        for guard in self._guards.values():
            guard.withdraw()
        await self._close(list(self._tasks))

    async def renew(self, config: Config) -> Sequence[str]:
        """Take over what this configuration says of providers; what changes by it, in lines for people.

        All is opened that has to be, before anything changes; then all of it changes at once. Streams end with the
        provider they began with, which is closed after its last one. Raises ConfigError, and has changed nothing then.
        """
        says = {name: compared(selected) for name, selected in config.providers.items()}
        begun: dict[str, asyncio.Task[None]] = {}
        fresh: dict[str, LLMProvider] = {}
        try:
            for name, selected in config.providers.items():
                if self._says.get(name) != says[name]:
                    begun[name], opening = self._open(name, selected)
                    await asyncio.wait((opening,), timeout=OPENING)  # which a cancellation does not cancel
                    if not opening.done():
                        raise ConfigError(f"providers.{name}: it did not open within {OPENING:g} seconds")
                    fresh[name] = opening.result()
            namer({name: Configured(name, "", fresh.get(name) or self._guards[name]) for name in says}, config.titles)
        except BaseException:
            await self._close(list(begun.values()))
            raise
        return self._become(config, says, {n: (p, self._tasks[begun[n]].over) for n, p in fresh.items()})

    def unfollowed(self, config: Config) -> Sequence[str]:
        """The sections that say something else than when the server started, and are read then only."""
        names = [f.name for f in fields(Config) if f.name not in (*_FOLLOWED, *_INSTALLED)]
        return [name for name in names if compared(getattr(config, name)) != compared(getattr(self._config, name))]

    def _open(self, name: str, selected: Chosen) -> tuple[asyncio.Task[None], asyncio.Future[LLMProvider]]:
        kept = _Kept()
        task = asyncio.create_task(kept.keep(name, selected), name=f"provider {name}")
        self._tasks[task] = kept
        task.add_done_callback(self._tasks.pop)
        return task, kept.opened

    def _become(
        self, config: Config, says: Mapping[str, object], fresh: Mapping[str, tuple[LLMProvider, asyncio.Event]]
    ) -> Sequence[str]:
        before, changes = self.providers, list[str]()
        configured: dict[str, Configured] = {}
        for name, selected in config.providers.items():
            limits: ProviderLimits = selected.common["limits"]
            guard = self._guards.get(name)
            if guard is None:
                guard = self._guards[name] = Guarded(name, self._meter, limits)
            elif guard.limits != limits and name in before.configured:
                changes.append(f"providers.{name}.limits: changed")
            guard.limit(limits)
            if name in fresh:
                guard.serve(*fresh[name])
                configured[name] = Configured(name, selected.innermost.name, guard)
                changes.append(f"providers.{name}: {'opened anew' if name in before.configured else 'added'}")
            else:
                configured[name] = before.configured[name]
        for name in before.configured.keys() - configured.keys():
            self._guards[name].withdraw()
            changes.append(f"providers.{name}: taken out")
        if config.default_provider != before.default:
            changes.append(f"default_provider: {config.default_provider}")
        if list(config.fallback) != list(before.fallback):
            changes.append(f"fallback: {', '.join(config.fallback) or 'none'}")
        before.become(Providers(configured, config.default_provider, config.fallback))
        self._says = says
        return changes

    async def _close(self, tasks: Sequence[asyncio.Task[None]]) -> None:
        opened, opening = list[asyncio.Task[None]](), list[asyncio.Task[None]]()
        for task in tasks:
            kept = self._tasks.get(task)
            if kept is not None:
                kept.over.set()  # also for one that opens in spite of everything
            if kept is not None and kept.opened.done():
                opened.append(task)
            else:
                task.cancel()
                opening.append(task)
        if opening:  # one that cannot be cancelled holds nobody up
            await asyncio.wait(opening, timeout=CLOSING)
        if opened:
            await asyncio.wait(opened)


def compared(node: Any) -> object:
    """What can be compared of a part of a configuration: components are made anew each time it is read."""
    if isinstance(node, Selected):
        own = (node.path, node.name, node.settings, compared(node.inner) if node.inner else None)
        return own if node.path.startswith("providers.") else (*own, node.common)
    if isinstance(node, Mapping):
        return [(name, compared(child)) for name, child in node.items()]
    if isinstance(node, tuple):
        return [compared(child) for child in node]
    return node
