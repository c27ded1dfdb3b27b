"""A ``ModelRequest`` as the body of ``streamGenerateContent``: https://ai.google.dev/api/generate-content"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from backchat.domain.recipe import Effort
from backchat.errors import ProviderRejected
from backchat.ports.providers import Abilities, FileData, ImageData, ModelRequest, ToolDefinition, grounded_system
from backchat.upstream.refusing import refuse
from backchat_google.contents import contents, system_texts
from backchat_google.names import before_3, tool_name, tool_names
from backchat_google.settings import Settings

PARAMETERS: Mapping[str, str] = {
    "seed": "seed",
    "stop": "stopSequences",
    "stopSequences": "stopSequences",
    "stop_sequences": "stopSequences",
    "topK": "topK",
    "top_k": "topK",
}
"""What users may set by name, and what it is called in ``generationConfig``, besides the settings of a conversation.

Others are left out: there are fields that change the format of the answer or the bill. A deployer sets those with
``extra_body``.
"""
_BUDGETS: Mapping[Effort, int] = {"low": 1024, "medium": 8192, "high": 24576}
"""Tokens. Google's own translation of efforts: https://ai.google.dev/gemini-api/docs/openai#thinking"""
_EFFORT = ("thinkingLevel", "thinkingBudget")
_LARGE = 256 << 10
"""Bytes of images and documents that take milliseconds to encode: a thread does it."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A body, and what tools are called here that had to be called otherwise there."""

    body: bytes
    tools: Mapping[str, str]


async def encoded(request: ModelRequest, settings: Settings, model: str, abilities: Abilities) -> Asked:
    """Raises ProviderRejected for what the model cannot do, and for what JSON or the protocol cannot carry."""
    refuse(request, abilities)
    if request.json_output and request.tools and before_3(model):
        raise ProviderRejected("Gemini models before the third generation give JSON only when they have no tools")
    tools = tool_names([t.name for t in request.tools])
    size = sum([len(p.data) for m in request.messages for p in m.parts if isinstance(p, ImageData | FileData)])
    if size < _LARGE:
        return Asked(_encode(request, settings, model), tools)
    return Asked(await asyncio.to_thread(_encode, request, settings, model), tools)


def _encode(request: ModelRequest, settings: Settings, model: str) -> bytes:
    try:
        return orjson.dumps(body(request, settings, model))
    except orjson.JSONEncodeError:
        raise ProviderRejected("the prompt holds something that JSON cannot carry, such as half a character") from None


def body(request: ModelRequest, settings: Settings, model: str) -> dict[str, Any]:
    asked = dict(settings.extra_body)
    asked["contents"] = contents(request.messages, model)
    grounded = grounded_system(request)
    if system := [*([grounded] if grounded else []), *system_texts(request.messages)]:
        asked["systemInstruction"] = {"parts": [{"text": "\n\n".join(system)}]}
    if request.tools:
        asked["tools"] = [{"functionDeclarations": [_declared(t) for t in request.tools]}]
        if any(t.strict for t in request.tools):
            asked["toolConfig"] = {"functionCallingConfig": {"mode": "VALIDATED"}}
    if config := _config(request, settings, model):
        asked["generationConfig"] = config
    return asked


def _declared(tool: ToolDefinition) -> dict[str, Any]:
    declared: dict[str, Any] = {"name": tool_name(tool.name), "parametersJsonSchema": dict(tool.parameters)}
    return {**declared, "description": tool.description} if tool.description else declared


def _config(request: ModelRequest, settings: Settings, model: str) -> dict[str, Any]:
    """What users may choose, what the configuration fixes, then what the request needs: the later comes over it."""
    fixed = settings.extra_body.get("generationConfig", {})
    config = _chosen(request, settings) | dict(fixed)
    if request.json_output:
        config["responseMimeType"] = "application/json"
    if request.reasoning is not None:
        kept = {name: value for name, value in fixed.get("thinkingConfig", {}).items() if name not in _EFFORT}
        config["thinkingConfig"] = {"includeThoughts": True, **kept, **_effort(request.reasoning, settings, model)}
    return config


def _chosen(request: ModelRequest, settings: Settings) -> dict[str, Any]:
    sampling = request.sampling
    chosen = {PARAMETERS[name]: value for name, value in sampling.parameters.items() if name in PARAMETERS}
    if isinstance(chosen.get("stopSequences"), str):
        chosen["stopSequences"] = [chosen["stopSequences"]]
    named = {"temperature": sampling.temperature, "topP": sampling.top_p, "maxOutputTokens": sampling.max_tokens}
    if settings.penalties:
        named |= {"frequencyPenalty": sampling.frequency_penalty, "presencePenalty": sampling.presence_penalty}
    return chosen | {name: value for name, value in named.items() if value is not None}


def _effort(effort: Effort, settings: Settings, model: str) -> dict[str, Any]:
    """One of the two ways: the service refuses both at once, and each for models of the other."""
    said_as = settings.thinking or ("budget" if before_3(model) else "level")
    return {"thinkingBudget": _BUDGETS[effort]} if said_as == "budget" else {"thinkingLevel": effort.upper()}
