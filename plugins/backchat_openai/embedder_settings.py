"""Settings of the ``openai`` embedder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from marshmallow import fields, post_load, validate

from backchat.upstream.options import seconds, service_url
from backchat.web.fields import Whole
from backchat_openai.service import OpenAIServiceSchema
from backchat_openai.settings import OPENAI

# https://platform.openai.com/docs/api-reference/embeddings/create: "any array must be 2048 dimensions or less", "8192
# tokens for all embedding models", "a maximum of 300,000 tokens summed across all inputs in a single request".
MOST_INPUTS = 2048
MOST_TOKENS = 300_000
CONTEXT = 8192
# https://platform.openai.com/docs/guides/embeddings
KNOWN_DIMENSIONS = {"text-embedding-3-small": 1536, "text-embedding-3-large": 3072, "text-embedding-ada-002": 1536}


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbedderSettings:
    model: str
    base_url: str = OPENAI.base_url
    dimensions: int | None = None
    context: int = CONTEXT
    batch: int = MOST_INPUTS
    batch_tokens: int = MOST_TOKENS
    api_key: str | None = field(default=None, repr=False)
    organization: str | None = None
    project: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    connect_timeout: float = 10
    read_timeout: float = 60


class EmbedderSchema(OpenAIServiceSchema):
    model = fields.String(
        required=True, validate=validate.Length(min=1), metadata={"description": "The embedding model."}
    )
    base_url = fields.String(
        load_default=OPENAI.base_url,
        validate=service_url,
        metadata={"description": "Where the API lives, up to and without `/embeddings`; a query string is kept."},
    )
    dimensions = Whole(
        load_default=None,
        allow_none=True,
        validate=validate.Range(min=1, max=65_536),
        metadata={
            "description": "Length of the vectors, for models that offer several; sent only when set. "
            "Changing it, or the model, leaves documents indexed before to be found by their words only."
        },
    )
    context = Whole(
        load_default=CONTEXT,
        validate=validate.Range(min=16),
        metadata={"description": "Tokens of one text that the model reads; the rest of a longer text is cut off."},
    )
    batch = Whole(
        load_default=MOST_INPUTS,
        validate=validate.Range(min=1, max=MOST_INPUTS),
        metadata={"description": "How many texts one request carries at most."},
    )
    batch_tokens = Whole(
        load_default=MOST_TOKENS,
        validate=validate.Range(min=16),
        metadata={"description": "How many tokens one request carries at most, by a cautious estimate."},
    )
    read_timeout = seconds(60, "Seconds of silence after which a request counts as lost.")

    @post_load
    def freeze(self, data: Mapping[str, Any], **_: object) -> EmbedderSettings:
        return EmbedderSettings(**data)
