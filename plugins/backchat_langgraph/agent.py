"""The graph: the model answers, what it calls for is run, and the model is asked again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from langchain_core.messages import ToolMessage
from langgraph.errors import GraphRecursionError
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition
from langgraph.prebuilt.tool_node import ToolCallRequest
from langgraph.runtime import Runtime
from langsmith import tracing_context

from backchat.errors import ProviderError
from backchat.ports.agents import AgentTurn
from backchat_langgraph.messages import calls_of, to_langchain
from backchat_langgraph.model import TurnModel


@dataclass(frozen=True, slots=True)
class Context:
    """What the nodes of the graph work with."""

    turn: AgentTurn


class LangGraphAgent:
    """The graph is compiled once; what belongs to one reply is in its context and its state."""

    def __init__(self, max_steps: int) -> None:
        self._max_steps = max_steps
        graph = StateGraph(MessagesState, context_schema=Context)
        graph.add_node("model", _model)
        # Every call goes to the server, which knows its tools and answers for unknown ones: the node needs no list.
        graph.add_node("tools", ToolNode([], handle_tool_errors=False, awrap_tool_call=_tool))
        graph.add_edge(START, "model")
        graph.add_conditional_edges("model", tools_condition)
        graph.add_edge("tools", "model")
        self._graph = graph.compile()

    async def answer(self, turn: AgentTurn) -> None:
        state = MessagesState(messages=[to_langchain(message) for message in turn.messages])
        # LangSmith would get the conversation as soon as somebody sets LANGSMITH_TRACING in the environment.
        with tracing_context(enabled=False):
            try:
                await self._graph.ainvoke(state, {"recursion_limit": self._max_steps}, context=Context(turn))
            except GraphRecursionError:
                raise ProviderError(f"the agent did not come to an end in {self._max_steps} steps") from None


async def _model(state: MessagesState, runtime: Runtime[Context]) -> dict[str, Any]:
    return {"messages": [await TurnModel(turn=runtime.context.turn).ainvoke(state["messages"])]}


async def _tool(request: ToolCallRequest, _: object) -> ToolMessage:
    context: Any = request.runtime.context
    turn: AgentTurn = context.turn
    call = next(c for c in calls_of(request.state["messages"][-1]) if c.id == request.tool_call["id"])
    result = await turn.call(call)
    return ToolMessage(result.content, tool_call_id=result.call, name=call.name)
