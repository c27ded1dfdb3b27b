"""Sessions: lists, one of them, what is done to it, and its public view."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from aiohttp import web

from backchat.domain.conversation import Conversation
from backchat.domain.settings import ModelSettings
from backchat.errors import InvalidInput, NotFound
from backchat.services.container import Services
from backchat.services.workspace_conversations import Change, Order
from backchat.web.dialect import Call
from backchat_dialect_workspaces import shapes
from backchat_dialect_workspaces.answering import CHANNEL, json_answer
from backchat_dialect_workspaces.paging import paged, window
from backchat_dialect_workspaces.problems import NOT_FOUND

ORDERS: Mapping[str, Order] = {"updated_at": "updated", "created_at": "created", "name": "title"}
SETTINGS = {"ai_provider": "provider", "ai_model": "model", "system_prompt": "system", "agent_framework": "agent"}
SAMPLING = {
    **{name: name for name in ("temperature", "max_tokens", "top_p", "frequency_penalty", "presence_penalty")},
    "model_parameters": "parameters",
}
"""What settings are called in bodies, and here."""
NEW = {"agent_framework": shapes.NO_AGENT}
"""What a session begins with: the server's tools are there."""
HIDDEN = {"Cache-Control": "no-store", "X-Robots-Tag": "noindex", "Referrer-Policy": "no-referrer"}
"""Headers of what everybody may see who has a link: nobody keeps it, finds it or passes the link on."""


async def list_sessions(call: Call) -> web.Response:
    query = call.query
    skip, size = window(call)
    ordering = query["ordering"]
    found, count = await call.services.workspace_conversations.page(
        call.who,
        call.path("workspace_id"),
        status=query["status"],
        search=query["search"],
        order=ORDERS[ordering.removeprefix("-")],
        descending=ordering.startswith("-"),
        skip=skip,
        limit=size,
    )
    return json_answer(paged(call, [_shown(call, c) for c in found], count))


async def create_session(call: Call) -> web.Response:
    given = _change(call.services, {**NEW, **call.body})
    made = await call.services.workspace_conversations.create(
        call.who, call.path("workspace_id"), given, channel=CHANNEL
    )
    return json_answer(_shown(call, made), 201)


async def get_session(call: Call) -> web.Response:
    return json_answer(_shown(call, call.opened))


async def update_session(call: Call) -> web.Response:
    """Change what is given; settings hold from the next message on."""
    change = _change(call.services, call.body)
    changed = await call.services.workspace_conversations.update(call.who, call.opened.id, change)
    return json_answer(_shown(call, changed))


async def delete_session(call: Call) -> web.Response:
    await call.services.conversations.discard(call.who, call.opened.id)
    return web.Response(status=204)


def _shown(call: Call, conversation: Conversation) -> dict[str, Any]:
    return shapes.session(conversation, call.who, call.services)


def _change(services: Services, body: Mapping[str, Any]) -> Change:
    """What the body asks for. Raises InvalidInput for a provider or framework that there is not."""
    provider, agent = body.get("ai_provider"), body.get("agent_framework")
    if provider is not None and services.providers.find(provider) is None:
        raise InvalidInput(f"must be one of: {', '.join(services.providers.configured)}", field="body.ai_provider")
    if agent is not None and agent not in services.agents:
        raise InvalidInput(f"must be one of: {', '.join(services.agents)}", field="body.agent_framework")

    def settings(there: ModelSettings) -> ModelSettings:
        given = {name: body[field] for field, name in SETTINGS.items() if field in body}
        chosen = {name: body[field] for field, name in SAMPLING.items() if field in body}
        return replace(there, **given, sampling=replace(there.sampling, **chosen))

    return Change(
        title=(body["name"] or "") if "name" in body else None,
        status=body.get("status"),
        settings=settings,
        options={"stream": body["stream"]} if "stream" in body else None,
    )


# ---- for everybody --------------------------------------------------------------------------------------------------


async def toggle_public(call: Call) -> web.Response:
    return json_answer(shapes.published(await call.services.publishing.toggle(call.who, call.opened.id)))


async def read_public(call: Call) -> web.Response:
    """Whatever the reason why a link shows nothing, the answer is the same."""
    try:
        conversation, messages = await call.services.publishing.read(call.path("link_uuid"))
    except NotFound:
        return json_answer({"detail": NOT_FOUND, "code": "not_found"}, 404, HIDDEN)
    return json_answer(shapes.public(conversation, messages, call.services), headers=HIDDEN)
