"""A ``ModelRequest`` as the body of ``POST /chat/completions``."""

from __future__ import annotations

from typing import Any

from backchat.domain.message import Reasoning, Text, ToolCall, ToolResult
from backchat.domain.tool import ToolDefinition
from backchat.ports.providers import FileData, ImageData, ModelRequest, PromptMessage, grounded_system
from backchat.upstream.histories import carried
from backchat.upstream.schemas import sendable
from backchat.upstream.seals import signer
from backchat_openai.asking import JSON_PLEASE, TOOLS, call_id, data_url, must_say_json, shown
from backchat_openai.openrouter import routed
from backchat_openai.seals import opened_details
from backchat_openai.settings import OPENROUTER, Settings

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
format. A deployer sets those with ``extra_body``. ``openrouter`` is no field: wishes, to be checked and translated.
"""
_LENGTHS = frozenset({"max_tokens", "max_completion_tokens"})
"""Two names of one thing: a service refuses a body with both."""


def body(request: ModelRequest, settings: Settings) -> dict[str, Any]:
    """Raises ProviderRejected for a prompt that the protocol cannot carry."""
    system = grounded_system(request)
    if must_say_json(request, [system]):
        system = f"{system}\n\n{JSON_PLEASE}" if system else JSON_PLEASE
    messages: list[dict[str, Any]] = [{"role": "system", "content": system}] if system else []
    model = request.model or settings.model
    signed = signer(settings.base_url, model)
    for message in carried(request.messages):
        messages += _messages(message, settings, signed)
    asked = _chosen(request, settings) | dict(settings.extra_body)
    asked |= {"model": model, "messages": messages, "stream": True}
    if settings.preset is OPENROUTER:
        asked |= routed(request.sampling.parameters.get("openrouter"), model, settings)
    if settings.include_usage:
        asked["stream_options"] = {"include_usage": True}
    if request.tools:
        asked["tools"] = [{"type": "function", "function": _function(sendable(tool))} for tool in request.tools]
    if request.json_output:
        asked["response_format"] = {"type": "json_object"}
    if request.reasoning is not None:
        effort = settings.efforts.get(request.reasoning, request.reasoning)
        if settings.preset.reasoning == "object":
            asked["reasoning"] = {"effort": effort}
        else:
            asked["reasoning_effort"] = effort
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


def _function(tool: ToolDefinition) -> dict[str, Any]:
    function = {"name": TOOLS.there(tool.name), "description": tool.description, "parameters": dict(tool.parameters)}
    return function if tool.strict is None else {**function, "strict": tool.strict}


def _messages(message: PromptMessage, settings: Settings, signed: str) -> list[dict[str, Any]]:
    parts = message.parts
    if message.role == "tool":
        return [
            {"role": "tool", "tool_call_id": call_id(p.call), "content": p.content}
            for p in parts
            if isinstance(p, ToolResult)
        ]
    content = shown(message)
    said: dict[str, Any] = {"role": message.role, "content": _content(content)}
    if calls := [_call(p) for p in parts if isinstance(p, ToolCall)]:
        said["content"] = said["content"] or None
        said["tool_calls"] = calls
    elif not content:
        return []
    if settings.reasoning_back and message.role == "assistant":
        # Also empty: it has to be there (https://api-docs.deepseek.com/guides/thinking_mode#tool-calls).
        said["reasoning_content"] = "".join([p.text for p in parts if isinstance(p, Reasoning) and p.seal is None])
    if maker := settings.preset.maker:
        seals = [p.seal for p in parts if isinstance(p, Reasoning | ToolCall)]
        if details := [detail for seal in seals for detail in opened_details(seal, maker, signed)]:
            said["reasoning_details"] = details
    return [said]


def _content(parts: list[Text | ImageData | FileData]) -> str | list[dict[str, Any]]:
    if all(isinstance(p, Text) for p in parts):
        return "".join([p.text for p in parts if isinstance(p, Text)])
    return [_part(p) for p in parts]


def _part(part: Text | ImageData | FileData) -> dict[str, Any]:
    if isinstance(part, Text):
        return {"type": "text", "text": part.text}
    if isinstance(part, ImageData):
        return {"type": "image_url", "image_url": {"url": data_url(part)}}
    return {"type": "file", "file": {"filename": part.name, "file_data": data_url(part)}}


def _call(call: ToolCall) -> dict[str, Any]:
    function = {"name": TOOLS.there(call.name), "arguments": call.arguments}
    return {"id": call_id(call.id), "type": "function", "function": function}
