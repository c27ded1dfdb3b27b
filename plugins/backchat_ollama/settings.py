"""Settings of the provider ``ollama``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isfinite
from typing import Any

from marshmallow import ValidationError, fields, post_load, validate

from backchat.upstream.options import ServiceSchema, seconds, service_url

_OWN_KEYS = frozenset({"model", "messages", "stream", "tools", "options", "keep_alive"})
# As Go's time.ParseDuration reads it: https://pkg.go.dev/time#ParseDuration
_DURATION = re.compile(r"-?(?:\d+(?:\.\d*)?(?:ns|us|\u00b5s|ms|s|m|h))+\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    model: str
    base_url: str = "http://127.0.0.1:11434"
    api_key: str | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    options: Mapping[str, Any] = field(default_factory=dict)
    extra_body: Mapping[str, Any] = field(default_factory=dict, repr=False)
    keep_alive: str | float | None = None
    pull: bool = False
    vision: bool = False
    tools: bool = True
    reasoning: bool = True
    levels: bool = False
    connect_timeout: float = 10
    read_timeout: float = 300


def _no_own_keys(value: Mapping[str, Any]) -> None:
    if taken := _OWN_KEYS & value.keys():
        raise ValidationError(f"Must not set {', '.join(sorted(taken))}.")


class _Duration(fields.Field[str | float]):
    """Seconds, or a text such as ``10m``; a number may be the text of an environment variable."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **_: Any) -> str | float:
        if isinstance(value, str) and _DURATION.match(value):
            return value
        try:
            number = float(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else None
        except ValueError:
            number = None
        if number is None or not isfinite(number):
            raise ValidationError("Must be a number of seconds, or a text such as 10m.")
        return int(number) if number.is_integer() else number


class SettingsSchema(ServiceSchema):
    model = fields.String(
        required=True,
        validate=validate.Length(min=1),
        metadata={"description": "The model that answers when a request names none, as `ollama list` shows it."},
    )
    base_url = fields.String(
        load_default="http://127.0.0.1:11434",
        validate=service_url,
        metadata={"description": "Where the server listens, up to and without `/api/chat`; a query string is kept."},
    )
    options = fields.Dict(
        keys=fields.String(),
        load_default=dict,
        metadata={
            "description": "Ollama's own `options` for every request, over what users set: `num_ctx`, `num_gpu`, ... "
            "What does not fit in `num_ctx` tokens, on small machines 4096, the model does not see."
        },
    )
    extra_body = fields.Dict(
        keys=fields.String(),
        load_default=dict,
        validate=_no_own_keys,
        metadata={
            "description": "More fields for the body of every request; `think: false` keeps a model that thinks "
            "unasked from it."
        },
    )
    keep_alive = _Duration(
        load_default=None,
        allow_none=True,
        metadata={
            "type": "number or text",
            "description": "How long the model stays in memory after an answer: seconds, a text such as `10m`, or a "
            "negative number for ever. Unset: what the server is set to.",
        },
    )
    pull = fields.Boolean(
        load_default=False,
        metadata={
            "description": "Whether `model`, if the server does not have it, is pulled when it is first asked. Other "
            "models, which requests may name, never are."
        },
    )
    vision = fields.Boolean(
        load_default=False, metadata={"description": "Whether the model accepts images; most do not."}
    )
    tools = fields.Boolean(load_default=True, metadata={"description": "Whether the model calls tools."})
    reasoning = fields.Boolean(load_default=True, metadata={"description": "Whether the model can be told to think."})
    levels = fields.Boolean(
        load_default=False,
        metadata={
            "description": "Whether the model is told how hard to think, as `gpt-oss` can be; others are told to "
            "think, however hard it should be."
        },
    )
    read_timeout = seconds(
        300, "Seconds of silence after which an answer, or a pull, counts as lost; a model is loaded in silence."
    )

    @post_load
    def freeze(self, data: Mapping[str, Any], **_: object) -> Settings:
        return Settings(**data)
