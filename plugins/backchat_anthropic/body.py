"""A ``ModelRequest`` as the body of ``POST /v1/messages`` (https://platform.claude.com/docs/en/api/messages)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from backchat.errors import ProviderRejected
from backchat.ports.providers import ModelRequest, ToolDefinition, grounded_system
from backchat.upstream.bodies import dumped
from backchat.upstream.http import Asked
from backchat.upstream.schemas import sendable
from backchat.upstream.seals import signer
from backchat_anthropic.generations import Generation, generation
from backchat_anthropic.messages import TOOLS, Conversation, conversation
from backchat_anthropic.objects import ASKED
from backchat_anthropic.settings import Settings

PARAMETERS = frozenset({"stop_sequences", "top_k"})
"""What users may set by name, of the fields that the service has beyond the settings of a conversation.

Others are left out: there are such as pick a place, a tier, a container or tools of the service's own, which cost
extra. A deployer sets those with ``extra_body``.
"""
BETA = "anthropic-beta"
BINDING = "thinking-binding-controls-2026-08-01"
"""The beta under which a request may say what becomes of thinking whose conversation has changed."""
_BUDGETS = {"low": 4_096, "medium": 12_288, "high": 24_576}
_LEAST_BUDGET = 1024
_HOTTEST = 1.0
_LEAST_TOP_P = 0.95


def encode(request: ModelRequest, settings: Settings, betas: Sequence[str] = ()) -> Asked:
    """With the beta that the request needs beside ``betas``, which all of them are sent with.

    Raises ProviderRejected for what the model cannot do, and for a prompt that JSON or the protocol cannot carry.
    """
    tools = TOOLS.changed([tool.name for tool in request.tools])
    made = body(request, settings)
    bound = "block_binding" in made.get("thinking", {})
    return Asked(dumped(made), {BETA: ",".join([*betas, BINDING])} if bound else None, tools)


def body(request: ModelRequest, settings: Settings) -> dict[str, Any]:
    model = request.model or settings.model
    able = generation(model, settings)
    spoken = conversation(request.messages, signer(settings.base_url, model))
    limit = request.sampling.max_tokens or settings.max_tokens
    thinking = _thinking(request, able, spoken, limit)
    asked = _chosen(request, able, bool(thinking)) | dict(settings.extra_body)
    asked |= {"model": model, "max_tokens": limit, "stream": True, "messages": spoken.turns}
    if thinking:
        asked["thinking"] = thinking
    if thinking and request.reasoning is not None and able.thinking == "adaptive":
        asked["output_config"] = {**asked.get("output_config", {}), "effort": request.reasoning}
    if system := _system(request, spoken):
        asked["system"] = system
    if request.tools:
        asked["tools"] = [_tool(sendable(tool)) for tool in request.tools]
    elif spoken.called:
        # Calls in the history need their tools to be declared, also where none is offered any more.
        asked["tools"] = [{"name": name, "input_schema": {"type": "object"}} for name in spoken.called]
        asked["tool_choice"] = {"type": "none"}
    if settings.cache:
        _mark(asked, bool(request.system.strip()), settings)
    return asked


def _thinking(request: ModelRequest, able: Generation, spoken: Conversation, limit: int) -> dict[str, Any]:
    """How the model is asked to think; empty: as it does by itself.

    An answer that goes on after tool calls, and that another model or service began, has no thinking to go on from.
    Models with a budget refuse to begin it then, so that they are not asked to until the answer after it.
    """
    made: dict[str, Any] = {}
    if request.reasoning is not None and able.thinking == "budget":
        if limit <= _LEAST_BUDGET:
            raise ProviderRejected(
                f"to think, this model needs more than {_LEAST_BUDGET} tokens: max_tokens must be larger"
            )
        if not spoken.unthought:
            budget = max(min(_BUDGETS[request.reasoning], limit // 2), _LEAST_BUDGET)
            made = {"type": "enabled", "budget_tokens": budget}
    elif request.reasoning is not None:
        made = {"type": "adaptive", "display": "summarized"}
    if able.bound and spoken.sealed:
        made = {"type": "adaptive", **made, "block_binding": {"prefix_mismatch_behavior": "drop_block"}}
    return made


def _chosen(request: ModelRequest, able: Generation, thinks: bool) -> dict[str, Any]:
    """What users may choose about the words, as far as the model takes it; what the configuration fixes comes over it.

    A model that thinks takes neither temperature nor ``top_k``, and a high ``top_p`` only
    (https://platform.claude.com/docs/en/build-with-claude/extended-thinking).
    """
    sampling = request.sampling
    chosen = {name: value for name, value in sampling.parameters.items() if name in PARAMETERS}
    if not able.sampled or thinks:
        chosen.pop("top_k", None)
    if not able.sampled:
        return chosen
    if sampling.temperature is not None and not thinks:
        chosen["temperature"] = min(sampling.temperature, _HOTTEST)
    taken = not (thinks and (sampling.top_p or 0) < _LEAST_TOP_P) and not (able.either and "temperature" in chosen)
    if sampling.top_p is not None and taken:
        chosen["top_p"] = sampling.top_p
    return chosen


def _system(request: ModelRequest, spoken: Conversation) -> list[dict[str, Any]]:
    """What changes from turn to turn is a block of its own, so that what comes before it can be kept in the cache."""
    changing = [grounded_system(replace(request, system="")), ASKED if request.json_output else ""]
    texts = [request.system, "\n\n".join(spoken.system), "\n\n".join([text for text in changing if text])]
    return [{"type": "text", "text": text} for text in texts if text and not text.isspace()]


def _tool(tool: ToolDefinition) -> dict[str, Any]:
    schema = {"type": "object", **tool.parameters}  # the type may not be left out
    made: dict[str, Any] = {"name": TOOLS.there(tool.name), "description": tool.description, "input_schema": schema}
    if tool.strict:
        made["strict"] = True
    return made


def _mark(asked: dict[str, Any], instructed: bool, settings: Settings) -> None:
    """Two marks for the cache: after what all turns have in common, and at the end, where the next call goes on.

    A mark counts for all that comes before it, in the order tools, system, messages
    (https://platform.claude.com/docs/en/build-with-claude/prompt-caching).
    """
    mark: dict[str, Any] = {"type": "ephemeral"}
    if settings.cache_ttl != "5m":
        mark["ttl"] = settings.cache_ttl
    if instructed:
        asked["system"][0]["cache_control"] = mark
    elif asked.get("tools"):
        asked["tools"][-1]["cache_control"] = mark
    asked["messages"][-1]["content"][-1]["cache_control"] = mark
