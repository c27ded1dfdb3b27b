"""The models behind the proxy, which say the same through every face of it; and who may ask them.

``mirror`` says what reached it, as JSON; ``waiter`` stops after its first word until ``teller`` is asked; the others do
what they are called. The city of a call is the last word asked.

Loaded by the LiteLLM proxy, in its own environment: nothing of backchat is importable here.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

from fastapi import Request
from litellm import BadRequestError, CustomLLM, InternalServerError, RateLimitError
from litellm.proxy._types import ProxyException, UserAPIKeyAuth

SEA = "The sea is wide; l'oc\u00e9an est profond \U0001f30a."
PATIENCE = 30
"""Seconds."""
REFUSALS = {
    "rejecter": partial(BadRequestError, "the context is too long"),
    "throttled": partial(RateLimitError, "slower, please"),
    "broken": partial(InternalServerError, "broken at once"),
}


class Peer(CustomLLM):
    """``told``: the waiter may go on."""

    def __init__(self) -> None:
        super().__init__()
        self.told = asyncio.Event()

    async def astreaming(self, *args: Any, **named: Any) -> AsyncIterator[Any]:
        model, messages = named["model"], named["messages"]
        if refusal := REFUSALS.get(model):
            raise refusal(model=model, llm_provider="peer")
        if model == "breaker":
            yield _chunk(text="so far")
            raise InternalServerError("broken midway", model=model, llm_provider="peer")
        if model == "caller" and messages[-1]["role"] != "tool":
            city = _text(messages[-1]).split()[-1]
            yield _chunk(call=("call_1", "get_weather", '{"ci'))
            yield _chunk(call=(None, None, f'ty": "{city}"}}'))
            yield _chunk(finish="tool_calls")
            return
        if model == "waiter":
            self.told.clear()
            yield _chunk(text="first ")
            await asyncio.wait_for(self.told.wait(), PATIENCE)
            yield _chunk(text="second")
            yield _chunk(finish="stop")
            return
        if model == "teller":
            self.told.set()
        for piece in _answer(model, messages, named["optional_params"]):
            yield _chunk(text=piece)
        yield _chunk(finish="length" if model == "cut-off" else "stop")


def _answer(model: str, messages: list[Any], options: dict[str, Any]) -> list[str]:
    if model == "mirror":
        return [json.dumps({"messages": messages, **options}, default=str)]
    if model == "caller":
        return [f"It says: {_text(messages[-1])}"]
    return ["word "] * 60 if model == "long-talker" else re.findall(r"\S+ ?", SEA)


def _text(message: dict[str, Any]) -> str:
    content = message["content"]
    return content if isinstance(content, str) else "".join([part.get("text", "") for part in content])


def _chunk(text: str = "", call: tuple[str | None, str | None, str] | None = None, finish: str = "") -> Any:
    tool = call and {"id": call[0], "type": "function", "index": 0, "function": {"name": call[1], "arguments": call[2]}}
    usage = {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12} if finish else None
    return {
        "text": text,
        "tool_use": tool,
        "is_finished": bool(finish),
        "finish_reason": finish,
        "index": 0,
        "usage": usage,
    }


async def authenticate(request: Request, api_key: str) -> UserAPIKeyAuth:
    if api_key != os.environ["BACKCHAT_PEER_KEY"]:
        raise ProxyException(f"Incorrect API key provided: {api_key}", type="auth_error", param=None, code=401)
    return UserAPIKeyAuth(api_key=api_key)


handler = Peer()
