"""Assistants: instructions, tools, documents and memories under one name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from backchat.domain.tool import ToolDefinition

TOP_K = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Assistant:
    """Conversations that name one are answered with its instructions, documents and memories.

    system              instructions for the model
    tools               function tools as their maker wrote them: ``{"type": "function", "function": {...}}``
    top_k               how many passages, and how many memories, ground a reply
    embedder            name of the configured embedder for its documents and memories; None: the server's default
    embedding_model, embedding_dims   as its maker asked for them, None if not
    extraction_prompt, update_prompt  instead of the learner's own prompts
    memory              name of the memory strategy for its conversations; None: the server's default
    default             the one that its owner's conversations get when they name none
    """

    id: str
    owner: str
    name: str
    created_at: datetime
    updated_at: datetime
    description: str | None = None
    system: str | None = None
    tools: tuple[Mapping[str, Any], ...] = ()
    top_k: int = TOP_K
    embedder: str | None = None
    embedding_model: str | None = None
    embedding_dims: int | None = None
    extraction_prompt: str | None = None
    update_prompt: str | None = None
    memory: str | None = None
    default: bool = False
    metadata: Mapping[str, Any] = field(default_factory=dict)
    version: int = 0

    @property
    def definitions(self) -> tuple[ToolDefinition, ...]:
        """Its tools as models are offered them."""
        return definitions_of(self.tools)


def definitions_of(tools: tuple[Mapping[str, Any], ...]) -> tuple[ToolDefinition, ...]:
    """Function tools in their wire form as definitions; what the form leaves out is empty."""
    found = []
    for tool in tools:
        function = tool["function"]
        found.append(
            ToolDefinition(
                function["name"],
                function.get("description") or "",
                function.get("parameters") or {"type": "object", "properties": {}},
                function.get("strict"),
            )
        )
    return tuple(found)
