"""Answers: JSON in one piece, or entry by entry."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from functools import partial
from typing import Any

import orjson
from aiohttp import web

from backchat.domain.vault import SealedText, VaultEntry
from backchat.services.aside import aside
from backchat_dialect_vault import shapes

JSON = "application/json"
Group = Sequence[tuple[VaultEntry, SealedText]]


def json_answer(data: object, status: int = 200) -> web.Response:
    return web.Response(body=orjson.dumps(data), status=status, content_type=JSON)


async def content_answer(shape: Callable[[], dict[str, Any]], size: int) -> web.Response:
    """An object of about ``size`` bytes."""
    return web.Response(body=await aside(size, lambda: orjson.dumps(shape())), content_type=JSON)


async def pulled(total: int, platform: str, groups: AsyncGenerator[Group, None]) -> AsyncGenerator[bytes, None]:
    """The JSON of a pull, in as many chunks as there are groups: not all of it is in memory at a time."""
    before = orjson.dumps({"total": total, "platform": platform})[:-1] + b',"entries":['
    async with aclosing(groups):
        async for group in groups:
            yield before + await aside(sum([len(content.data) for _, content in group]), partial(_rows, group))
            before = b","
    yield b"]}" if before == b"," else before + b"]}"


def _rows(group: Group) -> bytes:
    return b",".join([orjson.dumps(shapes.entry(entry, content)) for entry, content in group])
