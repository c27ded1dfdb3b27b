"""The chat dialect: one POST that answers, the same as a stream, and the conversations behind it."""

from __future__ import annotations

from collections.abc import Sequence

from backchat.hookspecs import hookimpl
from backchat.web.dialect import Dialect
from backchat_dialect_chat.routes import DIALECT


@hookimpl
def backchat_dialects() -> Sequence[Dialect]:
    return [DIALECT]
