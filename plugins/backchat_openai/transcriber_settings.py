"""Settings of the transcribers ``openai`` and ``groq``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from marshmallow import fields, post_load, validate

from backchat.upstream.options import seconds, service_url
from backchat_openai.service import OpenAIServiceSchema
from backchat_openai.settings import GROQ, OPENAI, Preset

ResponseFormat = Literal["json", "verbose_json"]
MODELS = {OPENAI.name: "whisper-1", GROQ.name: "whisper-large-v3-turbo"}


@dataclass(frozen=True, slots=True, kw_only=True)
class TranscriberSettings:
    """``timeout`` is that of a whole transcription, from the first byte on; all times are in seconds."""

    name: str
    model: str
    base_url: str
    response_format: ResponseFormat
    api_key: str | None = field(default=None, repr=False)
    organization: str | None = None
    project: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    connect_timeout: float = 10
    read_timeout: float = 300
    timeout: float = 900


def response_format(model: str) -> ResponseFormat:
    """``verbose_json`` says how long a recording is and in which language; Whisper knows it, the later models do not.

    Source: https://platform.openai.com/docs/api-reference/audio/createTranscription#audio-createtranscription-response_format
    """
    return "verbose_json" if "whisper" in model.lower() else "json"


class TranscriberSchema(OpenAIServiceSchema):
    model = fields.String(validate=validate.Length(min=1), metadata={"description": "The model that listens."})
    base_url = fields.String(
        validate=service_url,
        metadata={
            "description": "Where the API lives, up to and without `/audio/transcriptions`; a query string is kept."
        },
    )
    response_format = fields.String(
        load_default=None,
        allow_none=True,
        validate=validate.OneOf(["json", "verbose_json"]),
        metadata={
            "description": "What to ask for: `verbose_json` for the length and the language of a recording, `json` for "
            "models that do not know that. Unless set, `verbose_json` for models called whisper, else `json`."
        },
    )
    read_timeout = seconds(300, "Seconds of silence, after a recording was sent, after which its text counts as lost.")
    timeout = seconds(900, "Seconds that a recording may take, from its first byte to its text.")

    def __init__(self, preset: Preset) -> None:
        super().__init__()
        self._preset = preset
        self.fields["base_url"].load_default = preset.base_url
        self.fields["model"].load_default = MODELS[preset.name]

    @post_load
    def freeze(self, data: Mapping[str, Any], **_: object) -> TranscriberSettings:
        chosen = data["response_format"] or response_format(data["model"])
        return TranscriberSettings(name=self._preset.name, **{**data, "response_format": chosen})
