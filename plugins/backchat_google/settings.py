"""Settings of the provider ``google``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import parse_qs, urlsplit

from marshmallow import ValidationError, fields, post_load, validate

from backchat.errors import ProviderRejected
from backchat.upstream.options import ServiceSchema, not_ending_in, seconds, service_url
from backchat_google.names import resource

BASE_URL = "https://generativelanguage.googleapis.com"
Thinking = Literal["level", "budget"]
_OWN_KEYS = frozenset({"contents", "model", "systemInstruction", "system_instruction", "tools"})
_OTHER_SPELLINGS = frozenset({"generation_config", "safety_settings", "tool_config"})
"""The service takes them too, but not both spellings of one thing at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """``thinking``: how an effort is said; None: by the model's name."""

    model: str
    base_url: str = BASE_URL
    api_version: str = "v1beta"
    api_key: str | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    extra_body: Mapping[str, Any] = field(default_factory=dict, repr=False)
    vision: bool = True
    tools: bool = True
    reasoning: bool = True
    json_output: bool = True
    files: bool = True
    penalties: bool = False
    thinking: Thinking | None = None
    connect_timeout: float = 10
    read_timeout: float = 300


def _no_own_keys(value: Mapping[str, Any]) -> None:
    if taken := _OWN_KEYS & value.keys():
        raise ValidationError(f"Must not set {', '.join(sorted(taken))}.")
    if spelled := _OTHER_SPELLINGS & value.keys():
        raise ValidationError(f"{', '.join(sorted(spelled))}: must be spelled in camel case.")
    config = value.get("generationConfig", {})
    if not isinstance(config, dict) or not isinstance(config.get("thinkingConfig", {}), dict):
        raise ValidationError("generationConfig, and thinkingConfig in it, must be mappings.")


def _no_key(value: str) -> None:
    if "key" in parse_qs(urlsplit(value).query, keep_blank_values=True):
        raise ValidationError("Must not hold a key; set api_key, which is sent as a header.")


def _model(value: str) -> None:
    try:
        resource(value)
    except ProviderRejected:
        raise ValidationError("Must be a model's name, such as gemini-3.8-flash.") from None


class SettingsSchema(ServiceSchema):
    model = fields.String(
        required=True,
        validate=_model,
        metadata={"description": "The model that answers when a request names none, with or without `models/`."},
    )
    base_url = fields.String(
        load_default=BASE_URL,
        validate=[service_url, _no_key, not_ending_in("/v1", "/v1beta", "/models")],
        metadata={"description": "Where the API lives, up to and without `/v1beta`; a query string is kept."},
    )
    api_version = fields.String(
        load_default="v1beta",
        validate=validate.Regexp(r"v\d+(?:alpha|beta)?\d*\Z", error="Must be a version, such as v1beta or v1."),
        metadata={"description": "Version of the API. Names such as `gemini-flash-latest` are known to `v1beta` only."},
    )
    extra_body = fields.Dict(
        keys=fields.String(),
        load_default=dict,
        validate=_no_own_keys,
        metadata={
            "description": "More fields for the body of every request, as Google documents them, such as "
            "`safetySettings`; those in `generationConfig` hold, whatever a conversation is set to."
        },
    )
    vision = fields.Boolean(load_default=True, metadata={"description": "Whether the model accepts images."})
    tools = fields.Boolean(load_default=True, metadata={"description": "Whether the model calls tools."})
    reasoning = fields.Boolean(load_default=True, metadata={"description": "Whether a reasoning effort may be set."})
    json_output = fields.Boolean(load_default=True, metadata={"description": "Whether JSON may be asked for."})
    files = fields.Boolean(load_default=True, metadata={"description": "Whether the model reads PDF documents itself."})
    penalties = fields.Boolean(
        load_default=False,
        metadata={"description": "Send frequency and presence penalties, which most Gemini models refuse."},
    )
    thinking = fields.String(
        load_default=None,
        allow_none=True,
        validate=validate.OneOf(["level", "budget"]),
        metadata={
            "description": "How an effort is said: as a `level` (Gemini 3 and later) or as a `budget` of tokens "
            "(Gemini 2.5). Unless set, by the model's name."
        },
    )
    read_timeout = seconds(
        300, "Seconds of silence after which an answer counts as lost, before or after its first token."
    )

    @post_load
    def freeze(self, data: Mapping[str, Any], **_: object) -> Settings:
        return Settings(**data)
