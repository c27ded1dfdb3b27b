"""The tools of one server, as ours: what it says about them and what they answer is text for the model, and no more."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import anyio
import httpx2
import mcp_types as types
from mcp import Client, MCPError
from pydantic import TypeAdapter, ValidationError

from backchat.domain.tool import ToolDefinition
from backchat.ports.tools import ToolFailed
from backchat.upstream.enclosing import enclosed, one_line
from backchat.upstream.failures import Failures
from backchat_mcp.connection import Connection, sending
from backchat_mcp.listing import listed
from backchat_mcp.settings import Settings

LONGEST_NAME = 64
"""Characters of a name that every model service takes (https://platform.openai.com/docs/api-reference/chat)."""
MOST_DESCRIPTION = 4000
MOST_LABEL = 500
_RESULT: TypeAdapter[types.CallToolResult | types.InputRequiredResult] = TypeAdapter(
    types.CallToolResult | types.InputRequiredResult
)
BROKEN = (MCPError, OSError, EOFError, httpx2.HTTPError, anyio.ClosedResourceError, anyio.BrokenResourceError)
"""What the library raises when a call could not be made. TimeoutError is an OSError."""


class RemoteTool:
    """A call goes to the server as it is. When the connection broke, only a tool that says of itself that it changes
    nothing, or nothing more the second time, is called again; and any when the server had forgotten the session, for
    then it has done nothing.
    """

    def __init__(self, tool: types.Tool, name: str, settings: Settings, connection: Connection) -> None:
        self._name, self._server, self._connection = tool.name, settings.name, connection
        self._failures = Failures([*settings.env.values(), *settings.headers.values()])
        hints = tool.annotations
        self._repeatable = bool(hints and (hints.read_only_hint or hints.idempotent_hint))
        described = (tool.description or tool.title or tool.name).strip()[:MOST_DESCRIPTION]
        schema = {"properties": {}, **tool.input_schema, "type": "object"}
        self.definition = ToolDefinition(name, described or name, schema, web=settings.web)

    async def run(self, arguments: Mapping[str, Any]) -> str:
        try:
            result = await self._called(arguments)
        except BROKEN as error:
            raise ToolFailed(self._told(error)) from None
        except ValidationError:
            raise ToolFailed("the tool server answered with something that is not its protocol") from None
        text = "\n".join([shown for block in result.content if (shown := _shown(block))])
        if result.is_error:
            raise ToolFailed(self._complaint(text) if text else "the tool failed and did not say why")
        if result.structured_content is not None and not any(isinstance(b, types.TextContent) for b in result.content):
            structured = json.dumps(result.structured_content, ensure_ascii=False)
            text = f"{text}\n{structured}" if text else structured
        return enclosed(f"Answer of the tool server {self._server}.", "tool-answer", text or "(nothing)")

    def _complaint(self, text: str) -> str:
        return enclosed(f"The tool server {self._server} reports an error.", "tool-error", self._failures.keyless(text))

    def _told(self, error: Exception) -> str:
        code = error.code if isinstance(error, MCPError) else None
        if isinstance(error, MCPError) and code not in (types.CONNECTION_CLOSED, types.REQUEST_TIMEOUT):
            return self._complaint(error.message)
        if isinstance(error, TimeoutError) or code == types.REQUEST_TIMEOUT:
            return "the tool server did not answer in time; it may have done what it was asked"
        return "the connection to the tool server broke; it may have done what it was asked"

    async def _called(self, arguments: Mapping[str, Any]) -> types.CallToolResult:
        for again in (True, False):
            try:
                client = await self._connection.client()
            except (*BROKEN, ValidationError, ExceptionGroup):
                raise ToolFailed("the tool server cannot be reached") from None
            with sending() as sent:
                try:
                    return await _asked(client, self._name, arguments)
                except BROKEN as error:
                    if not (sent.forgotten or _is_broken(error)):
                        raise
                    self._connection.broken(client)
                    if sent.forgotten and not again:
                        raise ToolFailed("the tool server forgets its sessions at once") from None
                    if not (again and (sent.forgotten or self._repeatable)):
                        raise
        raise AssertionError("unreachable")


async def _asked(client: Client, name: str, arguments: Mapping[str, Any]) -> types.CallToolResult:
    """Without the library's own method for it, which checks the answer against a schema of the server's: that can take
    for ever, and nobody needs it, since what comes is text for a model.
    """
    request = types.CallToolRequest(params=types.CallToolRequestParams(name=name, arguments=dict(arguments)))
    try:
        result = await client.session.send_request(request, _RESULT)
    except MCPError as error:
        if error.code != types.HEADER_MISMATCH:
            raise
        # This connection was made after the tools were listed: it does not know which arguments to put into headers.
        await listed(client)
        result = await client.session.send_request(request, _RESULT)
    if isinstance(result, types.InputRequiredResult):
        raise ToolFailed("the tool asks for something that is not in its arguments, which cannot be given to it")
    return result


def _is_broken(error: Exception) -> bool:
    return not isinstance(error, MCPError) or error.code == types.CONNECTION_CLOSED


def _shown(block: types.ContentBlock) -> str:
    match block:
        case types.TextContent():
            return block.text
        case types.ImageContent() | types.AudioContent():
            return f"[{_label(block.mime_type)}]"
        case types.ResourceLink():
            return f"[{_label(block.name)}: {_label(block.uri)}]"
        case types.EmbeddedResource():
            resource = block.resource
            return resource.text if isinstance(resource, types.TextResourceContents) else f"[{_label(resource.uri)}]"


def _label(value: object) -> str:
    return one_line(str(value), MOST_LABEL)


def names_of(tools: Sequence[types.Tool], server: str) -> list[str]:
    """What each is called here: the server's name, ``_``, its own without what no service takes; each name once."""
    found: dict[str, None] = {}
    for tool in tools:
        whole = f"{server}_{re.sub('[^A-Za-z0-9_-]', '_', tool.name)}"
        name, n = whole[:LONGEST_NAME], 2
        while name in found:
            ending = f"_{n}"
            name, n = whole[: LONGEST_NAME - len(ending)] + ending, n + 1
        found[name] = None
    return list(found)
