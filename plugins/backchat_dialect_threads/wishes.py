"""What the body of a message asks for: refused with a sentence that names the field, or made into a ``Say``."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, TypeVar

from backchat.domain.identity import Identity
from backchat.domain.recipe import Effort, MemoryMode
from backchat.errors import InvalidInput
from backchat.ports.providers import ImageData
from backchat.services.container import Services
from backchat.services.filenames import image_type
from backchat.services.providers import Configured
from backchat.services.saying import Say
from backchat.web.multipart import Upload
from backchat_dialect_threads.tools import checked_tools

T = TypeVar("T")
CHANNEL = "threads"
MODES: Mapping[str, MemoryMode] = {"auto": "write", "on": "write", "readonly": "read", "off": "off"}
EFFORTS: Mapping[str, Effort] = {"low": "low", "medium": "medium", "high": "high"}
LOW, MEDIUM = 2048, 8192
"""Budgets of tokens up to which a model thinks with low and with medium effort."""
_UPLOADS = ("input_image", "input_last_frame", "input_video", "input_references")


def refuse_missing_features(body: Mapping[str, Any]) -> None:
    """InvalidInput for what the SDK can ask for and this server does not have."""

    def refuse(field: str, feature: str) -> None:
        raise InvalidInput(f"this server has no {feature}", field=f"body.{field}")

    if (body["operation"] or "chat").lower() != "chat":
        refuse("operation", f"{body['operation'][:40]!r}: it generates no images and no video; 'chat' is what it does")
    for field, feature in (("image_generation", "image generation"), ("video_generation", "video generation")):
        if (body[field] or "off").lower() != "off":
            refuse(field, feature)
    for field in _UPLOADS:
        if body[field]:
            refuse(field, "image or video generation")
    if body["voice"] or body["audio_file"]:
        refuse("voice" if body["voice"] else "audio_file", "voice: neither speech to text nor text to speech")
    if body["system_one"] is not None:
        refuse("system_one", "System One")


async def say_of(services: Services, who: Identity, body: Mapping[str, Any], thread: str | None) -> Say:
    """The message as the service takes it, without its files. Raises InvalidInput, NotFound and NotOwned."""
    refuse_missing_features(body)
    web = _web_search(body["web_search"])
    if not (body["content"] or "").strip() and not body["files"]:
        raise InvalidInput(
            "a message needs content or files (a body of JSON says so with Content-Type: application/json)",
            field="body.content",
        )
    tools = await checked_tools(body["tools"]) if body["tools"] is not None else None
    reasoning, memory, metadata = effort_of(body["thinking"]), _memory(body), _metadata(body["metadata"])
    chosen = await provider_of(services, who, body["llm_provider"])
    return Say(
        text=body["content"] or "",
        conversation=thread,
        assistant=await _assistant(services, who, thread, body["assistant_id"]),
        provider=chosen.name,
        model=body["model_name"],
        system=body["system_prompt"],
        tools=tools,
        takes_tools=True,
        confirms=True,
        web=web,
        parameters={"openrouter": body["openrouter"]} if body["openrouter"] else {},
        reasoning=reasoning,
        json_output=body["json_output"],
        memory=memory,
        cite=body["memory_response_citation"],
        images=[i for i in map(_seen, body["files"]) if i is not None] if chosen.provider.abilities.vision else (),
        options={"thinking": "hidden"} if body["thinking"] and body["thinking"].get("exclude_reasoning") else {},
        metadata=metadata,
        channel=CHANNEL,
    )


async def provider_of(services: Services, who: Identity, word: str | None) -> Configured:
    """The provider of that name, whatever its case; without a word the user's own default, else the server's."""
    providers = services.providers
    if word is None:
        saved = (await services.accounts.settings_of(who)).get("provider")
        return (providers.find(saved) if saved else None) or providers.choose(None)
    found = providers.find(word) or providers.find(word.lower())
    if found is None:
        raise InvalidInput(
            f"no provider {word[:100]!r} is configured here; this server has: {', '.join(providers.configured)}",
            field="body.llm_provider",
        )
    return found


async def _assistant(services: Services, who: Identity, thread: str | None, asked: str | None) -> str | None:
    """Who answers in the thread: the assistant it has, the one asked for, or the user's default one.

    None in a thread of somebody else's that has none.
    """
    if thread is not None:
        conversation = await services.conversations.open(who, thread)
        if conversation.assistant is not None:
            if asked is not None and asked != conversation.assistant:
                raise InvalidInput("the thread belongs to another assistant", field="body.assistant_id")
            return conversation.assistant
        if asked is None and not await services.access.allows(who, "update", conversation):
            return None  # who it is shared with does not choose who answers there
    if asked is not None:
        return (await services.assistants.open(who, asked)).id
    return (await services.assistants.default(who)).id


def _memory(body: Mapping[str, Any]) -> MemoryMode:
    if body["memory"] is not None and body["memory_pro"] is not None:
        raise InvalidInput("memory and memory_pro cannot be used together", field="body.memory_pro")
    field = "memory" if body["memory"] is not None else "memory_pro"
    return _mode(body[field] or "off", field, MODES)


def _web_search(word: str | None) -> bool:
    return _mode(word or "off", "web_search", {"auto": True, "on": True, "off": False})


def _mode(word: str, field: str, modes: Mapping[str, T]) -> T:
    if word.lower() not in modes:
        raise InvalidInput(f"must be one of: {', '.join(modes)}", field=f"body.{field}")
    return modes[word.lower()]


def effort_of(thinking: Mapping[str, Any] | None) -> Effort | None:
    """How hard to think: ``effort`` itself, else what a budget of tokens is good for; ``{}`` is medium, None not."""
    if thinking is None:
        return None
    word = thinking.get("effort")
    if word is not None:
        if not isinstance(word, str) or word.lower() not in EFFORTS:
            raise InvalidInput(f"must be one of: {', '.join(EFFORTS)}", field="body.thinking.effort")
        return EFFORTS[word.lower()]
    for name in ("budget_tokens", "max_tokens"):
        budget = thinking.get(name)
        if budget is not None:
            if not isinstance(budget, int) or isinstance(budget, bool) or budget < 1:
                raise InvalidInput("must be a positive integer", field=f"body.thinking.{name}")
            return "low" if budget <= LOW else "medium" if budget <= MEDIUM else "high"
    return "medium"


def _metadata(metadata: Mapping[str, Any] | None) -> Mapping[str, Any]:
    when = (metadata or {}).get("custom_timestamp")
    if when is not None:
        try:
            datetime.fromisoformat(when)
        except (TypeError, ValueError):
            raise InvalidInput("must be an ISO 8601 time", field="body.metadata.custom_timestamp") from None
    return metadata or {}


def _seen(upload: Upload) -> ImageData | None:
    """The upload as an image that models can see, if it is one."""
    mime = image_type(upload.data)
    return ImageData(mime, upload.data) if mime is not None else None
