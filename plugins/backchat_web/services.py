"""The search services: how each is asked, and where its results are in what it answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import urlencode

import orjson

from backchat.ports.tools import ToolFailed
from backchat_web.duckduckgo import CHALLENGED, results_in
from backchat_web.results import Result, unmarked

_FORM = {"Content-Type": "application/x-www-form-urlencoded"}


class Wanted(Protocol):
    """The settings of a search that a service is told; None is left to it."""

    @property
    def api_key(self) -> str | None: ...
    @property
    def count(self) -> int: ...
    @property
    def language(self) -> str | None: ...
    @property
    def country(self) -> str | None: ...
    @property
    def safe_search(self) -> str | None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A request to a service: a POST with ``body``, or a GET with ``query``."""

    path: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    query: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """One of the search services.

    url       where it is; None if that is the deployer's to say
    keyed     whether it wants a key
    safe      by the names of this server what it calls its levels of safe search
    language, country   whether it can be told one
    statuses  what its statuses mean that mean something else than usual
    """

    ask: Callable[[str, Wanted, Mapping[str, Any]], Question]
    read: Callable[[bytes], Sequence[Result]]
    safe: Mapping[str, Any]
    url: str | None = None
    keyed: bool = False
    language: bool = False
    country: bool = False
    statuses: Mapping[int, str] = field(default_factory=dict)


def _given(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _listed(found: Any, *path: str) -> list[Mapping[str, Any]]:
    """The objects of the list at this place of an answer; a service may leave out what would be empty."""
    for name in path:
        found = found.get(name) if isinstance(found, dict) else None
    return [entry for entry in found if isinstance(entry, dict)] if isinstance(found, list) else []


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _json(body: bytes) -> Any:
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        found = None
    if not isinstance(found, dict):
        raise ToolFailed("the search service did not answer in JSON")
    return found


def _ask_searxng(query: str, wanted: Wanted, safe: Mapping[str, Any]) -> Question:
    """By POST, so that what is looked for is in no log of addresses. https://docs.searxng.org/dev/search_api.html"""
    level = safe.get(wanted.safe_search or "")
    form = _given(q=query, format="json", language=wanted.language, safesearch=level)
    headers = {**_FORM, **({"Authorization": f"Bearer {wanted.api_key}"} if wanted.api_key else {})}
    return Question(path="/search", headers=headers, body=urlencode(form).encode())


def _read_listed(body: bytes) -> Sequence[Result]:
    found = _listed(_json(body), "results")
    return [Result(_text(r.get("title")), _text(r.get("url")), _text(r.get("content"))) for r in found]


def _ask_brave(query: str, wanted: Wanted, safe: Mapping[str, Any]) -> Question:
    """https://api-dashboard.search.brave.com/api-reference/web/search/get"""
    fields = _given(
        q=query,
        count=str(wanted.count),
        search_lang=wanted.language,
        country=wanted.country,
        safesearch=safe.get(wanted.safe_search or ""),
        result_filter="web",
        text_decorations="false",
    )
    return Question(path="/res/v1/web/search", headers={"X-Subscription-Token": wanted.api_key or ""}, query=fields)


def _read_brave(body: bytes) -> Sequence[Result]:
    found = _listed(_json(body), "web", "results")
    return [
        Result(unmarked(_text(r.get("title"))), _text(r.get("url")), unmarked(_text(r.get("description"))))
        for r in found
    ]


def _ask_tavily(query: str, wanted: Wanted, safe: Mapping[str, Any]) -> Question:
    """https://docs.tavily.com/documentation/api-reference/endpoint/search"""
    level = safe.get(wanted.safe_search or "")
    fields = _given(query=query, max_results=wanted.count, country=wanted.country, safe_search=level)
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {wanted.api_key}"}
    return Question(path="/search", headers=headers, body=orjson.dumps(fields))


def _ask_duckduckgo(query: str, wanted: Wanted, safe: Mapping[str, Any]) -> Question:
    """``kl`` and ``kp``: https://duckduckgo.com/duckduckgo-help-pages/settings/params"""
    form = _given(q=query, b="", kl=wanted.country or "wt-wt", kp=safe.get(wanted.safe_search or ""))
    headers = {**_FORM, "User-Agent": "Mozilla/5.0 (compatible; backchat)"}
    return Question(path="/html/", headers=headers, body=urlencode(form).encode())


SERVICES: Mapping[str, Service] = {
    "searxng": Service(
        ask=_ask_searxng,
        read=_read_listed,
        safe={"off": "0", "moderate": "1", "strict": "2"},
        language=True,
        statuses={403: "the search service does not answer in JSON: its owner has to allow that format"},
    ),
    "brave": Service(
        ask=_ask_brave,
        read=_read_brave,
        url="https://api.search.brave.com",
        safe={"off": "off", "moderate": "moderate", "strict": "strict"},
        keyed=True,
        language=True,
        country=True,
    ),
    "tavily": Service(
        ask=_ask_tavily,
        read=_read_listed,  # the fields have the same names
        url="https://api.tavily.com",
        safe={"off": False, "strict": True},
        keyed=True,
        country=True,
    ),
    "duckduckgo": Service(
        ask=_ask_duckduckgo,
        read=results_in,
        url="https://html.duckduckgo.com",
        safe={"off": "-2", "moderate": "-1", "strict": "1"},
        country=True,
        statuses={202: CHALLENGED},
    ),
}
