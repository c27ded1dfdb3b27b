"""The vault dialect: its routes by subject, and what holds for all of them."""

from __future__ import annotations

from dataclasses import replace

from backchat.web.dialect import Dialect
from backchat_dialect_vault import routes_entries, routes_keys
from backchat_dialect_vault.opening import attending, from_headers
from backchat_dialect_vault.problems import STATUSES, render_error
from backchat_dialect_vault.settings import SettingsSchema

DIALECT = Dialect(
    name="vault",
    mount="/api/v1",
    routes=[replace(route, opens=attending) for route in (*routes_entries.ROUTES, *routes_keys.ROUTES)],
    render_error=render_error,
    credentials=from_headers,
    statuses=STATUSES,
    schema=SettingsSchema(),
    headers={"Cache-Control": "no-store"},
)
