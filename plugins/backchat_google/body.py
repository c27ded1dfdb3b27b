"""A ``ModelRequest`` as the body of ``streamGenerateContent``: https://ai.google.dev/api/generate-content"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from backchat.domain.recipe import Effort
from backchat.errors import ProviderRejected
from backchat.ports.providers import ModelRequest, ToolDefinition, grounded_system
from backchat.upstream.bodies import dumped
from backchat.upstream.http import Asked
from backchat.upstream.schemas import sendable
from backchat_google.contents import contents, system_texts
from backchat_google.names import TOOLS, before_3
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


def encode(request: ModelRequest, settings: Settings, model: str) -> Asked:
    """Raises ProviderRejected for what the model cannot do, and for what JSON or the protocol cannot carry."""
    if request.json_output and request.tools and before_3(model):
        raise ProviderRejected("Gemini models before the third generation give JSON only when they have no tools")
    tools = TOOLS.changed([t.name for t in request.tools])
    return Asked(dumped(body(request, settings, model)), tools=tools)


def body(request: ModelRequest, settings: Settings, model: str) -> dict[str, Any]:
    asked = dict(settings.extra_body)
    asked["contents"] = contents(request.messages, model)
    grounded = grounded_system(request)
    if system := [*([grounded] if grounded else []), *system_texts(request.messages)]:
        asked["systemInstruction"] = {"parts": [{"text": "\n\n".join(system)}]}
    if request.tools:
        asked["tools"] = [{"functionDeclarations": [_declared(sendable(t)) for t in request.tools]}]
        if any(t.strict for t in request.tools):
            asked["toolConfig"] = {"functionCallingConfig": {"mode": "VALIDATED"}}
    if config := _config(request, settings, model):
        asked["generationConfig"] = config
    return asked


def _declared(tool: ToolDefinition) -> dict[str, Any]:
    declared: dict[str, Any] = {"name": TOOLS.there(tool.name), "parametersJsonSchema": dict(tool.parameters)}
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
