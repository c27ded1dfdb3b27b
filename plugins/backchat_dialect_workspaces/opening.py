"""What paths name, opened before anything else of a request is read: 404 and 403 come before 400."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from backchat.domain.conversation import Conversation
from backchat.domain.rights import Action
from backchat.web.dialect import Call

Opens = Callable[[Call], Awaitable[Any]]


def workspace(action: Action = "enter") -> Opens:
    """The workspace of the path, and the caller's role there."""

    async def opens(call: Call) -> Any:
        return await call.services.workspaces.open(call.who, call.path("workspace_id"), action)

    return opens


def session(action: Action = "read") -> Opens:
    """The session of the path, of the workspace of the path, if the caller may do this with it."""

    async def opens(call: Call) -> Conversation:
        services, who = call.services, call.who
        found = await services.workspace_conversations.open(who, call.path("workspace_id"), call.path("session_id"))
        if action != "read":
            await services.access.require(who, action, found)
        return found

    return opens
