"""The workspaces dialect: its routes by subject, and how its errors look."""

from __future__ import annotations

from backchat.web.dialect import Dialect
from backchat_dialect_workspaces import (
    routes_media,
    routes_messages,
    routes_sessions,
    routes_tokens,
    routes_workspaces,
)
from backchat_dialect_workspaces.problems import render_error
from backchat_dialect_workspaces.settings import SettingsSchema

DIALECT = Dialect(
    name="workspaces",
    mount="",
    routes=[
        *routes_workspaces.ROUTES,
        *routes_sessions.ROUTES,
        *routes_messages.ROUTES,
        *routes_media.ROUTES,
        *routes_tokens.ROUTES,
    ],
    render_error=render_error,
    schema=SettingsSchema(),
    slashes=True,
)
