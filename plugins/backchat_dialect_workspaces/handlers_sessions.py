"""Sessions: lists, one of them, what is done to it, and its public view."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from aiohttp import web
from marshmallow import ValidationError

from backchat.domain.conversation import Conversation
from backchat.domain.settings import ModelSettings
from backchat.errors import InvalidInput, NotFound
from backchat.services.container import Services
from backchat.services.workspace_conversations import Change, Order
from backchat.web.body import Misfit
from backchat.web.dialect import Call
from backchat_dialect_workspaces import shapes
from backchat_dialect_workspaces.answering import CHANNEL, MANY, json_answer
from backchat_dialect_workspaces.paging import paged, window
from backchat_dialect_workspaces.problems import HIDDEN, NOT_FOUND
from backchat_dialect_workspaces.schemas import SessionSchema

ORDERS: Mapping[str, Order] = {"updated_at": "updated", "created_at": "created", "name": "title"}
SAMPLING = {
    **{name: name for name in ("temperature", "max_tokens", "top_p", "frequency_penalty", "presence_penalty")},
    "model_parameters": "parameters",
}
"""What the settings of a model are called in bodies, and here."""
NEW = {"agent_framework": shapes.NO_AGENT}
"""What a session begins with: the server's tools are there."""


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
    body = call.body
    begun = _settings(call.services, {**NEW, **body}, ModelSettings(), {})
    given = Change(
        title=body.get("name"),
        status=body.get("status"),
        settings=lambda _: begun,
        options={"stream": body["stream"]} if "stream" in body else None,
    )
    made = await call.services.workspace_conversations.create(
        call.who, call.path("workspace_id"), given, channel=CHANNEL
    )
    return json_answer(_shown(call, made), 201)


async def get_session(call: Call) -> web.Response:
    return json_answer(_shown(call, call.opened))


async def update_session(call: Call) -> web.Response:
    """Change what is given; settings hold from the next message on.

    What is given as it is shown changes nothing: neither is a default chosen by it, nor need it be there any more.
    """
    body, before, services = call.body, call.opened, call.services
    stream = body.get("stream", shapes.streams(before))
    change = Change(
        title=_name(body["name"], before.title) if "name" in body else None,
        status=body.get("status"),
        settings=lambda there: _settings(services, body, there, shapes.answering(there, services)),
        options={"stream": stream} if stream != shapes.streams(before) else None,
    )
    changed = await services.workspace_conversations.update(call.who, before.id, change)
    return json_answer(_shown(call, changed))


async def delete_session(call: Call) -> web.Response:
    await call.services.conversations.discard(call.who, call.opened.id)
    return web.Response(status=204)


def _shown(call: Call, conversation: Conversation) -> dict[str, Any]:
    return shapes.session(conversation, call.who, call.services)


def _name(given: Any, before: str) -> str | None:
    """The name that is asked for; None if it is the one that there is. Raises Misfit like the schema of a new one."""
    if given == (before or None):
        return None
    try:
        return SessionSchema(only=("name",)).load({"name": given})["name"] or ""
    except ValidationError as error:
        raise Misfit("body", error) from None


def _settings(
    services: Services, body: Mapping[str, Any], there: ModelSettings, shown: Mapping[str, Any]
) -> ModelSettings:
    """The settings that the body makes of those that there are; ``shown``: who answers, as it is shown.

    Another provider answers with its own model unless one is given. Raises InvalidInput for a provider, framework or
    memory strategy that there is not.
    """
    given = {name: value for name, value in body.items() if name not in shown or value != shown[name]}
    provider, agent = given.get("ai_provider", there.provider), given.get("agent_framework", there.agent)
    if provider not in (None, there.provider) and services.providers.find(provider) is None:
        raise InvalidInput(f"must be one of: {', '.join(services.providers.configured)}", field="body.ai_provider")
    if agent not in (None, there.agent) and agent not in services.agents:
        raise InvalidInput(f"must be one of: {', '.join(services.agents)}", field="body.agent_framework")
    memory = body.get("memory_strategy", there.memory)
    if memory not in (None, there.memory) and memory not in services.strategies:
        raise InvalidInput(f"must be one of: {', '.join(services.strategies)}", field="body.memory_strategy")
    chosen = {name: body[field] for field, name in SAMPLING.items() if field in body}
    return replace(
        there,
        provider=provider,
        model=given.get("ai_model", there.model) if provider == there.provider else body.get("ai_model"),
        agent=agent,
        memory=memory,
        system=body.get("system_prompt", there.system),
        sampling=replace(there.sampling, **chosen),
    )


# ---- for everybody --------------------------------------------------------------------------------------------------


async def toggle_public(call: Call) -> web.Response:
    return json_answer(shapes.published(await call.services.publishing.toggle(call.who, call.opened.id)))


async def read_public(call: Call) -> web.Response:
    """Whatever the reason why a link shows nothing, the answer is the same."""
    try:
        conversation, messages = await call.services.publishing.read(call.path("link_uuid"))
    except NotFound:
        raise NotFound(NOT_FOUND) from None
    if len(messages) < MANY:
        told = shapes.public(conversation, messages, call.services)
    else:
        told = await asyncio.to_thread(shapes.public, conversation, messages, call.services)
    return json_answer(told, headers=HIDDEN)
