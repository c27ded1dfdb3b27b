"""What Groq has beyond OpenAI's protocol (https://console.groq.com/docs/reasoning)."""

from __future__ import annotations

from typing import Any

from marshmallow import fields, post_load, validate

from backchat_openai.settings import GROQ, Settings, SettingsSchema


class GroqSchema(SettingsSchema):
    reasoning_format = fields.String(
        load_default=None,
        allow_none=True,
        validate=validate.OneOf(["parsed", "raw", "hidden"]),
        metadata={
            "description": "Where the model's thinking goes: `parsed` beside the text, `raw` into it, or nowhere; by "
            "default the service decides. Not for gpt-oss models, which refuse the option and always say it beside."
        },
    )
    service_tier = fields.String(
        load_default=None,
        allow_none=True,
        validate=validate.OneOf(["auto", "on_demand", "flex", "performance"]),
        metadata={"description": "Which of the account's tiers answers; by default the service decides."},
    )

    def __init__(self) -> None:
        super().__init__(GROQ)

    @post_load
    def freeze(self, data: dict[str, Any], **_: object) -> Settings:
        own = {name: data.pop(name) for name in ("reasoning_format", "service_tier")}
        data["extra_body"] |= {name: value for name, value in own.items() if value is not None}
        settings: Settings = super().freeze(data)
        return settings
