"""Settings, and the presets that differ only in their defaults."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from marshmallow import ValidationError, fields, post_load, validate

from backchat.upstream.options import seconds, service_url
from backchat_openai.service import OpenAIServiceSchema

_OWN_KEYS = frozenset({"model", "messages", "input", "stream", "stream_options", "tools"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """Defaults for one service.

    reasoning  how chat completions want the effort: a field ``reasoning_effort``, or an object ``reasoning: {effort}``
    files      it reads PDFs, at ``base_url``
    maker      of the seals on what its chat completions show of the model's thinking; None: it gives nothing to seal
    """

    name: str
    base_url: str
    max_tokens_field: Literal["max_completion_tokens", "max_tokens"]
    reasoning: Literal["field", "object"] = "field"
    files: bool = False
    maker: str | None = None


OPENAI = Preset(
    name="openai", base_url="https://api.openai.com/v1", max_tokens_field="max_completion_tokens", files=True
)
GROQ = Preset(name="groq", base_url="https://api.groq.com/openai/v1", max_tokens_field="max_completion_tokens")
OPENROUTER = Preset(
    name="openrouter",
    base_url="https://openrouter.ai/api/v1",
    max_tokens_field="max_tokens",
    reasoning="object",
    maker="openrouter",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """``routing``, ``models`` and ``plugins`` are OpenRouter's; ``efforts`` are the service's words for ours."""

    preset: Preset
    model: str
    base_url: str
    max_tokens_field: str
    api: Literal["chat", "responses"] = "chat"
    api_key: str | None = field(default=None, repr=False)
    organization: str | None = None
    project: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    extra_body: Mapping[str, Any] = field(default_factory=dict, repr=False)
    vision: bool = True
    tools: bool = True
    reasoning: bool = True
    json_output: bool = True
    files: bool = False
    efforts: Mapping[str, str] = field(default_factory=dict)
    reasoning_summary: str | None = "auto"
    reasoning_back: bool = False
    include_usage: bool = True
    connect_timeout: float = 10
    read_timeout: float = 300
    routing: Mapping[str, Any] = field(default_factory=dict)
    models: Sequence[str] = ()
    plugins: Sequence[Mapping[str, Any]] = ()


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
    api = fields.String(
        load_default="chat",
        validate=validate.OneOf(["chat", "responses"]),
        metadata={
            "description": "Which API is asked: chat completions, or the Responses API, where nothing is stored."
        },
    )
    extra_body = fields.Dict(
        keys=fields.String(),
        load_default=dict,
        validate=_no_own_keys,
        metadata={"description": "More fields for the body of every request, as the service documents them."},
    )
    vision = fields.Boolean(load_default=True, metadata={"description": "Whether the model accepts images."})
    tools = fields.Boolean(load_default=True, metadata={"description": "Whether the model calls tools."})
    reasoning = fields.Boolean(
        load_default=True,
        metadata={
            "description": "Whether a reasoning effort may be set. With `api: responses`, false is a must for models "
            "that do not reason: the service refuses to be asked for their thinking."
        },
    )
    json_output = fields.Boolean(
        load_default=True, metadata={"description": "Whether the model can be held to a JSON object."}
    )
    files = fields.Boolean(
        load_default=None,
        allow_none=True,
        metadata={"description": "Whether the model reads PDFs itself; unless set, at OpenAI's own address only."},
    )
    efforts = fields.Dict(
        keys=fields.String(validate=validate.OneOf(["low", "medium", "high"])),
        values=fields.String(validate=validate.Length(min=1)),
        load_default=dict,
        metadata={"description": "The service's words for the efforts `low`, `medium` and `high`, if it has others."},
    )
    reasoning_summary = fields.String(
        load_default="auto",
        allow_none=True,
        validate=validate.OneOf(["auto", "concise", "detailed"]),
        metadata={
            "description": "With `api: responses`: how a model that is told to think sums that up; null for not at all."
        },
    )
    reasoning_back = fields.Boolean(
        load_default=False,
        metadata={
            "description": "With `api: chat`: give the model's thinking back as `reasoning_content`. DeepSeek and "
            "Moonshot require it of models that think and call tools; others refuse it, or need none."
        },
    )
    max_tokens_field = fields.String(
        validate=validate.OneOf(["max_completion_tokens", "max_tokens"]),
        metadata={
            "description": "With `api: chat`: the field that limits an answer's length; older servers: `max_tokens`."
        },
    )
    include_usage = fields.Boolean(
        load_default=True,
        metadata={
            "description": "With `api: chat`: ask for token counts in the stream; off for servers that refuse it."
        },
    )
    read_timeout = seconds(
        300,
        "Seconds of silence on the connection after which an answer counts as lost, before or after its first byte.",
    )

    def __init__(self, preset: Preset) -> None:
        super().__init__()
        self._preset = preset
        for name in ("base_url", "max_tokens_field"):
            self.fields[name].load_default = getattr(preset, name)

    @post_load
    def freeze(self, data: dict[str, Any], **_: object) -> Settings:
        if data["files"] is None:
            data["files"] = self._preset.files and data["base_url"] == self._preset.base_url
        return Settings(preset=self._preset, **data)
