"""The options of ``summary``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from marshmallow import RAISE, Schema, ValidationError, fields, post_load, validate, validates_schema

from backchat.web.fields import Whole
from backchat_summary.prompts import WISH

MAX_SIZE = 80
"""Room for the calls and results of a reply or two."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """``limit``: more messages than these outside of the summary make a new one due."""

    size: int
    after: int
    max_size: int
    max_characters: int | None
    length: int
    step: int
    prompt: str

    @property
    def limit(self) -> int:
        return self.size + self.after


class SettingsSchema(Schema):
    class Meta:
        unknown = RAISE

    size = Whole(
        load_default=20,
        validate=validate.Range(min=1, max=5_000),
        metadata={
            "description": "How many of the newest messages a new summary leaves out: the model is shown them as they "
            "are."
        },
    )
    after = Whole(
        load_default=20,
        validate=validate.Range(min=1, max=5_000),
        metadata={
            "description": "How many more there may be before the next summary is made. The model is shown these as "
            "they are as well."
        },
    )
    max_size = Whole(
        load_default=None,
        allow_none=True,
        validate=validate.Range(min=1, max=20_000),
        metadata={
            "default": "80, or twice `size` and `after` together if that is more",
            "description": "How many messages the model is shown at most, the one just said included: it comes to that "
            "while there is no summary, or one that is far behind, because the model failed or the conversation was "
            "imported. Not less than `size` and `after` together.",
        },
    )
    max_characters = Whole(
        load_default=None,
        allow_none=True,
        validate=validate.Range(min=1),
        metadata={
            "description": "How many characters of text they may have together; older messages give way. A summary is "
            "made earlier then: when they have half of it, and it leaves out a quarter of it."
        },
    )
    length = Whole(
        load_default=4000,
        validate=validate.Range(min=200, max=30_000),
        metadata={"description": "How many characters a summary has at most."},
    )
    step = Whole(
        load_default=32_000,
        validate=validate.Range(min=1000, max=1_000_000),
        metadata={
            "description": "How many characters of messages the model is asked to sum up at once. It is asked again "
            "for what is left."
        },
    )
    prompt = fields.String(
        load_default=None,
        allow_none=True,
        validate=validate.Length(min=1, max=10_000),
        metadata={
            "description": "What the model is told to write, instead of a text that comes with the plugin. How it gets "
            "the messages, that they are material and no instructions, and how long the summary may be is added."
        },
    )

    @validates_schema
    def room(self, data: Mapping[str, Any], **_: object) -> None:
        if data["max_size"] is not None and data["max_size"] < data["size"] + data["after"]:
            raise ValidationError("Must be at least size and after together.", "max_size")

    @post_load
    def freeze(self, data: Mapping[str, Any], **_: object) -> Settings:
        most = data["max_size"] or max(MAX_SIZE, 2 * (data["size"] + data["after"]))
        return Settings(**{**data, "max_size": most, "prompt": data["prompt"] or WISH})
