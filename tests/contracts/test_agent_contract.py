"""Every agent keeps the contract of the port."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from backchat.ports.agents import Agent
from backchat.testing.agent import AgentContract
from backchat_langgraph.opening import SettingsSchema, open_langgraph


class TestLangGraph(AgentContract):
    @pytest.fixture
    async def agent(self) -> AsyncIterator[Agent]:
        async with open_langgraph(SettingsSchema().load({})) as agent:
            yield agent
