"""What comes in: request bodies and query strings of the chat dialect. Unknown fields are ignored."""

from __future__ import annotations

import base64
import binascii
import re
from typing import Any

from marshmallow import EXCLUDE, Schema, ValidationError, fields, post_load, validate

from backchat.ports.providers import ImageData
from backchat.services.filenames import image_type

MOST_REASON = 2000
"""Characters."""
MOODS = ("serious", "friendly", "normal")
_MIME = re.compile(r"image/[a-z0-9][a-z0-9.+-]{0,60}", re.IGNORECASE)


def _not_blank(text: str) -> None:
    if not text.strip():
        raise ValidationError("Must not be blank.")


def _image_type(mime: str) -> None:
    if not _MIME.fullmatch(mime):
        raise ValidationError("Must be an image type such as image/png.")


class Lenient(Schema):
    class Meta:
        unknown = EXCLUDE


class SendSchema(Lenient):
    """Clients in the wild send more fields than these."""

    text = fields.String(required=True, validate=_not_blank, metadata={"description": "What the user says."})
    provider = fields.String(
        load_default="default",
        metadata={
            "description": "ollama, groq, google, claude, openai, openrouter, the name of a configured provider, or "
            "default (the user's own default, else the server's)."
        },
    )
    conversation_id = fields.String(
        load_default=None, allow_none=True, metadata={"description": "Continues a conversation; without it a new one."}
    )
    mood = fields.String(
        load_default=None,
        allow_none=True,
        validate=validate.OneOf(MOODS),
        metadata={"description": "Tone of the answer; null is the user's saved mood."},
    )
    web = fields.Boolean(load_default=False, metadata={"description": "Prefer web tools for this answer."})
    image_base64 = fields.String(
        load_default=None, allow_none=True, metadata={"description": "An image, raw base64 without a data: prefix."}
    )
    image_mime = fields.String(
        load_default=None,
        allow_none=True,
        validate=_image_type,
        metadata={"description": "Type of the image, if its bytes do not tell; image/jpeg if absent."},
    )

    @post_load
    def image(self, data: dict[str, Any], **_: Any) -> dict[str, Any]:
        """Replace the two image fields by ``image``: ImageData or None."""
        encoded, mime = data.pop("image_base64"), data.pop("image_mime")
        data["image"] = None
        if encoded is not None:
            try:
                content = base64.b64decode(encoded, validate=True)
            except (binascii.Error, ValueError):
                raise ValidationError("Not valid base64.", "image_base64") from None
            if not content:
                raise ValidationError("The image is empty.", "image_base64")
            data["image"] = ImageData(image_type(content) or (mime or "image/jpeg").lower(), content)
        return data


class Consent(fields.Boolean):
    """Nothing else is taken for it: not 1, not "yes"."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **_: Any) -> bool:
        if not isinstance(value, bool):
            raise ValidationError("Must be true or false.")
        return value


class ConfirmSchema(Lenient):
    allow = Consent(
        required=True,
        metadata={"description": "true: run the calls; false: do not, and say so to the model."},
    )
    calls = fields.List(
        fields.String(),
        load_default=None,
        allow_none=True,
        validate=validate.Length(min=1),
        metadata={"description": "Ids of the calls that are meant; without it all that wait."},
    )
    reason = fields.String(
        load_default="",
        validate=validate.Length(max=MOST_REASON),
        metadata={"description": "What the model is told of why not."},
    )


_LIMIT: dict[str, Any] = {"load_default": 50, "validate": validate.Range(min=1, max=100)}


class ListSchema(Lenient):
    channel = fields.String(load_default=None, metadata={"description": "Only conversations of this channel."})
    limit = fields.Integer(**_LIMIT, metadata={"description": "How many at most."})


class MessagesSchema(Lenient):
    conversation_id = fields.String(required=True, metadata={"description": "The conversation."})
    limit = fields.Integer(**_LIMIT, metadata={"description": "How many of the newest messages."})


class TruncateSchema(Lenient):
    keep_count = fields.Integer(
        required=True,
        strict=True,
        validate=validate.Range(min=0),
        metadata={"description": "How many of the newest messages stay; 0 deletes all."},
    )


class ResumeSchema(Lenient):
    after = fields.Integer(
        load_default=0,
        validate=validate.Range(min=0),
        metadata={"description": "Number of the last event that was received. Last-Event-ID says it too; more counts."},
    )


class ProviderSettingSchema(Lenient):
    provider = fields.String(required=True, metadata={"description": "The user's default provider, or default."})


class MoodSettingSchema(Lenient):
    mood = fields.String(
        required=True, validate=validate.OneOf(MOODS), metadata={"description": "The user's default mood."}
    )
