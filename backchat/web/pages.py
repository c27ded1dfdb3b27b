"""The routes that belong to no dialect: health, metrics, the OpenAPI document and its page."""

from __future__ import annotations

import asyncio
from importlib.resources import files

import orjson
from aiohttp import web

from backchat.web.keys import METRICS, SERVICES
from backchat.web.openapi import document


async def healthz(request: web.Request) -> web.Response:
    """The process answers."""
    return web.json_response({"status": "ok"})


async def readyz(request: web.Request) -> web.Response:
    """Store and providers are open and new runs are taken; 503 while draining."""
    if request.app[SERVICES].runs.draining:
        return web.json_response({"status": "draining"}, status=503, headers={"Retry-After": "5"})
    return web.json_response({"status": "ready"})


async def metrics(request: web.Request) -> web.Response:
    """Prometheus' text format; collecting reads files, so it is done off the loop."""
    body, content_type = await asyncio.to_thread(request.app[METRICS].render)
    return web.Response(body=body, headers={"Content-Type": content_type})


async def openapi(request: web.Request) -> web.Response:
    return web.Response(body=orjson.dumps(document(request.app)), content_type="application/json")


async def docs(request: web.Request) -> web.Response:
    return web.Response(text=_DOCS, content_type="text/html")


_DOCS = files("backchat.web").joinpath("docs.html").read_text("utf-8")

PAGES = {"/healthz": healthz, "/readyz": readyz, "/metrics": metrics, "/openapi.json": openapi, "/docs": docs}


def add_pages(app: web.Application) -> None:
    for path, handler in PAGES.items():
        app.router.add_get(path, handler)
