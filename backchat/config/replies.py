"""Sections about replies, and about the documents that they are grounded with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from marshmallow import RAISE, Schema, fields, post_load, validate

from backchat.config.measures import MIB, Size
from backchat.domain.limits import DocumentLimits
from backchat.web.fields import Whole


@dataclass(frozen=True, slots=True, kw_only=True)
class RepliesSettings:
    """All in seconds but ``tool_rounds``."""

    keep: float
    wait: float
    max_duration: float
    lease: float
    tool_time: float
    tool_rounds: int


def _seconds(default: float, description: str, *, least: float = 0) -> fields.Float:
    return fields.Float(load_default=default, validate=validate.Range(min=least), metadata={"description": description})


class RepliesSchema(Schema):
    class Meta:
        unknown = RAISE

    keep = _seconds(86400, "Seconds for which an ended reply can be replayed and an `Idempotency-Key` is remembered.")
    wait = _seconds(30, "Seconds that a message waits for the running reply of its conversation before it is refused.")
    max_duration = _seconds(600, "Seconds after which a reply that still runs is ended.", least=1)
    lease = _seconds(
        15,
        "Seconds of silence after which another process on the same storage takes this one for dead and ends its runs.",
        least=1,
    )
    tool_time = _seconds(30, "Seconds that one of the server's tools may take.", least=1)
    tool_rounds = Whole(
        load_default=8,
        validate=validate.Range(1, 100),
        metadata={"description": "How often a model may call the server's tools and be asked again in one reply."},
    )

    @post_load
    def freeze(self, data: dict[str, Any], **_: object) -> RepliesSettings:
        return RepliesSettings(**data)


class DocumentsSchema(Schema):
    class Meta:
        unknown = RAISE

    max_size = Size(
        load_default=20 * MIB,
        metadata={
            "type": "size",
            "default": "`20MiB`",
            "description": "The largest document in bytes, or with KiB, MiB or GiB. An upload is also a request body.",
        },
    )
    wait = _seconds(25, "Seconds that a message waits for documents that are being read before it is refused.")
    time_limit = _seconds(60, "Seconds that reading the text of one document may take.", least=1)
    memory_limit = Size(
        load_default=1024 * MIB,
        metadata={
            "type": "size",
            "default": "`1GiB`",
            "description": "Memory that reading the text of one document may take.",
        },
    )
    max_text = Size(
        load_default=16 * MIB,
        metadata={
            "type": "size",
            "default": "`16MiB`",
            "description": "The most text, in characters, that is taken from one document; one with more fails.",
        },
    )
    at_once = Whole(
        load_default=2,
        validate=validate.Range(1, 64),
        metadata={"description": "How many documents are read at the same time."},
    )
    chunk = Whole(
        load_default=1200,
        validate=validate.Range(100, 20_000),
        metadata={"description": "The longest passage, in characters, that a document is cut into."},
    )
    vector_cache = Size(
        load_default=256 * MIB,
        metadata={
            "type": "size",
            "default": "`256MiB`",
            "description": "Memory for the vectors of documents that were searched lately.",
        },
    )

    @post_load
    def freeze(self, data: dict[str, Any], **_: object) -> DocumentLimits:
        return DocumentLimits(**data)


REPLIES, DOCUMENTS = RepliesSchema(), DocumentsSchema()
