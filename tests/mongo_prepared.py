"""Databases that a run of tests opens thousands of times, and nobody else."""

from __future__ import annotations

from collections.abc import Mapping

from backchat_mongo import preparing
from backchat_mongo.drivers import Connection
from backchat_mongo.layout import Layout

_prepare = preparing.prepare
_ours: set[str] = set()
_done: set[tuple[str, str]] = set()


def prepare_once(database: str) -> None:
    """Prepare this database when this process first opens it with the same kinds, and then never again.

    Half of the time of a test would go into the comparison of two hundred indexes that nobody has touched.
    """
    _ours.add(database)
    preparing.prepare = _prepared


async def _prepared(connection: Connection, layouts: Mapping[str, Layout]) -> None:
    name = connection.database.name
    key = name, repr([layout.kind for layout in layouts.values()])
    if name not in _ours or key not in _done:
        await _prepare(connection, layouts)
        _done.add(key)
