"""The composition root: config in, web.Application out. The only file that knows every part."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import cache

import orjson
import uuid_utils
from aiohttp import web

from backchat.config import Config, OpenProviders, opened
from backchat.errors import ConfigError
from backchat.ports.metrics import Meter
from backchat.ports.storage import OnCommit, RecordStore
from backchat.services.accounts import Accounts
from backchat.services.assembly import Parts, assembled
from backchat.services.container import Services
from backchat.services.copying_marks import unfinished_business
from backchat.services.embedders import Embedders
from backchat.services.kinds import KINDS
from backchat.services.providers import Providers
from backchat.services.runs import RunTimes
from backchat.services.toolbox import Offered
from backchat.web.cors import allow_origins
from backchat.web.dialect import mount
from backchat.web.errors import errors
from backchat.web.keys import (
    AUTHENTICATORS,
    BODY_LIMIT,
    DIALECT_SETTINGS,
    DIALECTS,
    METRICS,
    OPENAPI,
    OPENINGS,
    PROXIES,
    SERVICES,
    STREAMS,
)
from backchat.web.metrics import Metrics
from backchat.web.openapi import document
from backchat.web.pages import add_pages
from backchat.web.requests import requests, sign
from backchat.web.sse import end_streams

OPEN_PROVIDERS = web.AppKey("backchat.open_providers", OpenProviders)


def now() -> datetime:
    return datetime.now(UTC)


def new_id() -> str:
    return str(uuid_utils.uuid7())


@asynccontextmanager
async def open_store(config: Config, on_commit: OnCommit = lambda batches: None) -> AsyncIterator[RecordStore]:
    """The configured store, for the server and for commands that work beside it.

    Raises ConfigError for one that is not whole.
    """
    async with opened(config.storage, KINDS, on_commit) as store:
        if business := await unfinished_business(store):
            raise ConfigError(f"{config.storage.path}: the storage holds {business}")
        yield store


@asynccontextmanager
async def open_accounts(config: Config) -> AsyncIterator[Accounts]:
    """The accounts of the configured store."""
    async with open_store(config) as store:
        yield Accounts(store, now=now, new_id=new_id)


@asynccontextmanager
async def open_services(
    config: Config, meter: Meter, providers: Providers, clock: Callable[[], datetime] = now
) -> AsyncIterator[Services]:
    """The configured components and the services over them, closed in reverse."""
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(open_store(config, meter.committed))
        embedders = {
            name: await stack.enter_async_context(opened(selected)) for name, selected in config.embedders.items()
        }
        replies = config.replies
        parts = Parts(
            store=store,
            providers=providers,
            memory=await stack.enter_async_context(opened(config.memory)),
            strategies={
                name: await stack.enter_async_context(opened(selected)) for name, selected in config.strategies.items()
            },
            learner=await stack.enter_async_context(opened(config.learning)),
            embedders=Embedders(embedders),
            extractors=config.extractors,
            importers=config.importers,
            limits=config.documents,
            titles=config.titles,
            retention=config.retention,
            imports=config.imports,
            sessions=config.sessions,
            vault=config.vault,
            credits=config.credits,
            tools=await _tools(config, stack),
            agents={s.name: await stack.enter_async_context(opened(s)) for s in config.agents},
            transcriber=await stack.enter_async_context(opened(config.transcription)) if config.transcription else None,
            authorize=config.authorize,
            times=RunTimes(
                keep=timedelta(seconds=replies.keep),
                wait=timedelta(seconds=replies.wait),
                limit=timedelta(seconds=replies.max_duration),
                lease=timedelta(seconds=replies.lease),
                tool_time=timedelta(seconds=replies.tool_time),
                tool_rounds=replies.tool_rounds,
            ),
            meter=meter,
            now=clock,
            new_id=new_id,
        )
        yield await stack.enter_async_context(assembled(parts))


async def _tools(config: Config, stack: AsyncExitStack) -> Sequence[Offered]:
    """The tools of all sources. Raises ConfigError if two have one name, or one to be confirmed is not there."""
    found: dict[str, Offered] = {}
    for selected in config.tools:
        tools = {tool.definition.name: tool for tool in await stack.enter_async_context(opened(selected))}
        for name, tool in tools.items():
            if name in found:
                raise ConfigError(f"{selected.path}: another tool is called {name!r} already")
            found[name] = Offered(tool, selected.common.always, selected.common.confirmed(name))
        if missing := selected.common.unknown(tools):
            there = ", ".join(tools) or "none"
            raise ConfigError(f"{selected.path}.confirm: no tool {missing[0]!r} here; there are: {there}")
    return tuple(found.values())


def build_app(config: Config, clock: Callable[[], datetime] = now) -> web.Application:
    """The application; everything with a lifetime opens at its start, in order, and closes in reverse."""
    app = web.Application(middlewares=[requests], client_max_size=config.server.body_limit)
    allow_origins(app, config.server.cors_origins)
    app.middlewares.append(errors)
    app[DIALECTS] = {}
    app[BODY_LIMIT] = config.server.body_limit
    app[STREAMS] = set()
    app[OPENINGS] = set()
    app[METRICS] = metrics = Metrics()
    app[PROXIES] = config.server.proxies
    app[DIALECT_SETTINGS] = {selected.name: selected.settings for selected in config.dialects}
    add_pages(app)
    for selected in config.dialects:
        mount(app, selected.component)
    openapi: Callable[[], bytes] = cache(lambda: orjson.dumps(document(app)))
    app[OPENAPI] = openapi

    async def parts(app: web.Application) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            opened_now = app[OPEN_PROVIDERS] = await stack.enter_async_context(OpenProviders(config, metrics))
            services = app[SERVICES] = await stack.enter_async_context(
                open_services(config, metrics, opened_now.providers, clock)
            )
            app[AUTHENTICATORS] = tuple(
                [await stack.enter_async_context(opened(selected, services.sessions)) for selected in config.auth]
            )
            yield

    app.cleanup_ctx.append(parts)
    app.on_shutdown.append(end_streams)
    app.on_response_prepare.append(sign)
    return app
