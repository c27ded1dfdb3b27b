"""The agent ``langgraph``: a reply is made by a LangGraph graph, with the server's models and tools."""

from __future__ import annotations

from collections.abc import Sequence

from backchat.hookspecs import hookimpl
from backchat.ports.agents import AgentBackend
from backchat.ports.component import Component
from backchat_langgraph.opening import SettingsSchema, open_langgraph


@hookimpl
def backchat_agents() -> Sequence[AgentBackend]:
    return [Component("langgraph", SettingsSchema(), open_langgraph, "langgraph")]
