"""A running server reads its configuration again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import structlog
from aiohttp import web

from backchat.app import OPEN_PROVIDERS
from backchat.config import Config
from backchat.errors import ConfigError
from backchat.services.reloads import Reload
from backchat.web.keys import SERVICES

log = structlog.get_logger(source="backchat.server")


async def can_be_asked(app: web.Application) -> None:
    """From now on ``backchat reload`` finds this process."""
    app[SERVICES].workers.reload = Reload(began=time.monotonic())
    await app[SERVICES].workers.beat()


async def reread_when_asked(app: web.Application, asked: asyncio.Event, reread: Callable[[], Config]) -> None:
    """For as long as the server runs. How it went is in the log, and in the record of this process."""
    workers = app[SERVICES].workers
    while True:
        await asked.wait()
        asked.clear()
        workers.reload = await _reread(app, reread, time.monotonic())
        try:
            await workers.beat()
        except Exception:  # a store that fails now: the next beat tells it
            log.exception("worker.failed", work="beat")


async def _reread(app: web.Application, reread: Callable[[], Config], began: float) -> Reload:
    providers = app[OPEN_PROVIDERS]
    try:
        config = await asyncio.to_thread(reread)
        changes = await providers.renew(config)
    except ConfigError as error:
        log.error("config.refused", problems=list(error.problems))
        return Reload(began=began, problems=error.problems)
    except Exception:
        log.exception("config.not_read")
        return Reload(began=began, problems=("it could not be read: see the server's log",))
    log.info("config.reloaded", changes=list(changes))
    restart = providers.unfollowed(config)
    if restart:
        log.warning("config.restart_needed", sections=list(restart))
    return Reload(began=began, changes=changes, restart=restart)
