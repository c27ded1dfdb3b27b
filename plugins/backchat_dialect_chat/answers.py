"""What goes out, as schemas: for the OpenAPI document only. ``shapes`` makes the answers themselves."""

from __future__ import annotations

from marshmallow import Schema, fields


class AskedSchema(Schema):
    id = fields.String()
    name = fields.String()
    label = fields.String(metadata={"description": "The name for people."})
    arguments = fields.Dict()


class WaitsSchema(Schema):
    """What only a reply has that waits."""

    run_id = fields.String(metadata={"description": "Of a reply that waits."})
    confirm = fields.List(
        fields.Nested(AskedSchema), metadata={"description": "The calls of tools that it waits with for the user."}
    )


class ReplySchema(WaitsSchema):
    reply = fields.String(metadata={"description": "The complete answer."})
    conversation_id = fields.String()
    provider = fields.String(metadata={"description": "The provider that answered."})
    finish = fields.String(metadata={"description": "Only if the answer was cut off: length or content_filter."})
    status = fields.String(metadata={"description": "waiting, and else not there: what was said so far."})


class ConversationSchema(Schema):
    id = fields.String()
    title = fields.String()
    created_at = fields.DateTime()
    last_active = fields.DateTime()
    message_count = fields.Integer()
    approx_tokens = fields.Integer(metadata={"description": "Characters divided by four."})
    folder_id = fields.String(allow_none=True)
    channel = fields.String()


class ConversationsSchema(Schema):
    conversations = fields.List(fields.Nested(ConversationSchema))


class MessageSchema(WaitsSchema):
    id = fields.Integer(metadata={"description": "Number of the message in its conversation."})
    role = fields.String()
    content = fields.String()
    provider = fields.String(allow_none=True)
    status = fields.String(metadata={"description": "complete, or why the text is only a part of an answer."})
    created_at = fields.DateTime()


class MessagesAnswerSchema(Schema):
    conversation_id = fields.String()
    messages = fields.List(fields.Nested(MessageSchema))


class OkSchema(Schema):
    ok = fields.Boolean()


class TruncatedSchema(OkSchema):
    conversation_id = fields.String()
    keep_count = fields.Integer(metadata={"description": "Messages that were kept."})
    deleted = fields.Integer()


class ConfirmedSchema(OkSchema):
    run_id = fields.String()
    status = fields.String(metadata={"description": "running; waiting while something is still to be decided."})


class CancelledSchema(OkSchema):
    run_id = fields.String()
    status = fields.String(metadata={"description": "completed if the reply had ended before."})
