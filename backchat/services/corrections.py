"""Telling a model what was wrong with its tool calls, so that it can call again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import replace

from backchat.domain.message import ToolCall, ToolResult
from backchat.domain.tool import ToolDefinition
from backchat.ports.providers import PromptMessage
from backchat.services.toolcalls import Misfit, fitting

MOST = 2
"""How often a model is told before the run fails."""


def unfit(calls: Sequence[ToolCall], tools: Sequence[ToolDefinition]) -> tuple[list[ToolCall], Mapping[str, str]]:
    """The calls that fit, mended where needed, and what is wrong with the others by call id."""
    fit: list[ToolCall] = []
    faults: dict[str, str] = {}
    for call in calls:
        try:
            fit.append(fitting(call, tools))
        except Misfit as misfit:
            faults[call.id] = str(misfit)
    return fit, faults


def told_apart(calls: Sequence[ToolCall], taken: Set[str]) -> list[ToolCall]:
    """The calls with ids that are not empty, not ``taken``, and not equal: outputs are handed in by them."""
    seen = set(taken)
    apart: list[ToolCall] = []
    for n, call in enumerate(calls, 1):
        id = call.id or f"call_{n}"
        while id in seen:
            id = f"{id}_{n}"
        seen.add(id)
        apart.append(replace(call, id=id))
    return apart


def correction(calls: Sequence[ToolCall], faults: Mapping[str, str]) -> list[PromptMessage]:
    """The calls as the model made them, and an answer to each: what is wrong with it, or with another one."""
    answers = [
        PromptMessage("tool", (ToolResult(c.id, faults.get(c.id, "Not run: another call of yours cannot be.")),))
        for c in calls
    ]
    return [PromptMessage("assistant", tuple(calls)), *answers]
