"""The workspaces dialect: people who work together in sessions, as BackendAI Chat serves them."""

from __future__ import annotations

from collections.abc import Sequence

from backchat.hookspecs import hookimpl
from backchat.web.dialect import Dialect
from backchat_dialect_workspaces.routes import DIALECT


@hookimpl
def backchat_dialects() -> Sequence[Dialect]:
    return [DIALECT]
