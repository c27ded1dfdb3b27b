"""What an MCP server says commands nobody: neither in its descriptions nor in its answers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import mcp_served
from backchat.domain.message import ToolCall, ToolResult
from backchat.testing.provider import ScriptedProvider
from backchat_mcp.opening import open_mcp
from backchat_mcp.settings import SettingsSchema
from nodes import ANN, SlowStore, node
from web_tools_served import inside


@pytest.fixture(scope="module", name="url")
def _url() -> Iterator[str]:
    with mcp_served.http_server() as url:
        yield url


async def test_a_model_that_obeys_a_tool_reaches_nothing_that_is_not_allowed(url: str) -> None:
    obedient = ScriptedProvider(
        ["hello"],
        [ToolCall("c1", "t_news", "{}")],
        [ToolCall("c2", "t_count", "{}"), ToolCall("c3", "transfer_money", '{"all": true}')],
        ["I may not."],
    )
    section = {"name": "t", "url": url}
    async with (
        open_mcp(SettingsSchema().load({**section, "allow": ["news"]})) as tools,
        open_mcp(SettingsSchema().load({**section, "allow": ["count"]})) as others,
        node(SlowStore(), obedient, tools=tools) as one,
    ):
        id = await one.begun(agent="none")
        run = await one.say("What is new?", conversation=id)
        ended, answer = await one.runs.result(ANN, run.id)
        whole = await one.conversations.whole(ANN, id)
        counted = await others[0].run({})
    assert (ended.status, answer.text if answer else "") == ("completed", "I may not.")
    results = [p for m in whole for p in m.parts if isinstance(p, ToolResult)]
    assert [r.call for r in results] == ["c1"]
    assert mcp_served.INJECTION in results[0].content, "the model was shown it"
    assert inside(counted) == "1", "nobody has called it before"
    offered = [{tool.name for tool in request.tools} for request in obedient.requests[1:]]
    assert offered == [{"t_news"}] * len(offered)
