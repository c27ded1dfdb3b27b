"""Settings of the provider ``anthropic``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from marshmallow import ValidationError, fields, post_load, validate

from backchat.upstream.options import ServiceSchema, not_ending_in, seconds, service_url

BASE_URL = "https://api.anthropic.com"
Thinking = Literal["auto", "adaptive", "budget"]
Sampled = Literal["auto", "always", "never"]
_OWN_KEYS = frozenset({"model", "messages", "max_tokens", "stream", "system", "tools"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    model: str
    base_url: str = BASE_URL
    api_key: str | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    extra_body: Mapping[str, Any] = field(default_factory=dict, repr=False)
    vision: bool = True
    tools: bool = True
    reasoning: bool = True
    json_output: bool = True
    files: bool = True
    max_tokens: int = 32_000
    thinking: Thinking = "auto"
    sampling: Sampled = "auto"
    cache: bool = True
    cache_ttl: Literal["5m", "1h"] = "5m"
    connect_timeout: float = 10
    read_timeout: float = 300


def _no_own_keys(value: Mapping[str, Any]) -> None:
    if taken := _OWN_KEYS & value.keys():
        raise ValidationError(f"Must not set {', '.join(sorted(taken))}.")


class SettingsSchema(ServiceSchema):
    model = fields.String(
        required=True,
        validate=validate.Length(min=1),
        metadata={"description": "The model that answers when a request names none."},
    )
    base_url = fields.String(
        load_default=BASE_URL,
        validate=[service_url, not_ending_in("/v1", "/v1/messages")],
        metadata={"description": "Where the API lives, up to and without `/v1/messages`; a query string is kept."},
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
    json_output = fields.Boolean(
        load_default=True, metadata={"description": "Whether the model may be asked for a JSON object."}
    )
    files = fields.Boolean(load_default=True, metadata={"description": "Whether the model reads PDF documents itself."})
    max_tokens = fields.Integer(
        load_default=32_000,
        strict=True,
        validate=validate.Range(min=1),
        metadata={
            "description": "Tokens of an answer at most, thinking included, where a conversation sets no limit; the "
            "service wants one with every request."
        },
    )
    thinking = fields.String(
        load_default="auto",
        validate=validate.OneOf(["auto", "adaptive", "budget"]),
        metadata={
            "description": "How the model is asked to think: `adaptive` by an effort, `budget` by a number of tokens. "
            "`auto` goes by the model's name: a budget up to Claude 4.5 and for models that are not called Claude."
        },
    )
    sampling = fields.String(
        load_default="auto",
        validate=validate.OneOf(["auto", "always", "never"]),
        metadata={
            "description": "Whether temperature, `top_p` and `top_k` are sent. `auto` goes by the model's name: Claude "
            "refuses them from 4.7 on."
        },
    )
    cache = fields.Boolean(
        load_default=True,
        metadata={"description": "Have the service keep the beginning of a prompt, so that it costs less next time."},
    )
    cache_ttl = fields.String(
        load_default="5m",
        validate=validate.OneOf(["5m", "1h"]),
        metadata={"description": "How long it is kept after its last use: `1h` costs more to write."},
    )
    read_timeout = seconds(
        300, "Seconds of silence after which an answer counts as lost, before or after its first token."
    )

    @post_load
    def freeze(self, data: Mapping[str, Any], **_: object) -> Settings:
        return Settings(**data)
