"""Typed keys of the application and of requests."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from aiohttp import web

from backchat.ports.auth import Authenticator
from backchat.services.container import Services

if TYPE_CHECKING:
    from backchat.web.dialect import Dialect, Route
    from backchat.web.metrics import Metrics

SERVICES = web.AppKey("backchat.services", Services)
AUTHENTICATORS: web.AppKey[Sequence[Authenticator]] = web.AppKey("backchat.authenticators")
DIALECTS: web.AppKey[dict[web.AbstractRoute, tuple[Dialect, Route]]] = web.AppKey("backchat.dialects")
DIALECT_SETTINGS: web.AppKey[Mapping[str, Any]] = web.AppKey("backchat.dialect_settings")
BODY_LIMIT = web.AppKey("backchat.body_limit", int)
STREAMS: web.AppKey[set[asyncio.Task[Any]]] = web.AppKey("backchat.streams")
OPENINGS: web.AppKey[set[asyncio.Task[Any]]] = web.AppKey("backchat.openings")
PROXIES = web.AppKey("backchat.proxies", int)
METRICS: web.AppKey[Metrics] = web.AppKey("backchat.metrics")
OPENAPI: web.AppKey[Callable[[], bytes]] = web.AppKey("backchat.openapi")
REQUEST_ID: web.RequestKey[str] = web.RequestKey("backchat.request_id", str)
RATE_HEADERS: web.RequestKey[Mapping[str, str]] = web.RequestKey("backchat.rate_headers")
