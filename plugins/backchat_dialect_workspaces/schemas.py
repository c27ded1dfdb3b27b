"""What comes in: bodies and query strings of the workspaces dialect."""

from __future__ import annotations

from typing import Any

from marshmallow import ValidationError, fields, validates_schema

from backchat_dialect_workspaces.fields import (
    Choice,
    Count,
    Lenient,
    Natural,
    Number,
    Parameters,
    Switch,
    Words,
)
from backchat_dialect_workspaces.problems import NON_FIELD

NAME, MODEL, PROMPT, CONTENT = 255, 100, 32_000, 100_000
"""Characters of a name, a model's or provider's name, the instructions, and a message."""
PARAMETERS = 16_384
"""Bytes of JSON."""
ID = 320
"""Characters of an id or an e-mail address."""
STATUSES = ("active", "completed", "archived")
ROLES = ("user", "assistant", "system", "tool")
ORDERS = ("updated_at", "-updated_at", "created_at", "-created_at", "name", "-name")


def _one_of(data: dict[str, Any], *names: str) -> None:
    if sum(name in data for name in names) != 1:
        raise ValidationError({NON_FIELD: [f"Exactly one of {', '.join(names)} is required."]})


# ---- workspaces -----------------------------------------------------------------------------------------------------


class PageSchema(Lenient):
    page = Natural(1, description="From 1.")
    page_size = Natural(20, 100)


class NewWorkspaceSchema(Lenient):
    name = Words(NAME, required=True)


class WorkspaceSchema(Lenient):
    name = Words(NAME)


class MemberSchema(Lenient):
    user_id = Words(ID, description="Of an existing account; or its `email`.")
    email = Words(ID)
    role = Choice("member", "admin", description="`member`, or what it was before.")

    @validates_schema
    def names_one(self, data: dict[str, Any], **_: Any) -> None:
        _one_of(data, "user_id", "email")


# ---- sessions -------------------------------------------------------------------------------------------------------


class SessionsQuerySchema(PageSchema):
    status = Choice(*STATUSES, load_default=None)
    search = Words(1024, blank=True, trim=False, load_default="", description="A part of the name, in any case.")
    ordering = Choice(*ORDERS, load_default="-updated_at")


class SessionSchema(Lenient):
    """Nothing is required: what is missing has its default, and keeps its value when a session is changed."""

    name: fields.Field[Any] = Words(NAME, blank=True, allow_none=True)
    status = Choice(*STATUSES)
    ai_provider = Words(MODEL, allow_none=True, description="Name of a configured provider; null for the default.")
    ai_model = Words(MODEL, allow_none=True, description="null for the one that the provider is configured with.")
    system_prompt = Words(PROMPT, blank=True, trim=False)
    temperature = Number(0.0, 2.0)
    max_tokens = Count()
    top_p = Number(0.0, 1.0)
    frequency_penalty = Number(-2.0, 2.0)
    presence_penalty = Number(-2.0, 2.0)
    stream = Switch("Kept, and without effect.")
    model_parameters = Parameters(PARAMETERS, "What else the provider takes, by its names.")
    agent_framework = Words(MODEL, description="`none`, or the name of an installed framework.")
    memory_strategy = Words(MODEL, allow_none=True, description="Of those of the server; null for its default.")


class SessionChangeSchema(SessionSchema):
    """A name is judged by the handler: the one that there is may be longer, if another dialect has given it."""

    name = fields.Raw(allow_none=True, metadata={"type": "string", "maxLength": NAME})


class ShareSchema(Lenient):
    user_id = Words(ID, description="Of a member of the workspace; or their `email`.")
    email = Words(ID)
    permission = Choice("view", "edit", description="`view`, or what it was before.")

    @validates_schema
    def names_one(self, data: dict[str, Any], **_: Any) -> None:
        _one_of(data, "user_id", "email")


class RevokeSchema(Lenient):
    share_id = Words(ID, description="Exactly one of these three.")
    user_id = Words(ID)
    email = Words(ID)

    @validates_schema
    def names_one(self, data: dict[str, Any], **_: Any) -> None:
        _one_of(data, "share_id", "user_id", "email")


# ---- messages -------------------------------------------------------------------------------------------------------


class MessagesQuerySchema(Lenient):
    page = Natural(1, description="From 1.")
    page_size = Natural(50, 100)
    role = Choice(*ROLES, load_default=None)


class MessageSchema(Lenient):
    role = Choice("user", load_default="user")
    content = Words(CONTENT, trim=False, required=True)
