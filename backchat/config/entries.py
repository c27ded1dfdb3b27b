"""Options that every entry of a section has, beside those of its component."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from marshmallow import RAISE, Schema, ValidationError, fields, post_load, validate

from backchat.domain.limits import ProviderLimits
from backchat.web.fields import Whole

_PLAIN = ProviderLimits()


def _seconds(default: float, description: str) -> fields.Float:
    return fields.Float(
        load_default=default,
        validate=validate.Range(min=0, min_inclusive=False),
        metadata={"description": description},
    )


class LimitsSchema(Schema):
    class Meta:
        unknown = RAISE

    first_token = _seconds(_PLAIN.first_token, "Seconds until the first piece of an answer.")
    between_tokens = _seconds(_PLAIN.between_tokens, "Seconds from one piece of an answer to the next.")
    retries = Whole(
        load_default=_PLAIN.retries,
        validate=validate.Range(0, 10),
        metadata={
            "description": "How often it is asked again after a failure that cost nothing, before the first piece of "
            "an answer."
        },
    )
    at_once = Whole(
        load_default=_PLAIN.at_once,
        allow_none=True,
        validate=validate.Range(1, 100_000),
        metadata={"description": "Calls at the same time, in each process; those of different users take turns."},
    )
    wait = _seconds(_PLAIN.wait, "Seconds that a call waits for its turn.")
    failures = Whole(
        load_default=_PLAIN.failures,
        validate=validate.Range(1, 1000),
        metadata={"description": "After so many failures in a row it is not asked for a while."},
    )
    pause = _seconds(_PLAIN.pause, "Seconds of that while; then one call tries whether it is back.")

    @post_load
    def freeze(self, data: Mapping[str, Any], **_: object) -> ProviderLimits:
        return ProviderLimits(**data)


class ProviderSchema(Schema):
    """``limits`` of a provider."""

    limits = fields.Nested(
        LimitsSchema,
        load_default=lambda: _PLAIN,
        metadata={
            "default": "see below",
            "description": "How much it is asked, and how long it is waited for.",
        },
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """How the tools of a source are offered. ``confirm``: those that wait for the user: all, or these."""

    always: bool = False
    confirm: bool | frozenset[str] = False

    def confirmed(self, name: str) -> bool:
        return self.confirm if isinstance(self.confirm, bool) else name in self.confirm

    def unknown(self, names: Container[str]) -> Sequence[str]:
        """What is to be confirmed and is not among the names."""
        return [] if isinstance(self.confirm, bool) else sorted(name for name in self.confirm if name not in names)


class _Confirm(fields.Field[bool | frozenset[str]]):
    def _deserialize(self, value: Any, attr: str | None, data: Any, **_: Any) -> bool | frozenset[str]:
        if isinstance(value, bool):
            return value
        if isinstance(value, list) and value and all(isinstance(name, str) for name in value):
            return frozenset(value)
        raise ValidationError("Must be true, false, or a list of names of tools.")


class OfferSchema(Schema):
    always = fields.Boolean(
        load_default=False,
        metadata={
            "description": "Whether its tools are offered in every reply of a model that calls tools; else only where "
            "an agent was chosen and, those that look things up in the web, where the web was asked for."
        },
    )
    confirm = _Confirm(
        load_default=False,
        metadata={
            "type": "true, false or list",
            "description": "Whether calls of its tools wait until the user has allowed them: of all, or of these.",
        },
    )

    @post_load
    def freeze(self, data: Mapping[str, Any], **_: object) -> Offer:
        return Offer(**data)


COMMON: Mapping[str, Schema] = {"providers": ProviderSchema(), "tools": OfferSchema()}
"""By the name of the section."""
