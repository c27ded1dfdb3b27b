"""What goes out, as schemas: for the OpenAPI document only. ``shapes`` makes the answers themselves."""

from __future__ import annotations

from typing import Any

from marshmallow import Schema, fields


def _text(description: str = "") -> fields.String:
    return fields.String(metadata={"description": description} if description else {})


def _maybe(description: str) -> fields.String:
    return fields.String(allow_none=True, metadata={"description": description})


def _list(of: type[Schema]) -> fields.List[Any]:
    return fields.List(fields.Nested(of))


class ItemSchema(Schema):
    _id = _text("24 hexadecimal digits.")
    conversationId = _text()
    user = _text()
    title = _text()
    endpoint = _text("Of the product that it was imported from; `custom` if there is none.")
    model = _text()
    createdAt = fields.DateTime()
    updatedAt = fields.DateTime()
    isArchived = fields.Boolean()
    archivedAt = fields.DateTime(metadata={"description": "Absent unless it is archived."})
    pinned = fields.Boolean()
    isShared = fields.Boolean(metadata={"description": "There is a link to it."})


class ListedSchema(Schema):
    conversations = _list(ItemSchema)
    nextCursor = _maybe("null at the end.")


class ConversationSchema(Schema):
    """Also has the settings that it was imported with, under the names that they had there."""

    class Meta:
        include = {"__v": fields.Integer()}  # noqa: RUF012 (marshmallow's way to say what a class cannot)

    _id = _text("24 hexadecimal digits.")
    conversationId = _text()
    user = _text()
    title = _text()
    endpoint = _text("The provider that answered last.")
    model = _text("The model that answered last.")
    messages = fields.List(fields.String(), metadata={"description": "`_id` of each."})
    files = fields.List(fields.String())
    tags = fields.List(fields.String())
    createdAt = fields.DateTime()
    updatedAt = fields.DateTime()
    isArchived = fields.Boolean()
    archivedAt = fields.DateTime(metadata={"description": "Absent unless it is archived."})
    pinned = fields.Boolean()
    isTemporary = fields.Boolean()
    expiredAt = fields.DateTime(metadata={"description": "The last moment at which it can be read."})


class MessageSchema(Schema):
    """Also has what the product that it was imported from said of it, under the names that it had there."""

    messageId = _text()
    conversationId = _text()
    parentMessageId = _text("The zero UUID for a root.")
    isCreatedByUser = fields.Boolean()
    sender = _text()
    text = _text()
    content = fields.List(fields.Dict(), metadata={"description": "Parts, if there is more than text."})
    files = fields.List(fields.Dict(), metadata={"description": "Documents that came with it."})
    model = _text()
    endpoint = _text()
    tokenCount = fields.Integer()
    error = fields.Boolean()
    unfinished = fields.Boolean()
    feedback = fields.Dict()
    metadata = fields.Dict()
    createdAt = fields.DateTime()
    updatedAt = fields.DateTime()


class CopySchema(Schema):
    conversation = fields.Nested(ConversationSchema)
    messages = _list(MessageSchema)


class MessagesPageSchema(Schema):
    messages = _list(MessageSchema)
    nextCursor = _maybe("null at the end.")


class FeedbackAnswerSchema(Schema):
    messageId = _text()
    conversationId = _text()
    feedback = fields.Dict(allow_none=True)


class TitleSchema(Schema):
    title = _text()


class ArchivedAllSchema(Schema):
    archivedCount = fields.Integer()


class DeletedMessagesSchema(Schema):
    acknowledged = fields.Boolean()
    deletedCount = fields.Integer()


class DeletedSchema(Schema):
    acknowledged = fields.Boolean()
    deletedCount = fields.Integer(metadata={"description": "Conversations: 0 for one that is not there."})
    messages = fields.Nested(DeletedMessagesSchema)
    conversationIds = fields.List(fields.String())


class ImportErrorSchema(Schema):
    index = fields.Integer(metadata={"description": "Of the entry in the file, from 0."})
    title = _maybe("As far as it could be read.")
    reason = _text()


class ImportedSchema(Schema):
    message = _text()
    jobId = _text("If it goes on in the background.")
    imported = fields.Integer(metadata={"description": "Conversations that were added, or grew."})
    skipped = fields.Integer(metadata={"description": "Conversations that were here already."})
    failed = fields.Integer(metadata={"description": "Entries that were not imported."})
    errors = fields.List(fields.Nested(ImportErrorSchema), metadata={"description": "The first hundred of them."})


class ProgressSchema(ImportedSchema):
    class Meta:
        exclude = ("message",)

    status = _text("running, done, failed, cancelled or interrupted.")
    name = _text("Of the file.")
    size = fields.Integer(metadata={"description": "Bytes of the file."})
    read = fields.Integer(metadata={"description": "Bytes that were read."})
    final = fields.Boolean(metadata={"description": "It has ended."})


class TagAnswerSchema(Schema):
    _id = _text()
    user = _text()
    tag = _text()
    description = _text()
    position = fields.Integer()
    count = fields.Integer(metadata={"description": "Conversations that have it."})
    createdAt = fields.DateTime()
    updatedAt = fields.DateTime()


class LinkSchema(Schema):
    success = fields.Boolean()
    _id = _text()
    shareId = _maybe("null if there is no link.")
    conversationId = _text()
    targetMessageId = _text()


class ListedLinkSchema(Schema):
    shareId = _text()
    title = _text()
    conversationId = _text()
    createdAt = fields.DateTime()
    updatedAt = fields.DateTime()


class LinksSchema(Schema):
    links = _list(ListedLinkSchema)
    nextCursor = _maybe("null at the end.")
    hasNextPage = fields.Boolean()


class UnsharedSchema(Schema):
    success = fields.Boolean()
    shareId = _text()
    message = _text()


class SharedSchema(Schema):
    """All ids but that of the link are made for this answer."""

    shareId = _text()
    title = _text()
    createdAt = fields.DateTime()
    updatedAt = fields.DateTime()
    conversationId = _text()
    shareRevision = _text("Changes whenever what is shown does.")
    messages = _list(MessageSchema)


class UserSchema(Schema):
    _id = _text()
    id = _text()
    username = _text()
    name = _text()
    email = _text()
    emailVerified = fields.Boolean()
    avatar = _text()
    provider = _text()
    role = _text("USER or ADMIN.")
    plugins = fields.List(fields.String())
    twoFactorEnabled = fields.Boolean()
    termsAccepted = fields.Boolean()
    createdAt = fields.DateTime()
    updatedAt = fields.DateTime()


class LoginAnswerSchema(Schema):
    token = _text("A JWT, good for some minutes.")
    user = fields.Nested(UserSchema)


class LogoutSchema(Schema):
    message = _text()


class ConfigSchema(Schema):
    """What a web client asks for before it shows anything; more after a login."""

    appTitle = _text()
    serverDomain = _text()
    emailLoginEnabled = fields.Boolean()
    registrationEnabled = fields.Boolean()
    sharedLinksEnabled = fields.Boolean()
    conversationImportMaxFileSize = fields.Integer()
