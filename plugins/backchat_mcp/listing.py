"""The tools that a server lists, and which of them a model can be sent at all."""

from __future__ import annotations

import httpx2
import mcp_types as types
import orjson
from jsonschema import Draft202012Validator, SchemaError
from mcp import Client, MCPError

from backchat.domain.tool import ToolDefinition
from backchat.errors import ProviderRejected
from backchat.upstream.schemas import sendable

MOST_PAGES = 100
MOST_SCHEMA = 100_000
"""Bytes of a schema: it is part of every request, and this is more than all tools of most servers take together."""


async def listed(client: Client) -> list[types.Tool] | None:
    """Every tool, page by page; None if the pages do not come to an end."""
    found: list[types.Tool] = []
    cursor: str | None = None
    for _ in range(MOST_PAGES):
        page = await client.list_tools(cursor=cursor, cache_mode="bypass")
        found += page.tools
        cursor = page.next_cursor
        if cursor is None:
            return found
    return None


def unsendable(tool: ToolDefinition) -> str | None:
    """Why services would refuse it, if they would. It takes tens of milliseconds: use a thread."""
    try:
        schema = sendable(tool).parameters
        size = len(orjson.dumps(schema))
        Draft202012Validator.check_schema(schema)
    except ProviderRejected:
        return "its schema is nested too deeply"
    except orjson.JSONEncodeError:
        return "its schema is nothing that JSON can carry"
    except (SchemaError, RecursionError):
        return "its schema is no valid JSON Schema"
    return "its schema is too large" if size > MOST_SCHEMA else None


def reason_of(error: BaseException) -> str:
    """Why a server cannot be had, in words that hold nothing of its address, its headers or what it said."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    match error:
        case FileNotFoundError():
            return "there is no such program, or directory"
        case PermissionError():
            return "it may not be run"
        case TimeoutError() | httpx2.TimeoutException():
            return "it did not answer in time"
        case httpx2.ConnectError():
            return "no connection could be made"
        case httpx2.HTTPStatusError():
            return f"it answered with the status {error.response.status_code}"
        case MCPError(code=types.CONNECTION_CLOSED):
            return "it closed the connection"
    return f"it does not speak the protocol, or not as it should ({type(error).__name__})"
