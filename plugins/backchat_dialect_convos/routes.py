"""The convos dialect: its routes by subject, and how its errors look."""

from __future__ import annotations

from backchat.web.dialect import Dialect
from backchat_dialect_convos import routes_accounts, routes_convos, routes_messages
from backchat_dialect_convos.problems import render_error
from backchat_dialect_convos.settings import SettingsSchema

DIALECT = Dialect(
    name="convos",
    mount="",
    routes=[*routes_convos.ROUTES, *routes_messages.ROUTES, *routes_accounts.ROUTES],
    render_error=render_error,
    schema=SettingsSchema(),
)
