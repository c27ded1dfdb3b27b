"""Assistants and their documents, made over HTTP as a client of the threads dialect makes them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from bench.load import Target
from bench.wire import Connection, ask, request

BOUNDARY = "bench-c1f3a5"
POLL = 0.05
SDK: Mapping[str, str] = {
    "User-Agent": "backboard-python-sdk/1.5.19 (async)",
    "Accept": "*/*",
    "Accept-Encoding": "gzip, deflate",
    "Connection": "keep-alive",
}
"""What the SDK sends with every request, besides its key."""


def headers(key: str | None) -> dict[str, str]:
    return {**SDK, "X-API-Key": key or ""}


async def post(target: Target, path: str, body: object, connection: Connection | None = None) -> Any:
    """The JSON of the answer. Raises RuntimeError for anything but 200."""
    data = request("POST", path, body=body, headers=headers(target.key))
    exchange = await (connection.ask(data) if connection is not None else ask(target.port, data))
    if exchange.status != 200:
        raise RuntimeError(f"POST {path}: {exchange.status} {exchange.body()[:200]!r}")
    return exchange.json()


async def assistant(target: Target, name: str) -> str:
    """The id of a new assistant."""
    return str((await post(target, "/api/assistants", {"name": name}))["assistant_id"])


async def thread(target: Target, assistant: str) -> str:
    """The id of a new thread."""
    return str((await post(target, f"/api/assistants/{assistant}/threads", {}))["thread_id"])


async def upload(target: Target, connection: Connection, assistant: str, filename: str, data: bytes) -> str:
    """Give an assistant a document; returns its id. It is not indexed yet."""
    part = f'Content-Disposition: form-data; name="file"; filename="{filename}"\r\n'
    begin = f"--{BOUNDARY}\r\n{part}Content-Type: application/octet-stream\r\n\r\n".encode()
    raw = (f"multipart/form-data; boundary={BOUNDARY}", b"%b%b\r\n--%b--\r\n" % (begin, data, BOUNDARY.encode()))
    path = f"/api/assistants/{assistant}/documents"
    exchange = await connection.ask(request("POST", path, raw=raw, headers=headers(target.key)))
    if exchange.status != 200:
        raise RuntimeError(f"POST {path}: {exchange.status} {exchange.body()[:200]!r}")
    return str(exchange.json()["document_id"])


async def indexed(target: Target, connection: Connection, document: str) -> Mapping[str, Any]:
    """Ask for the document until it is indexed. Raises RuntimeError if it never will be."""
    data = request("GET", f"/api/documents/{document}/status", headers=headers(target.key))
    while True:
        exchange = await connection.ask(data)
        if exchange.status != 200:
            raise RuntimeError(f"the status of a document: {exchange.status} {exchange.body()[:200]!r}")
        found: dict[str, Any] = exchange.json()
        if found["status"] == "indexed":
            return found
        if found["status"] not in ("pending", "processing"):
            raise RuntimeError(f"a document is {found['status']}: {found['status_message']}")
        await asyncio.sleep(POLL)
