"""What may be fetched, and how much of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from marshmallow import RAISE, Schema, ValidationError, fields, post_load, validate

from backchat.upstream.options import one_line, seconds
from backchat.web.fields import Whole
from backchat_web.addresses import Rules, rules_of


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchSettings:
    """``max_size`` in bytes, ``max_text`` in characters, times in seconds."""

    rules: Rules
    ports: frozenset[int]
    max_size: int
    max_text: int
    max_redirects: int
    time_limit: float
    at_once: int
    user_agent: str


def _places(value: Sequence[str]) -> None:
    try:
        rules_of(value, ())
    except ValueError:
        raise ValidationError("Must be names, such as wiki.example.org or *.example.org, and networks.") from None


class FetchSchema(Schema):
    class Meta:
        unknown = RAISE

    allow = fields.List(
        fields.String(validate=validate.Length(min=1)),
        load_default=list,
        validate=_places,
        metadata={
            "description": "Names (`wiki.example.org`, `*.example.org`) and networks (`10.1.0.0/16`) that pages may "
            "be fetched from although they are not in the public internet."
        },
    )
    deny = fields.List(
        fields.String(validate=validate.Length(min=1)),
        load_default=list,
        validate=_places,
        metadata={"description": "Names and networks that no page is fetched from, whatever `allow` says."},
    )
    ports = fields.List(
        Whole(validate=validate.Range(1, 65535)),
        load_default=lambda: [80, 443],
        validate=validate.Length(min=1),
        metadata={"description": "Ports that pages may be fetched from."},
    )
    max_size = Whole(
        load_default=5 << 20,
        validate=validate.Range(1024, 64 << 20),
        metadata={"description": "Bytes of a page, unpacked; larger ones are refused."},
    )
    max_text = Whole(
        load_default=20_000,
        validate=validate.Range(500, 90_000),
        metadata={"description": "Characters of a page that a model gets at a time; it can ask for what follows."},
    )
    max_redirects = Whole(
        load_default=5,
        validate=validate.Range(0, 20),
        metadata={"description": "How often a page may redirect to another address."},
    )
    time_limit = seconds(25, "Seconds for a page to be fetched and read, if `replies.tool_time` is not shorter.")
    at_once = Whole(
        load_default=2,
        validate=validate.Range(1, 100),
        metadata={"description": "How many pages a process of the server reads at a time; each takes a core."},
    )
    user_agent = fields.String(
        load_default="Mozilla/5.0 (compatible; backchat)",
        validate=[validate.Length(min=1, max=500), one_line],
        metadata={"description": "What the server says it is, as `User-Agent`."},
    )

    @post_load
    def freeze(self, data: Mapping[str, Any], **_: object) -> FetchSettings:
        own = {name: value for name, value in data.items() if name not in ("allow", "deny", "ports")}
        return FetchSettings(rules=rules_of(data["allow"], data["deny"]), ports=frozenset(data["ports"]), **own)
