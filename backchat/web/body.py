"""Read request bodies and query strings through marshmallow schemas."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection
from typing import Any
from urllib.parse import parse_qsl

import orjson
from aiohttp import web
from marshmallow import Schema, ValidationError, fields

from backchat.errors import InvalidInput
from backchat.web.arriving import Arriving
from backchat.web.keys import BODY_LIMIT
from backchat.web.multipart import PARTS, Form, MalformedBody, boundary_of
from backchat.web.spool import Spool

__all__ = ["MalformedBody"]

JSON, FORM, MULTIPART = "application/json", "application/x-www-form-urlencoded", "multipart/form-data"
LONG_BODY = 32 << 10
"""Bytes of a body that may take more than some milliseconds to decode and check: a thread does it."""
PORTION = 256 << 10
"""Bytes of a form that go to the disk together: there and back costs the same for all of them."""
LONG_TYPE = 256
"""Characters of a Content-Type that can be meant; splitting one of some thousand takes seconds."""


class UnsupportedMedia(InvalidInput):
    """The body is of a content type that this route does not take."""

    code = "unsupported_media_type"


def _arriving(request: web.Request, limit: int | None) -> Arriving:
    arriving = Arriving(request, request.app[BODY_LIMIT] if limit is None else limit)
    if arriving.excess is not None:
        raise arriving.excess
    return arriving


async def read_bytes(request: web.Request, limit: int | None = None) -> bytes:
    """The whole body. Not ``request.read()``: that keeps the bytes for as long as the response streams."""
    return b"".join([chunk async for chunk in _arriving(request, limit)])


async def read_body(
    request: web.Request,
    schema: Schema | None,
    accepts: Collection[str] = (JSON,),
    limit: int | None = None,
    *,
    spool: Spool,
) -> Any:
    """The checked body, None without a schema: a JSON object, or a form as the object of its fields.

    Of a repeated field the last value counts; the files of a form come as a tuple of ``Upload`` under the name of their
    part, for the field ``Uploads``, and are kept in the spool. ``limit`` is in bytes, and the server's where there is
    none. Raises MalformedBody, UnsupportedMedia, TooLarge, ValidationError.
    """
    if schema is None:
        return None
    kind = kind_of(request, accepts)
    if kind == MULTIPART:
        return _checked(await _multipart(request, limit, spool), schema)
    # Only files may be larger than the server's limit.
    raw = await read_bytes(request, None if limit is None else min(limit, request.app[BODY_LIMIT]))
    read = _form if kind == FORM else _json
    return read(raw, schema) if len(raw) < LONG_BODY else await asyncio.to_thread(read, raw, schema)


async def _multipart(request: web.Request, limit: int | None, spool: Spool) -> Any:
    form = Form(boundary_of(request.headers["Content-Type"]), request.app[BODY_LIMIT], spool)
    chunks = _arriving(request, limit)
    if spool.disk:
        async for portion in _portions(chunks):
            await spool.work(form.feed, portion)
    else:
        async for chunk in chunks:
            form.feed(chunk)
    return form.close()


def _json(raw: bytes, schema: Schema) -> Any:
    if not raw and not any(field.required for field in schema.fields.values()):
        return _checked({}, schema)
    try:
        data = orjson.loads(raw)
    except orjson.JSONDecodeError:
        raise MalformedBody("the body is not valid JSON") from None
    return _checked(data, schema)


def _checked(data: Any, schema: Schema) -> Any:
    if not isinstance(data, dict):
        raise Misfit("body", ValidationError({"_schema": ["The body must be a JSON object."]}))
    try:
        return schema.load(data)
    except ValidationError as error:
        raise Misfit("body", error) from None


async def _portions(chunks: Arriving) -> AsyncIterator[bytes]:
    gathered: list[bytes] = []
    size = 0
    async for chunk in chunks:
        gathered.append(chunk)
        size += len(chunk)
        if size >= PORTION:
            yield b"".join(gathered)
            gathered, size = [], 0
    yield b"".join(gathered)


def kind_of(request: web.Request, accepts: Collection[str]) -> str:
    """Which of the accepted types the body is of.

    Where JSON is all that a route takes, a body is read as JSON whatever it is called: ``curl -d`` calls it a form.
    Only a multipart body cannot be meant.
    """
    header = request.headers.get("Content-Type")
    if header is not None and len(header) > LONG_TYPE:
        raise UnsupportedMedia(f"the Content-Type is longer than {LONG_TYPE} characters")
    given = request.content_type if header is not None else JSON
    if given in accepts:
        return given
    if JSON in accepts and (given.endswith("+json") or (len(accepts) == 1 and given != MULTIPART)):
        return JSON
    raise UnsupportedMedia(f"the body must be {' or '.join(accepts)}, not {given}")


def _form(raw: bytes, schema: Schema) -> Any:
    try:
        data = dict(parse_qsl(raw.decode(), keep_blank_values=True, errors="strict", max_num_fields=PARTS))
    except ValueError:
        raise MalformedBody(f"the body is no form in UTF-8 of at most {PARTS} fields") from None
    return _checked(data, schema)


def read_query(request: web.Request, schema: Schema | None) -> Any:
    """The checked query string, None without a schema. Of a repeated name the last value counts; a list has all."""
    if schema is None:
        return None
    given: dict[str, str | list[str]] = dict(request.query.items())
    for name, field in schema.fields.items():
        if name in given and isinstance(field, fields.List):
            given[name] = request.query.getall(name)
    try:
        return schema.load(given)
    except ValidationError as error:
        raise Misfit("query", error) from None


class Misfit(ValidationError):
    """A ValidationError that knows which part of the request it is about."""

    def __init__(self, where: str, error: ValidationError) -> None:
        super().__init__(error.messages)
        self.where = where
