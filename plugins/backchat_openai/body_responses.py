"""A ``ModelRequest`` as the body of ``POST /responses`` (https://developers.openai.com/api/reference/responses).

Nothing is stored at the service: the whole history goes with every request, and the model's thinking, encrypted by the
service, comes back to it right before what it came before.
"""

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
from backchat_openai.seals import opened_items
from backchat_openai.settings import OPENROUTER, Settings

Item = dict[str, Any]


def responses_body(request: ModelRequest, settings: Settings) -> dict[str, Any]:
    """Raises ProviderRejected for a prompt that the protocol cannot carry."""
    model = request.model or settings.model
    signed = signer(settings.base_url, model)
    items = [item for message in carried(request.messages) for item in _items(message, signed)]
    if must_say_json(request, ()):  # that the instructions say it does not count
        items.insert(0, {"role": "system", "content": JSON_PLEASE})
    sampling = request.sampling
    chosen = {
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "max_output_tokens": sampling.max_tokens,
        "store": False,
        # Only models that reason may be asked for it.
        "include": ["reasoning.encrypted_content"] if settings.reasoning else None,
        "reasoning": _reasoning(request, settings),
        "text": _text(request),
    }
    asked: dict[str, Any] = {name: value for name, value in chosen.items() if value is not None}
    for name, fixed in settings.extra_body.items():
        ours = asked.get(name)
        asked[name] = ours | fixed if type(ours) is dict and type(fixed) is dict else fixed
    asked |= {"model": model, "input": items, "stream": True}
    if system := grounded_system(request):
        asked["instructions"] = system
    if settings.preset is OPENROUTER:
        asked |= routed(sampling.parameters.get("openrouter"), model, settings)
    if request.tools:
        asked["tools"] = [_tool(sendable(tool)) for tool in request.tools]
    return asked


def _reasoning(request: ModelRequest, settings: Settings) -> dict[str, Any] | None:
    """A summary only for who wants the model to think: some accounts may not have one."""
    wished = request.sampling.parameters.get("reasoning_effort")
    if request.reasoning is None:
        return {"effort": wished} if wished is not None else None
    reasoning = {"effort": settings.efforts.get(request.reasoning, request.reasoning)}
    return reasoning | {"summary": settings.reasoning_summary} if settings.reasoning_summary else reasoning


def _text(request: ModelRequest) -> dict[str, Any] | None:
    text: dict[str, Any] = {}
    if request.json_output:
        text["format"] = {"type": "json_object"}
    if (verbosity := request.sampling.parameters.get("verbosity")) is not None:
        text["verbosity"] = verbosity
    return text or None


def _tool(tool: ToolDefinition) -> Item:
    """Without ``strict`` this API would hold every tool to its schema, and change the schema for that."""
    return {
        "type": "function",
        "name": TOOLS.there(tool.name),
        "description": tool.description,
        "parameters": dict(tool.parameters),
        "strict": bool(tool.strict),
    }


def _items(message: PromptMessage, signed: str) -> list[Item]:
    """Reasoning that was sealed comes before the text, or the call, that it led to, and not without it."""
    parts = message.parts
    if message.role == "tool":
        return [
            {"type": "function_call_output", "call_id": call_id(p.call), "output": p.content}
            for p in parts
            if isinstance(p, ToolResult)
        ]
    items: list[Item] = []
    if content := shown(message):
        if message.role == "assistant":
            items += [i for p in parts if isinstance(p, Reasoning) for i in opened_items(p.seal, signed)]
        items.append({"role": message.role, "content": _content(content)})
    for part in parts:
        if isinstance(part, ToolCall):
            items += opened_items(part.seal, signed)
            items.append(_call(part))
    return items


def _content(parts: list[Text | ImageData | FileData]) -> str | list[Item]:
    if all(isinstance(p, Text) for p in parts):
        return "".join([p.text for p in parts if isinstance(p, Text)])
    return [_part(p) for p in parts]


def _part(part: Text | ImageData | FileData) -> Item:
    if isinstance(part, Text):
        return {"type": "input_text", "text": part.text}
    if isinstance(part, ImageData):
        return {"type": "input_image", "image_url": data_url(part), "detail": "auto"}
    return {"type": "input_file", "filename": part.name, "file_data": data_url(part)}


def _call(call: ToolCall) -> Item:
    # Without the item's own id, which nobody could look up.
    name = TOOLS.there(call.name)
    return {"type": "function_call", "call_id": call_id(call.id), "name": name, "arguments": call.arguments}
