"""The vault dialect: git for the history of chats, as Backspace serves it; whoever steals the disk reads nothing."""

from __future__ import annotations

from collections.abc import Sequence

from backchat.hookspecs import hookimpl
from backchat.web.dialect import Dialect
from backchat_dialect_vault.routes import DIALECT


@hookimpl
def backchat_dialects() -> Sequence[Dialect]:
    return [DIALECT]
