"""What goes out, as schemas: for the OpenAPI document only. ``shapes`` makes the answers themselves."""

from __future__ import annotations

from typing import Any

from marshmallow import Schema, fields


def _text(description: str = "") -> fields.String:
    return fields.String(metadata={"description": description} if description else {})


def _maybe(description: str = "") -> fields.String:
    return fields.String(allow_none=True, metadata={"description": description} if description else {})


def _number() -> fields.Float:
    return fields.Float(allow_none=True)


class PersonSchema(Schema):
    id = _text()
    email = _maybe()


class PageAnswerSchema(Schema):
    count = fields.Integer(metadata={"description": "Of all pages together."})
    next = _maybe("Address of the next page.")
    previous = _maybe()


class WorkspaceAnswerSchema(Schema):
    id = _text()
    name = _text()
    owner = _text("Id of a user.")
    role = _text("The caller's: owner, admin or member.")
    is_personal = fields.Boolean(metadata={"description": "It is there from the beginning, and cannot be deleted."})
    created_at = fields.DateTime()
    updated_at = fields.DateTime()


class WorkspacesSchema(PageAnswerSchema):
    results = fields.List(fields.Nested(WorkspaceAnswerSchema))


class MemberAnswerSchema(Schema):
    user = fields.Nested(PersonSchema)
    role = _text("owner, admin or member.")
    created_at = fields.DateTime()


class MembersSchema(PageAnswerSchema):
    results = fields.List(fields.Nested(MemberAnswerSchema))


class SessionAnswerSchema(Schema):
    id = _text()
    workspace = _text()
    user = _text("Id of its owner.")
    name = _maybe()
    status = _text("active, completed or archived.")
    ai_provider = _text()
    ai_model = _maybe()
    system_prompt = _text()
    temperature = _number()
    max_tokens = fields.Integer(allow_none=True)
    top_p = _number()
    frequency_penalty = _number()
    presence_penalty = _number()
    stream = fields.Boolean()
    model_parameters = fields.Dict()
    agent_framework = _text()
    memory_strategy = _maybe()
    is_shared = fields.Boolean()
    is_public = fields.Boolean()
    shareable_link_id = _maybe("null for others than its owner.")
    permission = _text("The caller's: owner, edit or view.")
    created_at = fields.DateTime()
    updated_at = fields.DateTime()


class SessionsSchema(PageAnswerSchema):
    results = fields.List(fields.Nested(SessionAnswerSchema))


class PublishedSchema(Schema):
    id = _text()
    is_public = fields.Boolean()
    shareable_link_id = _text("The same every time.")
    public_path = _maybe("null if it is not public.")


class ShareAnswerSchema(Schema):
    id = _text()
    session = _text()
    user = fields.Nested(PersonSchema)
    shared_by = _text("Id of a user.")
    permission = _text("view or edit.")
    created_at = fields.DateTime()


class ToolCallSchema(Schema):
    id = _text()
    name = _text()
    args = fields.Raw(metadata={"type": "object", "description": "The text that the model wrote if it is none."})


class MessageAnswerSchema(Schema):
    id = _text()
    session = _text()
    user = _maybe("Id of its author; null for messages of models and tools.")
    parent_message = _maybe("The user's message that it answers.")
    sequence_number = fields.Integer()
    role = _text("user, assistant, system or tool.")
    content = _text()
    tool_calls: fields.List[Any] = fields.List(fields.Nested(ToolCallSchema), allow_none=True)
    tool_call_id = _maybe("The call that a tool's message answers.")
    created_at = fields.DateTime()
    updated_at = fields.DateTime()


class MessagesSchema(PageAnswerSchema):
    results = fields.List(fields.Nested(MessageAnswerSchema))


class ReplySchema(Schema):
    """With 201 the messages; with 202 the task."""

    user_message = fields.Nested(MessageAnswerSchema, allow_none=True)
    ai_messages = fields.List(fields.Nested(MessageAnswerSchema))
    task_id = _text()
    status = _text("processing.")


class TaskSchema(Schema):
    task_id = _text()
    status = _text("processing, completed or failed.")
    user_message = fields.Nested(MessageAnswerSchema, allow_none=True, metadata={"description": "Of a completed task."})
    ai_messages = fields.List(fields.Nested(MessageAnswerSchema), metadata={"description": "Of a completed task."})
    error = _text("Of a failed task.")
    code = _text(
        "Of a failed task: provider_error, timeout, insufficient_credits, cancelled, server_restart or internal."
    )


class PublicMessageSchema(Schema):
    id = _text()
    role = _text("user or assistant.")
    content = _text()
    sequence_number = fields.Integer()
    created_at = fields.DateTime()


class PublicSchema(Schema):
    name = _maybe()
    ai_provider = _text()
    ai_model = _maybe()
    created_at = fields.DateTime()
    updated_at = fields.DateTime()
    messages = fields.List(fields.Nested(PublicMessageSchema))
