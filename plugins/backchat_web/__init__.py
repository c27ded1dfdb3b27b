"""Tools that look things up in the web: ``web_search`` and ``web_fetch``."""

from __future__ import annotations

from collections.abc import Sequence

from backchat.hookspecs import hookimpl
from backchat.ports.component import Component
from backchat.ports.tools import ToolBackend


@hookimpl
def backchat_tools() -> Sequence[ToolBackend]:
    # Not at the top: the process that reads a page imports this package too, and needs nothing of all that.
    from backchat_web.fetch import open_fetch
    from backchat_web.fetch_settings import FetchSchema
    from backchat_web.search import open_search
    from backchat_web.search_settings import SearchSchema

    return [
        Component("web_search", SearchSchema(), open_search),
        Component("web_fetch", FetchSchema(), open_fetch, "web"),
    ]
