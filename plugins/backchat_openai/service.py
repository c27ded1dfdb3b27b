"""What every service that speaks OpenAI's protocols is reached with."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from typing import Protocol

import aiohttp
from marshmallow import fields

from backchat.upstream.http import open_session
from backchat.upstream.options import ServiceSchema, one_line


class Reached(Protocol):
    """The settings of a provider, an embedder or a transcriber."""

    @property
    def api_key(self) -> str | None: ...
    @property
    def organization(self) -> str | None: ...
    @property
    def project(self) -> str | None: ...
    @property
    def headers(self) -> Mapping[str, str]: ...
    @property
    def connect_timeout(self) -> float: ...
    @property
    def read_timeout(self) -> float: ...


class OpenAIServiceSchema(ServiceSchema):
    """The options that the provider, the embedder and the transcriber have in common."""

    organization = fields.String(
        load_default=None, validate=one_line, metadata={"description": "Sent as `OpenAI-Organization`."}
    )
    project = fields.String(load_default=None, validate=one_line, metadata={"description": "Sent as `OpenAI-Project`."})


def open_service(settings: Reached, *, accept: str) -> AbstractAsyncContextManager[aiohttp.ClientSession]:
    """A session with the service's key and the deployer's own headers."""
    headers = {"Content-Type": "application/json", "Accept": accept}
    if settings.api_key:
        headers["Authorization"] = f"Bearer {settings.api_key}"
    if settings.organization:
        headers["OpenAI-Organization"] = settings.organization
    if settings.project:
        headers["OpenAI-Project"] = settings.project
    return open_session(
        {**headers, **settings.headers},
        connect_timeout=settings.connect_timeout,
        read_timeout=settings.read_timeout,
    )
