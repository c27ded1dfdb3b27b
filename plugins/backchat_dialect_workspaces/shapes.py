"""What goes out: values of the domain as the objects of this API."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson

from backchat.domain.conversation import Conversation
from backchat.domain.identity import Identity, User
from backchat.domain.message import Message, ToolCall, ToolResult
from backchat.domain.rights import Role
from backchat.domain.settings import ModelSettings
from backchat.domain.times import stamp
from backchat.domain.workspace import Workspace
from backchat.services.container import Services
from backchat.services.grants import Granted
from backchat.services.workspace_conversations import status_of
from backchat.services.workspaces import Member
from backchat_dialect_workspaces.problems import PUBLIC

NO_AGENT = "none"
"""The agent of a session that was begun where there are no agents."""


def workspace(w: Workspace, role: Role) -> dict[str, Any]:
    return {
        "id": w.id,
        "name": w.name,
        "owner": w.owner,
        "role": role,
        "is_personal": w.personal,
        "created_at": stamp(w.created_at),
        "updated_at": stamp(w.updated_at),
    }


def member(m: Member) -> dict[str, Any]:
    return {"user": _person(m.user), "role": m.membership.role, "created_at": stamp(m.membership.created_at)}


def _person(user: User) -> dict[str, Any]:
    return {"id": user.id, "email": user.email}


# ---- sessions -------------------------------------------------------------------------------------------------------


def session(c: Conversation, who: Identity, services: Services) -> dict[str, Any]:
    """``shareable_link_id`` is null for everybody but the owner."""
    settings, sampling = c.settings, c.settings.sampling
    mine = c.owner == who.user
    return {
        "id": c.id,
        "workspace": c.home,
        "user": c.owner,
        "name": c.title or None,
        "status": status_of(c),
        **answering(settings, services),
        "memory_strategy": settings.memory,
        "system_prompt": settings.system,
        "temperature": sampling.temperature,
        "max_tokens": sampling.max_tokens,
        "top_p": sampling.top_p,
        "frequency_penalty": sampling.frequency_penalty,
        "presence_penalty": sampling.presence_penalty,
        "stream": streams(c),
        "model_parameters": dict(sampling.parameters),
        "is_shared": bool(c.grants),
        "is_public": c.public,
        "shareable_link_id": c.link if mine else None,
        "permission": "owner" if mine else next((g.permission for g in c.grants if g.user == who.user), "view"),
        "created_at": stamp(c.created_at),
        "updated_at": stamp(c.updated_at),
    }


def answering(settings: ModelSettings, services: Services) -> dict[str, Any]:
    """Who answers: whoever was chosen, also if that is gone, else the server's defaults."""
    return {**_model(settings, services), "agent_framework": settings.agent or NO_AGENT}


def _model(settings: ModelSettings, services: Services) -> dict[str, Any]:
    chosen = settings.provider or services.providers.default
    found = services.providers.find(chosen)
    return {"ai_provider": chosen, "ai_model": settings.model or (found.provider.model if found else None)}


def streams(c: Conversation) -> bool:
    return c.options.get("stream") is True


def published(c: Conversation) -> dict[str, Any]:
    """What its owner is told after publishing it, or taking it back."""
    return {
        "id": c.id,
        "is_public": c.public,
        "shareable_link_id": c.link,
        "public_path": f"{PUBLIC}{c.link}/" if c.public else None,
    }


def public(c: Conversation, messages: Sequence[Message], services: Services) -> dict[str, Any]:
    """What everybody may see who has the link. What is not named here is not shown."""
    return {
        "name": c.title or None,
        **_model(c.settings, services),
        "created_at": stamp(c.created_at),
        "updated_at": stamp(c.updated_at),
        "messages": [
            {
                "id": m.id,
                "role": m.role,
                "content": m.text,
                "sequence_number": m.seq,
                "created_at": stamp(m.created_at),
            }
            for m in messages
            if m.role in ("user", "assistant")
        ],
    }


def share(g: Granted, session: str) -> dict[str, Any]:
    return {
        "id": g.grant.id,
        "session": session,
        "user": _person(g.user),
        "shared_by": g.grant.shared_by,
        "permission": g.grant.permission,
        "created_at": stamp(g.grant.created_at),
    }


# ---- messages -------------------------------------------------------------------------------------------------------


def messages(shown: Iterable[Message], around: Iterable[Message]) -> list[dict[str, Any]]:
    """Messages of one conversation; ``around`` are those among which their parents are."""
    known = {m.id: m for m in around}
    return [_message(m, known) for m in shown]


def _message(m: Message, known: Mapping[str, Message]) -> dict[str, Any]:
    calls = [p for p in m.parts if type(p) is ToolCall]
    results = [p for p in m.parts if type(p) is ToolResult]
    return {
        "id": m.id,
        "session": m.conversation,
        "user": m.author if m.role == "user" else None,
        "parent_message": _asked(m, known),
        "sequence_number": m.seq,
        "role": m.role,
        "content": "\n".join([r.content for r in results]) if m.role == "tool" else m.text,
        "tool_calls": [{"id": c.id, "name": c.name, "args": _arguments(c.arguments)} for c in calls] or None,
        "tool_call_id": results[0].call if results else None,
        "created_at": stamp(m.created_at),
        "updated_at": stamp(m.updated_at or m.created_at),
    }


def _asked(m: Message, known: Mapping[str, Message]) -> str | None:
    """The user's message that a model's or a tool's belongs to: the next one above, past the calls of tools and their
    results. None if another answer, or nothing, is there.
    """
    if m.role not in ("assistant", "tool"):
        return None
    above = known.get(m.parent or "")
    while above is not None and _works(above):
        above = known.get(above.parent or "")
    return above.id if above is not None and above.role == "user" else None


def _works(m: Message) -> bool:
    return m.role == "tool" or (m.role == "assistant" and any(type(p) is ToolCall for p in m.parts))


def _arguments(text: str) -> Any:
    """The arguments of a call as the object that they are, or as the text that the model wrote instead of one."""
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError:
        return text
    return found if isinstance(found, dict) else text
