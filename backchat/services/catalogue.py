"""The models that this server can be asked for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any, Self

import structlog

from backchat.domain.model import ModelInfo
from backchat.errors import NotFound, ProviderError
from backchat.services.embedders import Embedders
from backchat.services.modeltable import ModelTable, model_table
from backchat.services.providers import Configured, Providers

log = structlog.get_logger(source=__name__)
KEEP_FAILURE = timedelta(seconds=30)
LONGEST = 60
"""Seconds that a listing may take in the background."""
PAGE = 1000
"""Most models of a page."""


@dataclass(slots=True)
class _Listing:
    """What a provider listed last, and until when that counts; ``task`` while it is being asked."""

    of: Configured
    names: Sequence[str] = ()
    until: datetime | None = None
    task: asyncio.Task[None] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFilter:
    """What a caller wants to see; None is everything.

    ``provider`` is compared without regard to case, an unknown ``kind`` matches nothing. ``skip`` and ``limit`` cut a
    page out of what matches, and are clamped to what makes sense.
    """

    kind: str | None = None
    provider: str | None = None
    tools: bool | None = None
    min_context: int | None = None
    max_context: int | None = None
    min_dimensions: int | None = None
    max_dimensions: int | None = None
    skip: int = 0
    limit: int = 100

    def matches(self, model: ModelInfo) -> bool:
        return (
            (self.kind is None or model.kind == self.kind.lower())
            and (self.provider is None or model.provider.lower() == self.provider.lower())
            and (self.tools is None or model.tools == self.tools)
            and _within(model.context, self.min_context, self.max_context)
            and _within(model.dimensions or 0, self.min_dimensions, self.max_dimensions)
        )

    def page(self, models: Sequence[ModelInfo]) -> tuple[Sequence[ModelInfo], int]:
        """The page, and how many match in all."""
        found = [model for model in models if self.matches(model)]
        start = max(0, self.skip)
        return found[start : start + min(max(1, self.limit), PAGE)], len(found)


def _within(value: int, least: int | None, most: int | None) -> bool:
    return (least is None or value >= least) and (most is None or value <= most)


class Catalogue:
    """What the configured providers list, with what the packaged table knows of it; and the configured embedders.

    A provider is asked at most once in ``keep_seconds``, once at a time, and waited for at most ``patience`` seconds;
    until its list is there, or if it fails, its configured model stands for it, or the list it gave before. One that is
    configured anew begins without a list. What asks goes on in the background: use the catalogue as an async context
    manager.
    """

    def __init__(
        self,
        providers: Providers,
        embedders: Embedders,
        *,
        now: Callable[[], datetime],
        keep_seconds: float = 300,
        patience: float = 3,
    ) -> None:
        self._providers, self._embedders, self._now = providers, embedders, now
        self._keep, self._patience = timedelta(seconds=keep_seconds), patience
        self._listings: dict[str, _Listing] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def models(self) -> Sequence[ModelInfo]:
        """Every model, provider by provider in the order of the configuration, the configured model first."""
        listings = self._current()
        for listing in listings:
            self._refresh(listing)
        if tasks := [listing.task for listing in listings if listing.task is not None]:
            await asyncio.wait(tasks, timeout=self._patience)
        table = await asyncio.to_thread(model_table)
        found: list[ModelInfo] = []
        for listing in listings:
            found += _models(listing.of, listing.names, table)
        return [*found, *self.embedding_models()]

    async def browse(self, wanted: ModelFilter) -> tuple[Sequence[ModelInfo], int]:
        """A page of the models that match, and how many match in all."""
        return wanted.page(await self.models())

    async def model(self, name: str) -> ModelInfo:
        """The model of that name, or of that ``provider/name``, without regard to case. Raises NotFound."""
        return _named(await self.models(), name)

    async def context(self, provider: str, model: str) -> int:
        """Tokens that go into a model, 0 if that is not known. Asks the packaged table only, and no provider."""
        configured = self._providers.configured.get(provider)
        if configured is None:
            return 0
        loaded = model_table.cache_info().currsize > 0
        table = model_table() if loaded else await asyncio.to_thread(model_table)
        return int(table.find(configured.use, model).get("context", 0))

    def providers(self) -> Sequence[str]:
        return tuple(self._providers.configured)

    def embedding_models(self) -> Sequence[ModelInfo]:
        """One for each configured embedder, the default first."""
        return [
            ModelInfo(name=e.model, provider=name, kind="embedding", context=e.context, dimensions=e.dimensions)
            for name, e in self._embedders.configured.items()
        ]

    def browse_embedding_models(self, wanted: ModelFilter) -> tuple[Sequence[ModelInfo], int]:
        return wanted.page(self.embedding_models())

    def embedding_model(self, name: str) -> ModelInfo:
        """Like ``model``, of the embedding models only. Raises NotFound."""
        return _named(self.embedding_models(), name)

    def embedding_providers(self) -> Sequence[str]:
        return tuple(self._embedders.configured)

    def image_models(self) -> Sequence[ModelInfo]:
        """None: this server makes no images."""
        return ()

    def video_models(self) -> Sequence[ModelInfo]:
        """None: this server makes no videos."""
        return ()

    # ---- what providers list ----------------------------------------------------------------------------------------

    def _current(self) -> Sequence[_Listing]:
        """One for each provider that is configured now."""
        before = self._listings
        self._listings = {}
        for name, configured in self._providers.configured.items():
            listing = before.get(name)
            self._listings[name] = listing if listing and listing.of is configured else _Listing(configured)
        return list(self._listings.values())

    def _refresh(self, listing: _Listing) -> None:
        fresh = listing.until is not None and self._now() < listing.until
        if not fresh and listing.task is None:
            listing.task = task = asyncio.create_task(self._ask(listing), name=f"models of {listing.of.name}")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _ask(self, listing: _Listing) -> None:
        try:
            async with asyncio.timeout(LONGEST):
                listing.names = await listing.of.provider.models()
            listing.until = self._now() + self._keep
        except (ProviderError, TimeoutError) as error:
            listing.until = self._now() + min(self._keep, KEEP_FAILURE)
            code = error.code if isinstance(error, ProviderError) else "timeout"
            log.warning("models.not_listed", provider=listing.of.name, code=code)
        except Exception:  # a provider that breaks its port must not take the other ones' models along
            listing.until = self._now() + min(self._keep, KEEP_FAILURE)
            log.exception("models.not_listed", provider=listing.of.name)
        finally:
            listing.task = None


def _models(configured: Configured, listed: Sequence[str], table: ModelTable) -> list[ModelInfo]:
    first = configured.provider.model
    found = [_info(configured, first, table.find(configured.use, first), table)]
    for name in sorted(set(listed) - {first}):
        known = table.find(configured.use, name)
        if "mode" not in known:  # one that talks
            found.append(_info(configured, name, known, table))
    return found


def _info(configured: Configured, name: str, known: Mapping[str, Any], table: ModelTable) -> ModelInfo:
    """A model can do what its provider is configured for, unless the table knows better."""
    abilities = configured.provider.abilities
    known = {name: value for name, value in known.items() if name not in ("mode", "minute_price")}
    can = {
        what: getattr(abilities, what) and (not known or known.get(what, False))
        for what in ("tools", "vision", "reasoning")
    }
    as_of = table.as_of if known else None
    return ModelInfo(**{**known, **can}, name=name, provider=configured.name, as_of=as_of)


def _named(models: Sequence[ModelInfo], name: str) -> ModelInfo:
    wanted = name.lower()
    for called in (lambda m: m.name, lambda m: f"{m.provider}/{m.name}"):
        for model in models:
            if called(model).lower() == wanted:
                return model
    raise NotFound("no such model")
