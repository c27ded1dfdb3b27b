"""The examples of docs/agents.md are what they say."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from backchat.config import load_config
from backchat.plugins import Plugins
from backchat.ports.agents import Agent
from backchat.ports.tools import Tool, ToolFailed
from backchat.testing.agent import ScriptedTurn
from backchat.testing.server import MINIMAL

PAGE = (Path(__file__).parent.parent / "docs" / "agents.md").read_text("utf-8")


def names_of(wanted: str) -> dict[str, Any]:
    """What the example defines that has this name in it."""
    [code] = [c for c in re.findall(r"^```python\n(.*?)^```$", PAGE, re.M | re.S) if f"class {wanted}" in c]
    names: dict[str, Any] = {}
    exec(compile(code, "docs/agents.md", "exec"), names)
    return names


def test_the_configuration_holds(tmp_path: Path) -> None:
    example, *_ = re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.M | re.S)
    (tmp_path / "backchat.yml").write_text(yaml.safe_dump({**MINIMAL, **yaml.safe_load(example)}), "utf-8")
    config = load_config(tmp_path / "backchat.yml", Plugins(from_entry_points=True), data=tmp_path)
    assert [selected.name for selected in config.tools] == ["clock", "calculator", "web_search", "web_fetch"]
    assert [selected.name for selected in config.agents] == ["langgraph"]


async def test_the_tool() -> None:
    [backend] = names_of("Stock:")["backchat_tools"]()
    async with backend.open(backend.schema.load({"shelf": "B"})) as tools:
        tool: Tool = tools[0]
        assert await tool.run({"article": "A-17"}) == "3 on B"
        with pytest.raises(ToolFailed, match="A-17"):
            await tool.run({"article": "17"})


async def test_the_agent() -> None:
    agent: Agent = names_of("SecondThoughts:")["SecondThoughts"]()
    turn = ScriptedTurn(["Lyon."], ["No: Paris."], said="Capital of France?")
    await agent.answer(turn)
    assert turn.text == "Lyon.No: Paris."
    assert [message.role for message in turn.asked[1]] == ["user", "assistant", "user"]
