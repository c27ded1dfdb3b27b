"""The connections that read: each a thread of its own, so a long query holds up nothing but its own connection."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any

import aiosqlite
import orjson

from backchat.errors import Unavailable
from backchat_sqlite.tables import Table
from backchat_sqlite.terms import hits
from backchat_sqlite.writer import shown


class Readers:
    """Every statement is a read of its own; it goes to the connection that has the fewest to do."""

    def __init__(self, connections: Sequence[aiosqlite.Connection], opened: AsyncExitStack) -> None:
        self._connections = connections
        self._busy = [0] * len(connections)
        self._opened = opened
        self._closed = False

    @classmethod
    async def open(cls, settings: Mapping[str, Any], tables: Mapping[str, Table]) -> Readers:
        def words_hit(kind: str, doc: bytes, wanted: str) -> int:
            return hits(tables[kind].kind, orjson.loads(doc), wanted)

        async with AsyncExitStack() as opened:
            connections = []
            for _ in range(settings["readers"]):
                db = await opened.enter_async_context(
                    aiosqlite.connect(
                        settings["path"],
                        timeout=settings["busy_timeout"],
                        isolation_level=None,
                        cached_statements=256,
                    )
                )
                await db.execute_fetchall(f"PRAGMA cache_size = {-1024 * settings['cache_mib']}")
                await db.execute_fetchall("PRAGMA query_only = ON")
                await db.create_function("words_hit", 3, words_hit, deterministic=True)
                connections.append(db)
            return cls(connections, opened.pop_all())

    async def fetch(self, sql: str, values: Sequence[Any]) -> Sequence[Sequence[Any]]:
        """All rows; sees everything that was committed before the call."""
        if self._closed:
            raise Unavailable("the database is closed")
        busy = self._busy
        chosen = busy.index(min(busy))
        busy[chosen] += 1
        try:
            rows: Any = await self._connections[chosen].execute_fetchall(sql, values)
        except sqlite3.Error as error:
            raise shown(error) from error
        finally:
            busy[chosen] -= 1
        return rows  # type: ignore[no-any-return]

    async def close(self) -> None:
        self._closed = True
        await self._opened.aclose()
