"""Read request bodies and query strings through marshmallow schemas."""

from __future__ import annotations

from typing import Any

import orjson
from aiohttp import web
from marshmallow import Schema, ValidationError

from backchat.errors import InvalidInput, TooLarge
from backchat.web.keys import BODY_LIMIT


class MalformedBody(InvalidInput):
    """The body is not JSON at all."""

    code = "malformed_body"


async def read_bytes(request: web.Request) -> bytes:
    """The whole body. Not ``request.read()``: that keeps the bytes for as long as the response streams."""
    limit = request.app[BODY_LIMIT]
    if request.content_length is not None and request.content_length > limit:
        raise TooLarge(f"the body is larger than {limit} bytes")
    chunks: list[bytes] = []
    size = 0
    try:
        while chunk := await request.content.readany():
            size += len(chunk)
            if size > limit:
                raise TooLarge(f"the body is larger than {limit} bytes")
            chunks.append(chunk)
    except web.RequestPayloadError:
        raise MalformedBody("the body does not arrive as its headers say") from None
    return b"".join(chunks)


async def read_body(request: web.Request, schema: Schema | None) -> Any:
    """The checked JSON body, None without a schema. Raises MalformedBody, TooLarge, ValidationError."""
    if schema is None:
        return None
    raw = await read_bytes(request)
    try:
        data = orjson.loads(raw)
    except orjson.JSONDecodeError:
        raise MalformedBody("the body is not valid JSON") from None
    if not isinstance(data, dict):
        raise Misfit("body", ValidationError({"_schema": ["The body must be a JSON object."]}))
    try:
        return schema.load(data)
    except ValidationError as error:
        raise Misfit("body", error) from None


def read_query(request: web.Request, schema: Schema | None) -> Any:
    """The checked query string, None without a schema. Of a repeated name the last value counts."""
    if schema is None:
        return None
    try:
        return schema.load(dict(request.query.items()))
    except ValidationError as error:
        raise Misfit("query", error) from None


class Misfit(ValidationError):
    """A ValidationError that knows which part of the request it is about."""

    def __init__(self, where: str, error: ValidationError) -> None:
        super().__init__(error.messages)
        self.where = where
