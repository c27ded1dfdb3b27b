"""Forms, bodies and query strings of transcription, translation and tokens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from marshmallow import ValidationError, fields

from backchat.domain.languages import LANGUAGES, language_tag
from backchat_dialect_workspaces.fields import BLANK, NULL, REQUIRED, Lenient, Words

TEXT = 5_000
"""Characters of a text that is translated."""
TOKEN = 8192
LOGIN, PASSWORD = 254, 1024
NOT_A_FILE = "The submitted data was not a file. Check the encoding type on the form."
EMPTY_FILE = "The submitted file is empty."
TWICE = "This field was given twice."


class Language(fields.Field[str | None]):
    """A code of ISO 639-1, in the form of BCP 47; ``regional``: it may name a country too. Empty is as good as none."""

    def __init__(self, *, regional: bool, **more: Any) -> None:
        example = "`pt` or `pt-BR`" if regional else "`en`"
        metadata = {"type": "string", "description": f"A language as ISO 639-1 has it, such as {example}."}
        super().__init__(**more, error_messages={"required": REQUIRED, "null": NULL}, metadata=metadata)
        self._regional = regional

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **_: Any) -> str | None:
        text = value.strip() if isinstance(value, str) else None
        if text == "":
            if self.required:
                raise ValidationError(BLANK)
            return None
        found = None if text is None else language_tag(text) if self._regional else _code(text)
        if found is None:
            wanted = "a language code such as pt or pt-BR" if self._regional else "a language code such as en"
            raise ValidationError(f"Must be {wanted}.")
        return found


def _code(text: str) -> str | None:
    return text.lower() if text.lower() in LANGUAGES else None


class UploadSchema(Lenient):
    """What the form of a recording holds, in any order; the handler reads it part by part."""

    audio_file = fields.Raw(
        required=True,
        error_messages={"required": REQUIRED},
        metadata={"type": "string", "format": "binary", "description": "At most 25 MiB."},
    )
    workspace_id = Words(320, required=True, description="Of a workspace of the caller. Before the file, if possible.")
    language = Language(regional=False, load_default=None, allow_none=True)


class TranscriptSchema(Lenient):
    text = fields.String(required=True)
    language = fields.String(required=True, allow_none=True)


class TranslateSchema(Lenient):
    text = Words(TEXT, required=True)
    target = Language(regional=True, required=True)
    source = Language(regional=True, load_default=None, allow_none=True)


class TranslationSchema(Lenient):
    text = fields.String(required=True)
    target = fields.String(required=True)
    source = fields.String(required=True, allow_none=True)
    translated_text = fields.String(required=True)


class CreditSchema(Lenient):
    total_credit_limit = fields.String(required=True, allow_none=True, metadata={"description": "US dollars."})
    total_cost = fields.String(required=True, metadata={"description": "US dollars."})
    percentage_used = fields.Float(required=True, allow_none=True)


class LoginSchema(Lenient):
    email = Words(LOGIN, required=True, description="Or a user name.")
    password = Words(PASSWORD, trim=False, required=True)


class RefreshSchema(Lenient):
    refresh = Words(TOKEN, required=True)


class VerifySchema(Lenient):
    token = Words(TOKEN, required=True)


class PairSchema(Lenient):
    access = fields.String(required=True)
    refresh = fields.String(required=True)


class EmptySchema(Lenient):
    """An object without fields."""
