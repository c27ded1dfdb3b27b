"""Settings of the agent, and its opening. Importing LangGraph takes seconds, which only those who use it wait for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from marshmallow import RAISE, Schema, post_load, validate

from backchat.errors import ConfigError
from backchat.ports.agents import Agent
from backchat.web.fields import Whole


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    max_steps: int = 25


class SettingsSchema(Schema):
    class Meta:
        unknown = RAISE

    max_steps = Whole(
        load_default=25,
        validate=validate.Range(min=2, max=1000),
        metadata={
            "description": "LangGraph's `recursion_limit`: steps of the graph in one reply. An answer of the model is "
            "one, running the tools that it called for is another, and one is for the end. `replies.tool_rounds` holds "
            "as well."
        },
    )

    @post_load
    def freeze(self, data: Mapping[str, Any], **_: object) -> Settings:
        return Settings(**data)


@asynccontextmanager
async def open_langgraph(settings: Settings) -> AsyncIterator[Agent]:
    yield await asyncio.to_thread(_built, settings)


def _built(settings: Settings) -> Agent:
    from langchain_core.utils.env import env_var_is_set

    from backchat_langgraph.agent import LangGraphAgent

    for name in ("LANGCHAIN_TRACING", "LANGCHAIN_HANDLER"):
        if env_var_is_set(name):
            raise ConfigError(f"langgraph does not work with {name} in the environment; unset it")
    return LangGraphAgent(settings.max_steps)
