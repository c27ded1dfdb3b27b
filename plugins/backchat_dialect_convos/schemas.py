"""What comes in: bodies and query strings of the convos dialect. Unknown fields are ignored."""

from __future__ import annotations

import re
from typing import Any

from marshmallow import INCLUDE, ValidationError, fields, post_load, validate, validates_schema

from backchat.web.fields import Uploads, too_deep
from backchat_dialect_convos.fields import (
    Count,
    Direction,
    Feedback,
    Flag,
    Json,
    Lenient,
    Sort,
    Switch,
    needed,
    plain,
    wrapped,
)

EXTENTS = {
    "directPath": "path",
    "direct": "path",
    "includeBranches": "branches",
    "branch": "branches",
    "targetLevel": "level",
    "": "level",
}
_ID = re.compile(r"[\x21-\x7e]{1,128}\Z")
_PROJECT = re.compile("[0-9a-f]{24}", re.IGNORECASE)


def _project(value: str | None) -> None:
    if value and value != "unassigned" and not _PROJECT.fullmatch(value):
        raise ValidationError("must be a valid project id or unassigned")


# ---- conversations --------------------------------------------------------------------------------------------------


class ListSchema(Lenient):
    limit = Count(25, 100)
    cursor = plain("`nextCursor` of the page before.")
    isArchived = Flag("Archived ones instead of the others.")
    pinned = Flag("Only pinned ones.")
    tags = fields.List(fields.String(), load_default=[], metadata={"description": "With any of these; repeatable."})
    search = plain("Words that are all in the title, or all in one of the messages.")
    sortBy = Sort("updatedAt", "createdAt", "title", "archivedAt")
    sortDirection = Direction()
    projectId = plain("`unassigned`, or the id of a project, of which there are none.", validate=_project)


class UpdateSchema(Lenient):
    conversationId = needed()
    title = fields.String(
        required=True,
        error_messages={"required": "is required", "null": "must be a string", "invalid": "must be a string"},
        metadata={"description": "Trimmed, and cut to 1024 UTF-16 code units."},
    )


class ArchiveSchema(Lenient):
    conversationId = needed()
    isArchived = Switch(missing="must be a boolean")


class PinSchema(Lenient):
    conversationId = needed()
    pinned = Switch(missing="is required")


class DeleteSchema(Lenient):
    """Nothing is required here: what is missing is answered in several ways."""

    conversationId = fields.Raw(load_default=None, metadata={"type": "string"})
    thread_id = fields.Raw(load_default=None, metadata={"type": "string", "description": "Ignored."})
    endpoint = fields.Raw(load_default=None, metadata={"type": "string", "description": "Ignored."})
    source = fields.Raw(load_default=None, metadata={"type": "string", "description": "Ignored."})


class ForkSchema(Lenient):
    conversationId = needed()
    messageId = needed("The target.")
    option = fields.String(
        load_default="",
        allow_none=True,
        error_messages={"invalid": "must be a string"},
        metadata={"enum": [name for name in EXTENTS if name], "default": "targetLevel"},
    )
    splitAtTarget = Switch(load_default=False)
    latestMessageId = plain("With `splitAtTarget`: the message that `option` reaches from.")

    @post_load
    def extent(self, data: dict[str, Any], **_: Any) -> dict[str, Any]:
        option = data["option"] or ""
        if option not in EXTENTS:
            raise ValidationError({"option": [f"must be one of {', '.join(name for name in EXTENTS if name)}"]})
        return {**data, "option": EXTENTS[option]}

    @validates_schema
    def has_an_end(self, data: dict[str, Any], **_: Any) -> None:
        if data.get("splitAtTarget") and not data.get("latestMessageId"):
            raise ValidationError({"latestMessageId": ["is required"]})


class DuplicateSchema(Lenient):
    conversationId = needed()
    title = plain("Of the copy, if it is to be another one.")


class ImportSchema(Lenient):
    file = Uploads(
        most=1,
        required=True,
        error_messages={"required": "is required: one file, in a multipart form"},
        metadata={"description": "A .json or .jsonl file, or a .zip of them."},
    )


class ImportQuerySchema(Lenient):
    background = Flag("Answer at once, and import meanwhile.")


class ExportQuerySchema(Lenient):
    format = Sort("librechat", "markdown", "backchat")


class ExportAllQuerySchema(Lenient):
    format = Sort("zip", "jsonl")


# ---- messages -------------------------------------------------------------------------------------------------------


class NewMessageSchema(Lenient):
    """A message as LibreChat has them; what is not named here is kept as it is."""

    class Meta:
        unknown = INCLUDE

    messageId = plain(
        "Made here if it is missing; one that the conversation has is stored anew, in its place.",
        validate=validate.Regexp(_ID, error="must be 1 to 128 visible ASCII characters"),
    )
    conversationId = plain()
    parentMessageId = plain("The message that this one follows; null or the zero UUID for a root.")
    message = Json(load_default=None, metadata={"type": "object", "description": "Only its conversationId is read."})
    text = plain("What it says.")
    content = fields.List(
        fields.Dict(keys=fields.String()),
        load_default=None,
        allow_none=True,
        error_messages={"invalid": "must be a list of parts"},
        metadata={"description": "Parts; they go before `text`."},
    )
    isCreatedByUser = Switch(load_default=True)
    sender = plain()
    model = plain()
    endpoint = plain()
    error = fields.Raw(load_default=False, metadata={"type": "boolean"})
    unfinished = Switch(load_default=False)
    metadata = Json(load_default=None, metadata={"type": "object"})
    isTemporary = Switch(load_default=False)

    @validates_schema(skip_on_field_errors=False)
    def shallow(self, data: dict[str, Any], **_: Any) -> None:
        if too_deep(data):
            raise ValidationError("The message is nested too deep")


class MessagesQuerySchema(Lenient):
    conversationId = plain()
    messageId = plain()
    search = plain("Words that a message has all of.")
    cursor = plain("`nextCursor` of the page before.")
    pageSize = Count(25, 100)
    sortBy = Sort("createdAt", "updatedAt", "endpoint", strict=False)
    sortDirection = Direction()


class NamedSchema(Lenient):
    """What may name the conversation of the path again."""

    conversationId = plain("That of the path.")
    message = Json(load_default=None, metadata={"type": "object", "description": "Only its conversationId is read."})


class EditSchema(NamedSchema):
    text = fields.String(
        required=True,
        error_messages={"required": "is required", "null": "is required", "invalid": "must be a string"},
    )
    model = plain()
    index = fields.Raw(load_default=None, metadata={"type": "integer", "description": "Of the content part."})


class FeedbackSchema(NamedSchema):
    feedback = Feedback(
        load_default=None,
        allow_none=True,
        metadata={"type": "object", "description": "`rating` (thumbsUp, thumbsDown), `tag`, `text`; or null."},
    )


# ---- tags and shares ------------------------------------------------------------------------------------------------


class NewTagSchema(Lenient):
    tag = needed()
    description = plain()
    addToConversation = Switch(load_default=False)
    conversationId = plain("That gets the tag, with `addToConversation`.")


class TagSchema(Lenient):
    tag = plain("Its new name.")
    description = plain()
    position = fields.Integer(
        strict=True, load_default=None, allow_none=True, error_messages={"invalid": "must be an integer"}
    )


class TagsSchema(Lenient):
    tags = fields.List(
        fields.String(error_messages={"invalid": "must be a string"}),
        required=True,
        error_messages={"required": "is required", "null": "is required", "invalid": "must be a list"},
    )


class ShareSchema(Lenient):
    targetMessageId = plain("The last message that is shown, with the path to it; every branch if there is none.")
    snapshotFiles = Switch(load_default=False, metadata={"description": "Ignored."})


class SharesQuerySchema(Lenient):
    pageSize = Count(25, 100)
    cursor = plain("`nextCursor` of the page before.")
    search = plain("Words of the title.")
    sortBy = Sort("createdAt", "title")
    sortDirection = Direction()


class ContinueSchema(Lenient):
    targetMessageIndex = fields.Integer(
        strict=True,
        load_default=None,
        allow_none=True,
        error_messages={"invalid": "must be an integer"},
        metadata={"description": "Up to which of the messages that the link shows, from 0."},
    )
    shareRevision = plain("The revision that was read, to be sure that it is what is copied.")


# ---- accounts -------------------------------------------------------------------------------------------------------


class LoginSchema(Lenient):
    email = plain("Address, or name, of the user.")
    password = plain()


UPDATE, ARCHIVE, PIN = (wrapped(s()) for s in (UpdateSchema, ArchiveSchema, PinSchema))
DELETE = wrapped(DeleteSchema(), required=False)
