"""A ``ModelRequest`` as the body of ``POST /api/chat``: https://docs.ollama.com/api/chat"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

from backchat.domain.message import Reasoning, Text, ToolCall, ToolResult
from backchat.ports.providers import ImageData, ModelRequest, PromptMessage, grounded_system
from backchat.upstream.bodies import dumped
from backchat.upstream.histories import object_of
from backchat.upstream.schemas import sendable
from backchat_ollama.settings import Settings

MAKER = "ollama"
"""Of seals: their data is the name of the model that thought, for it is shown its own thinking again and no other's."""
PARAMETERS = frozenset(
    {
        "min_p",
        "mirostat",
        "mirostat_eta",
        "mirostat_tau",
        "repeat_last_n",
        "repeat_penalty",
        "seed",
        "stop",
        "top_k",
        "typical_p",
    }
)
"""What users may set by name, of Ollama's options.

Others are left out: they load the model anew, and take memory. A deployer sets those with ``options``.
https://docs.ollama.com/modelfile#valid-parameters-and-values
"""
IMAGES = frozenset({"image/jpeg", "image/png", "image/webp"})
"""What every version that shows models images can read (https://docs.ollama.com/capabilities/vision)."""


def encode(request: ModelRequest, settings: Settings) -> bytes:
    """The JSON body. Raises ProviderRejected for a prompt that JSON cannot carry."""
    return dumped(body(request, settings))


def body(request: ModelRequest, settings: Settings) -> dict[str, Any]:
    model = request.model or settings.model
    system = grounded_system(request)
    messages: list[dict[str, Any]] = [{"role": "system", "content": system}] if system else []
    messages += _messages(request.messages, model)
    asked: dict[str, Any] = {**settings.extra_body, "model": model, "messages": messages, "stream": True}
    if options := _options(request, settings):
        asked["options"] = options
    if settings.keep_alive is not None:
        asked["keep_alive"] = settings.keep_alive
    if request.tools:
        asked["tools"] = [
            {
                "type": "function",
                "function": {"name": t.name, "description": t.description, "parameters": dict(t.parameters)},
            }
            for t in map(sendable, request.tools)
        ]
    if request.json_output:
        asked["format"] = "json"
    if request.reasoning is not None:
        asked["think"] = request.reasoning if settings.levels else True
    return asked


def _options(request: ModelRequest, settings: Settings) -> dict[str, Any]:
    """What users may choose about the words; what the configuration fixes comes over it."""
    sampling = request.sampling
    chosen = {name: value for name, value in sampling.parameters.items() if name in PARAMETERS}
    if isinstance(chosen.get("stop"), str):
        chosen["stop"] = [chosen["stop"]]  # the service takes a list only
    named = {
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "num_predict": sampling.max_tokens,
        "frequency_penalty": sampling.frequency_penalty,
        "presence_penalty": sampling.presence_penalty,
    }
    return chosen | {name: value for name, value in named.items() if value is not None} | dict(settings.options)


def _messages(messages: Sequence[PromptMessage], model: str) -> Iterator[dict[str, Any]]:
    """Results have no ids here: they name their tools, and those of one message stand in the order of its calls."""
    names: dict[str, str] = {}
    order: dict[str, int] = {}
    for is_tool, group in groupby(messages, lambda m: m.role == "tool"):
        if is_tool:
            results = [p for m in group for p in m.parts if isinstance(p, ToolResult)]
            for result in sorted(results, key=lambda r: order.get(r.call, len(order))):
                yield {"role": "tool", "content": result.content, "tool_name": names.get(result.call, result.call)}
            continue
        for message in group:
            order = {p.id: n for n, p in enumerate(message.parts) if isinstance(p, ToolCall)}
            names |= {p.id: p.name for p in message.parts if isinstance(p, ToolCall)}
            if (said := _said(message, model)) is not None:
                yield said


def _said(message: PromptMessage, model: str) -> dict[str, Any] | None:
    """None for a message of nothing."""
    parts = message.parts
    said: dict[str, Any] = {
        "role": message.role,
        "content": "".join([p.text for p in parts if isinstance(p, Text)]),
    }
    if images := [b64encode(p.data).decode() for p in parts if isinstance(p, ImageData)]:
        said["images"] = images
    if calls := [_call(p) for p in parts if isinstance(p, ToolCall)]:
        said["tool_calls"] = calls
    if not said["content"] and len(said) == 2:
        return None
    if thought := "".join([p.text for p in parts if isinstance(p, Reasoning) and _own(p, model)]):
        said["thinking"] = thought
    return said


def _own(thought: Reasoning, model: str) -> bool:
    return thought.seal is not None and thought.seal.maker == MAKER and thought.seal.data == model


def _call(call: ToolCall) -> dict[str, Any]:
    return {"function": {"name": call.name, "arguments": object_of(call.arguments)}}
