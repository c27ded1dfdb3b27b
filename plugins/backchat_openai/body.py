"""A ``ModelRequest`` as the body of ``POST /chat/completions``."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

import orjson

from backchat.domain.message import Text, ToolCall, ToolResult
from backchat.errors import ProviderRejected
from backchat.ports.providers import ImageData, ModelRequest, PromptMessage, grounded_system
from backchat_openai.settings import Settings

PARAMETERS = frozenset(
    {
        "logit_bias",
        "min_p",
        "reasoning_effort",
        "repetition_penalty",
        "seed",
        "stop",
        "top_a",
        "top_k",
        "typical_p",
        "verbosity",
    }
)
"""What users may set by name, of the fields that services have beyond the settings of a conversation.

Others are left out: services read fields that pick another model, another host or paid extras, and change the answer's
format. A deployer sets those with ``extra_body``.
"""
_LENGTHS = frozenset({"max_tokens", "max_completion_tokens"})
"""Two names of one thing: a service refuses a body with both."""


def encode(request: ModelRequest, settings: Settings) -> bytes:
    """The JSON body. Raises ProviderRejected for a prompt that JSON or the protocol cannot carry."""
    try:
        return orjson.dumps(body(request, settings))
    except orjson.JSONEncodeError:
        raise ProviderRejected("the prompt holds something that JSON cannot carry, such as half a character") from None


def body(request: ModelRequest, settings: Settings) -> dict[str, Any]:
    system = grounded_system(request)
    messages: list[dict[str, Any]] = [{"role": "system", "content": system}] if system else []
    for message in request.messages:
        messages += _messages(message)
    asked = _chosen(request, settings) | dict(settings.extra_body)
    asked |= {"model": request.model or settings.model, "messages": messages, "stream": True}
    if settings.include_usage:
        asked["stream_options"] = {"include_usage": True}
    if request.tools:
        asked["tools"] = [
            {
                "type": "function",
                "function": {"name": t.name, "description": t.description, "parameters": dict(t.parameters)},
            }
            for t in request.tools
        ]
    if request.json_output:
        asked["response_format"] = {"type": "json_object"}
    if request.reasoning is not None:
        if settings.preset.reasoning == "object":
            asked["reasoning"] = {"effort": request.reasoning}
        else:
            asked["reasoning_effort"] = request.reasoning
    return asked


def _chosen(request: ModelRequest, settings: Settings) -> dict[str, Any]:
    """What users may choose about the words; what the configuration fixes comes over it."""
    sampling = request.sampling
    chosen = {name: value for name, value in sampling.parameters.items() if name in PARAMETERS}
    named = {
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "frequency_penalty": sampling.frequency_penalty,
        "presence_penalty": sampling.presence_penalty,
    }
    if not _LENGTHS & settings.extra_body.keys():
        named[settings.max_tokens_field] = sampling.max_tokens
    return chosen | {name: value for name, value in named.items() if value is not None}


def _messages(message: PromptMessage) -> list[dict[str, Any]]:
    parts = message.parts
    if message.role == "tool":
        return [
            {"role": "tool", "tool_call_id": p.call, "content": p.content} for p in parts if isinstance(p, ToolResult)
        ]
    # What the model thought is not sent back: several services refuse it, none needs it.
    if not any(isinstance(p, ImageData) for p in parts):
        text = "".join([p.text for p in parts if isinstance(p, Text)])
        said: dict[str, Any] = {"role": message.role, "content": text}
        if calls := [_call(p) for p in parts if isinstance(p, ToolCall)]:
            said["content"] = text or None
            said["tool_calls"] = calls
        return [said]
    if message.role != "user":
        raise ProviderRejected("this protocol carries images in the user's messages only")
    return [{"role": "user", "content": [_content(p) for p in parts if isinstance(p, Text | ImageData)]}]


def _content(part: Text | ImageData) -> dict[str, Any]:
    if isinstance(part, Text):
        return {"type": "text", "text": part.text}
    url = f"data:{part.mime};base64,{b64encode(part.data).decode()}"
    return {"type": "image_url", "image_url": {"url": url}}


def _call(call: ToolCall) -> dict[str, Any]:
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
