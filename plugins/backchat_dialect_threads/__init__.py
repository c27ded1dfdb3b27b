"""The threads dialect: assistants, their threads, tools, documents and memories, as `backboard-sdk` asks for them."""

from __future__ import annotations

from collections.abc import Sequence

from backchat.hookspecs import hookimpl
from backchat.web.dialect import Dialect
from backchat_dialect_threads.routes import DIALECT


@hookimpl
def backchat_dialects() -> Sequence[Dialect]:
    return [DIALECT]
