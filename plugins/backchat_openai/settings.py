"""Settings, and the presets that differ only in their defaults."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from marshmallow import ValidationError, fields, post_load, validate

from backchat.upstream.options import seconds, service_url
from backchat_openai.service import OpenAIServiceSchema

_OWN_KEYS = frozenset({"model", "messages", "stream", "stream_options", "tools"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """Defaults for one service.

    reasoning  how it wants the effort: a field ``reasoning_effort``, or an object ``reasoning: {effort}``
    """

    name: str
    base_url: str
    max_tokens_field: Literal["max_completion_tokens", "max_tokens"]
    reasoning: Literal["field", "object"] = "field"


OPENAI = Preset(name="openai", base_url="https://api.openai.com/v1", max_tokens_field="max_completion_tokens")
GROQ = Preset(name="groq", base_url="https://api.groq.com/openai/v1", max_tokens_field="max_completion_tokens")
OPENROUTER = Preset(
    name="openrouter", base_url="https://openrouter.ai/api/v1", max_tokens_field="max_tokens", reasoning="object"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    preset: Preset
    model: str
    base_url: str
    max_tokens_field: str
    api_key: str | None = field(default=None, repr=False)
    organization: str | None = None
    project: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    extra_body: Mapping[str, Any] = field(default_factory=dict, repr=False)
    vision: bool = True
    tools: bool = True
    reasoning: bool = True
    include_usage: bool = True
    connect_timeout: float = 10
    read_timeout: float = 120


def _no_own_keys(value: Mapping[str, Any]) -> None:
    if taken := _OWN_KEYS & value.keys():
        raise ValidationError(f"Must not set {', '.join(sorted(taken))}.")


class SettingsSchema(OpenAIServiceSchema):
    model = fields.String(
        required=True,
        validate=validate.Length(min=1),
        metadata={"description": "The model that answers when a request names none."},
    )
    base_url = fields.String(
        validate=service_url,
        metadata={"description": "Where the API lives, up to and without `/chat/completions`; a query string is kept."},
    )
    extra_body = fields.Dict(
        keys=fields.String(),
        load_default=dict,
        validate=_no_own_keys,
        metadata={"description": "More fields for the body of every request, as the service documents them."},
    )
    vision = fields.Boolean(load_default=True, metadata={"description": "Whether the model accepts images."})
    tools = fields.Boolean(load_default=True, metadata={"description": "Whether the model calls tools."})
    reasoning = fields.Boolean(load_default=True, metadata={"description": "Whether a reasoning effort may be set."})
    max_tokens_field = fields.String(
        validate=validate.OneOf(["max_completion_tokens", "max_tokens"]),
        metadata={"description": "Name of the field that limits the length of an answer; older servers: `max_tokens`."},
    )
    include_usage = fields.Boolean(
        load_default=True,
        metadata={"description": "Ask for token counts in the stream; switch off for servers that refuse the option."},
    )
    read_timeout = seconds(
        120, "Seconds of silence after which an answer counts as lost, before or after its first token."
    )

    def __init__(self, preset: Preset) -> None:
        super().__init__()
        self._preset = preset
        for name in ("base_url", "max_tokens_field"):
            self.fields[name].load_default = getattr(preset, name)

    @post_load
    def freeze(self, data: Mapping[str, Any], **_: object) -> Settings:
        return Settings(preset=self._preset, **data)
