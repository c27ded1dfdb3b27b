"""The threads dialect: its routes by subject, and how its errors look."""

from __future__ import annotations

from backchat.web.dialect import Dialect
from backchat_dialect_threads import routes_assistants, routes_models, routes_threads
from backchat_dialect_threads.problems import STATUSES, render_error

DIALECT = Dialect(
    name="threads",
    mount="/api",
    routes=[*routes_assistants.ROUTES, *routes_threads.ROUTES, *routes_models.ROUTES],
    render_error=render_error,
    statuses=STATUSES,
)
