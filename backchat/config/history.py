"""Sections about what is kept: titles, retention, imports, the vault, and the sessions of who reads them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from marshmallow import RAISE, Schema, fields, post_load, validate

from backchat.config.measures import MIB, Size, Span
from backchat.domain.limits import ImportLimits, Retention, SessionTimes, Titling, VaultLimits
from backchat.web.fields import Whole


def _span(default: timedelta | None, text: str, description: str, *, endless: bool = False) -> Span:
    return Span(
        load_default=default,
        allow_none=endless,
        metadata={"type": "span of time", "default": text, "description": description},
    )


class TitlesSchema(Schema):
    class Meta:
        unknown = RAISE

    provider = fields.String(
        load_default=None,
        allow_none=True,
        metadata={
            "description": "Name of the provider that makes titles, in the background; none unless set. Its "
            "model has to do what it is told: `echo` does not, and the server does not start then."
        },
    )
    model = fields.String(
        load_default=None,
        allow_none=True,
        metadata={"description": "A model of that provider, instead of the one it is configured with."},
    )

    @post_load
    def freeze(self, data: dict[str, Any], **_: object) -> Titling:
        return Titling(**data)


class RetentionSchema(Schema):
    class Meta:
        unknown = RAISE

    temporary = _span(
        timedelta(days=30),
        "`30d`",
        "How long a temporary conversation is kept after its user's last message: seconds, text such as `12h`, or null "
        "for ever.",
        endless=True,
    )
    conversations = _span(
        None,
        "for ever",
        "The same for every conversation, if set; of an imported one after the import. A shorter time of a temporary "
        "one goes before.",
        endless=True,
    )

    @post_load
    def freeze(self, data: dict[str, Any], **_: object) -> Retention:
        return Retention(**data)


class ImportsSchema(Schema):
    class Meta:
        unknown = RAISE

    max_size = Size(
        load_default=250 * MIB,
        metadata={"type": "size", "default": "`250MiB`", "description": "The largest file that can be uploaded."},
    )
    max_unpacked = Size(
        load_default=2048 * MIB,
        metadata={"type": "size", "default": "`2GiB`", "description": "The most that a zip file may unpack to."},
    )
    max_conversation = Size(
        load_default=32 * MIB,
        metadata={
            "type": "size",
            "default": "`32MiB`",
            "description": "The largest conversation in an uploaded file; one is held in memory, at several "
            "times its size.",
        },
    )
    wait = fields.Float(
        load_default=20.0,
        validate=validate.Range(min=0),
        metadata={"description": "Seconds that the answer to an upload waits for the end of the import."},
    )
    at_once = Whole(
        load_default=2,
        validate=validate.Range(1, 64),
        metadata={"description": "How many imports are worked on at the same time."},
    )

    @post_load
    def freeze(self, data: dict[str, Any], **_: object) -> ImportLimits:
        return ImportLimits(**data)


class SessionsSchema(Schema):
    class Meta:
        unknown = RAISE

    access = _span(timedelta(minutes=15), "`15m`", "How long the token of a login is good.")
    refresh = _span(timedelta(days=7), "`7d`", "How long a login lasts: new tokens can be had for that long.")

    @post_load
    def freeze(self, data: dict[str, Any], **_: object) -> SessionTimes:
        return SessionTimes(**data)


class VaultSchema(Schema):
    class Meta:
        unknown = RAISE

    versions = Whole(
        load_default=None,
        allow_none=True,
        validate=validate.Range(min=1),
        metadata={
            "default": "all",
            "description": "How many versions of a conversation are kept, the newest ones; numbers are not used again.",
        },
    )

    @post_load
    def freeze(self, data: dict[str, Any], **_: object) -> VaultLimits:
        return VaultLimits(**data)


TITLES, RETENTION, IMPORTS, SESSIONS = TitlesSchema(), RetentionSchema(), ImportsSchema(), SessionsSchema()
VAULT = VaultSchema()
