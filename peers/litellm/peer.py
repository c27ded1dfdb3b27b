"""What LiteLLM's own mock models cannot do: a streamed tool call, an error in mid-stream, a refused request or key.

Loaded by the LiteLLM proxy, in its own environment: nothing of backchat is importable here.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from typing import Any

from fastapi import Request
from litellm import BadRequestError, CustomLLM, InternalServerError
from litellm.proxy._types import ProxyException, UserAPIKeyAuth


class Peer(CustomLLM):
    async def astreaming(self, *args: Any, **named: Any) -> AsyncIterator[Any]:
        model, messages = named["model"], named["messages"]
        if model == "rejecter":
            raise BadRequestError("the context is too long", model=model, llm_provider="peer")
        if model == "breaker":
            yield _chunk(text="so far")
            raise InternalServerError("broken midway", model=model, llm_provider="peer")
        if messages[-1]["role"] == "tool":
            yield _chunk(text=f"It says: {messages[-1]['content']}")
            yield _chunk(finish="stop")
            return
        city = messages[-1]["content"].split()[-1]
        yield _chunk(call=("call_1", "get_weather", '{"ci'))
        yield _chunk(call=(None, None, f'ty": "{city}"}}'))
        yield _chunk(finish="tool_calls")


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
