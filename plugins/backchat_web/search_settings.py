"""Which service searches, and how it is asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from marshmallow import ValidationError, fields, post_load, validate, validates_schema

from backchat.upstream.options import ServiceSchema, one_line, seconds, service_url
from backchat.web.fields import Whole
from backchat_web.services import SERVICES

_WORD: list[Callable[[str], object]] = [validate.Length(min=1, max=60), one_line]


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchSettings:
    """``time_limit`` in seconds; ``language``, ``country`` and ``safe_search`` None are left to the service."""

    backend: str
    url: str
    api_key: str | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    count: int = 5
    language: str | None = None
    country: str | None = None
    safe_search: str | None = None
    connect_timeout: float = 10
    time_limit: float = 15


class SearchSchema(ServiceSchema):
    backend = fields.String(
        required=True,
        validate=validate.OneOf(list(SERVICES)),
        metadata={"description": "The service: `searxng`, `brave`, `tavily`, or `duckduckgo`, which wants no key."},
    )
    url = fields.String(
        load_default=None,
        allow_none=True,
        validate=service_url,
        metadata={
            "description": "Where it is, without the path of its search. Required for `searxng`; the others have one."
        },
    )
    count = Whole(
        load_default=5,
        validate=validate.Range(1, 20),
        metadata={"description": "How many results a model is shown at most."},
    )
    language = fields.String(
        load_default=None,
        allow_none=True,
        validate=_WORD,
        metadata={"description": "Language of the results: for `searxng` such as `de` or `pt-BR`, for `brave` `de`."},
    )
    country = fields.String(
        load_default=None,
        allow_none=True,
        validate=_WORD,
        metadata={
            "description": "Where the results should be from: for `brave` such as `DE`, for `tavily` `germany`, for "
            "`duckduckgo` `de-de`."
        },
    )
    safe_search = fields.String(
        load_default=None,
        allow_none=True,
        validate=validate.OneOf(["off", "moderate", "strict"]),
        metadata={
            "description": "What is left out for decency: `off`, `moderate` or `strict`; `tavily` has no `moderate`. "
            "Unless set, the service decides."
        },
    )
    time_limit = seconds(15, "Seconds for an answer, if `replies.tool_time` is not shorter.")

    @validates_schema
    def fits(self, data: Mapping[str, Any], **_: object) -> None:
        """What the service cannot be told is refused, not left out."""
        name = data.get("backend", "")
        if name not in SERVICES:
            return
        service = SERVICES[name]
        problems: dict[str, list[str]] = {}
        if service.url is None and not data.get("url"):
            problems["url"] = [f"Is required for {name}."]
        if service.keyed and not data.get("api_key"):
            problems["api_key"] = [f"Is required for {name}."]
        for option in ("language", "country"):
            if data.get(option) and not getattr(service, option):
                problems[option] = [f"Cannot be set for {name}."]
        level = data.get("safe_search")
        if level is not None and level not in service.safe:
            problems["safe_search"] = [f"Must be one of {', '.join(service.safe)} for {name}."]
        if problems:
            raise ValidationError(problems)

    @post_load
    def freeze(self, data: Mapping[str, Any], **_: object) -> SearchSettings:
        return SearchSettings(**{**data, "url": data["url"] or SERVICES[data["backend"]].url})
