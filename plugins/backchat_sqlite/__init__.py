"""Storage in one SQLite file, for one box."""

from __future__ import annotations

from collections.abc import Sequence

from backchat.hookspecs import hookimpl
from backchat.ports.storage import StorageBackend
from backchat_sqlite.component import SQLITE


@hookimpl
def backchat_storages() -> Sequence[StorageBackend]:
    return [SQLITE]
