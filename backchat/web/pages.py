"""The routes that belong to no dialect: health, metrics, the OpenAPI document and its page."""

from __future__ import annotations

import asyncio
from importlib.resources import files

import structlog
from aiohttp import web

from backchat.web.keys import METRICS, OPENAPI, SERVICES

log = structlog.get_logger(source=__name__)
PATIENCE = 2.0
"""Seconds in which the store must answer for the server to be ready: who asks does not wait for its own timeout."""


async def healthz(request: web.Request) -> web.Response:
    """The process answers."""
    return web.json_response({"status": "ok"})


async def readyz(request: web.Request) -> web.Response:
    """Store and providers are open, the store answers and takes writes, and new runs are taken; else 503."""
    runs = request.app[SERVICES].runs
    if runs.draining:
        return web.json_response({"status": "draining"}, status=503, headers={"Retry-After": "5"})
    try:
        async with asyncio.timeout(PATIENCE):
            await runs.store.get("worker", runs.worker)
        if runs.is_healthy():
            return web.json_response({"status": "ready"})
    except TimeoutError:
        log.warning("store.unavailable", seconds=PATIENCE)
    except Exception as error:  # whatever a backend raises, it cannot serve
        log.warning("store.unavailable", exc_info=error)
    return web.json_response({"status": "store unavailable"}, status=503, headers={"Retry-After": "5"})


async def metrics(request: web.Request) -> web.Response:
    """Prometheus' text format; collecting reads files, so it is done off the loop."""
    body, content_type = await asyncio.to_thread(request.app[METRICS].render)
    return web.Response(body=body, headers={"Content-Type": content_type})


async def openapi(request: web.Request) -> web.Response:
    """Made when it is first asked for: that takes a tenth of a second."""
    body = await asyncio.to_thread(request.app[OPENAPI])
    return web.Response(body=body, content_type="application/json")


async def docs(request: web.Request) -> web.Response:
    return web.Response(text=_DOCS, content_type="text/html")


_DOCS = files("backchat.web").joinpath("docs.html").read_text("utf-8")

PAGES = {"/healthz": healthz, "/readyz": readyz, "/metrics": metrics, "/openapi.json": openapi, "/docs": docs}


def add_pages(app: web.Application) -> None:
    for path, handler in PAGES.items():
        app.router.add_get(path, handler)
