"""Pages of lists, as Django REST framework numbers them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlencode

from backchat.errors import NotFound
from backchat.web.address import secure
from backchat.web.dialect import Call

LAST = 10**9
"""No list has so many pages: nothing is looked for beyond."""


def window(call: Call) -> tuple[int, int]:
    """How many rows come before the page that the query asks for, and how many it has. Raises NotFound beyond LAST."""
    page, size = call.query["page"], call.query["page_size"]
    if page > LAST:
        raise _beyond()
    return (page - 1) * size, size


def paged(call: Call, rows: Sequence[Any], count: int) -> dict[str, Any]:
    """A page of ``count`` rows, with links to its neighbours. Raises NotFound if the list has no such page."""
    page, size = call.query["page"], call.query["page_size"]
    if page > 1 and (page - 1) * size >= count:
        raise _beyond()
    return {
        "count": count,
        "next": _link(call, page + 1) if page * size < count else None,
        "previous": _link(call, page - 1) if page > 1 else None,
        "results": list(rows),
    }


def _link(call: Call, page: int) -> str:
    """The same list at another page; a token of the query string is not in it."""
    request = call.request
    query = [(n, v) for n, v in request.query.items() if n in call.query and n != "page"]
    shown = urlencode([*query, ("page", str(page))])
    return f"{'https' if secure(request) else 'http'}://{request.host}{request.rel_url.raw_path}?{shown}"


def _beyond() -> NotFound:
    return NotFound("Invalid page.")
