"""The convos dialect: the conversation archive, as LibreChat's client layer asks for it."""

from __future__ import annotations

from collections.abc import Sequence

from backchat.hookspecs import hookimpl
from backchat.web.dialect import Dialect
from backchat_dialect_convos.routes import DIALECT


@hookimpl
def backchat_dialects() -> Sequence[Dialect]:
    return [DIALECT]
