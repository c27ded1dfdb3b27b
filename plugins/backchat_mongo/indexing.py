"""Indexes: made once under names of their own, compared when a process opens the database, never changed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import pymongo
import structlog
from pymongo import IndexModel
from pymongo.errors import OperationFailure

from backchat.errors import ConfigError
from backchat_mongo.drivers import Connection, Stored
from backchat_mongo.failures import TAKEN, codes
from backchat_mongo.layout import UNIQUE, Index, Layout

log = structlog.get_logger(source=__name__)
AT_ONCE = 4
"""Collections that are looked at together."""
MOST_SECONDS = 7 * 24 * 3600.0
"""For how long indexes of collections that hold something may be made."""
_SEEN: set[tuple[Any, Sequence[Index]]] = set()
"""Collections, by their universal id, that had these indexes when this process looked. To ask for the indexes of all of
them takes as long as all the rest of opening a database, three times."""
_EXISTS = 48
_CONFLICTS = frozenset((85, 86))
_SAYS_NOTHING = frozenset(("v", "key", "name", "ns", "background"))


class Indexes:
    """Of the collections that have to be looked at, what they lack.

    missing  for each such kind, its layout and the indexes that its collection has not
    there    the universal ids of all collections that there are, by their names
    """

    def __init__(self, connection: Connection, there: Mapping[str, Any], layouts: Sequence[Layout]) -> None:
        self._connection = connection
        self._there = there
        self._unseen = [each for each in layouts if (there.get(each.collection), each.indexes) not in _SEEN]
        self._missing: dict[str, list[Index]] = {}

    @classmethod
    async def compare(cls, connection: Connection, layouts: Mapping[str, Layout]) -> Indexes:
        """Raises ConfigError, in one line for each index that is not as it is declared."""
        cursor = await connection.database.list_collections()
        there = {row["name"]: row["info"].get("uuid") for row in await cursor.to_list(None)}
        indexes = cls(connection, there, list(layouts.values()))
        problems: list[str] = []

        async def compare(layout: Layout) -> None:
            held: dict[str, Stored] = {}
            if layout.collection in there:
                found = await connection.indexes(connection.collection(layout.collection))
                held = {index["name"]: index for index in found}
            problems.extend(_problems(layout, held))
            indexes._missing[layout.kind.name] = [index for index in layout.indexes if index.name not in held]

        await indexes._each(compare)
        if problems:
            raise ConfigError(sorted(problems))
        return indexes

    async def make(self) -> None:
        """Make what is missing. Raises ConfigError for records that break a unique group."""
        problems: list[str] = []

        async def make(layout: Layout) -> None:
            missing = self._missing[layout.kind.name]
            if layout.collection not in self._there:
                await _create(self._connection, layout)
            elif missing:
                log.info("storage.indexing", kind=layout.kind.name, indexes=[index.name for index in missing])
            problem = await _make(self._connection, layout, missing) if missing else None
            if problem:
                problems.append(problem)
            elif (known := self._there.get(layout.collection)) is not None:
                _SEEN.add((known, layout.indexes))

        await self._each(make)
        if problems:
            raise ConfigError(sorted(problems))

    async def _each(self, work: Callable[[Layout], Awaitable[None]]) -> None:
        waiting = iter(self._unseen)

        async def some() -> None:
            for layout in waiting:
                await work(layout)

        await asyncio.gather(*(some() for _ in range(AT_ONCE)))


async def _make(connection: Connection, layout: Layout, missing: Sequence[Index]) -> str | None:
    """Make these indexes; or the reason why they cannot be made."""
    models = [IndexModel([(key, 1) for key in index.keys], name=index.name, unique=index.unique) for index in missing]
    try:
        with pymongo.timeout(MOST_SECONDS):
            await connection.collection(layout.collection).create_indexes(models)
    except OperationFailure as error:
        names = ", ".join(index.name for index in missing)
        if TAKEN in codes(error):
            groups = " or ".join(", ".join(group) for group in layout.kind.unique)
            return f"records of {layout.kind.name} share {groups}, which is now unique"
        if codes(error) & _CONFLICTS:
            return f"{layout.collection}: an index of another name has the keys of one of {names}; delete it"
        raise
    return None


async def _create(connection: Connection, layout: Layout) -> None:
    try:
        await connection.database.create_collection(layout.collection, check_exists=False)
    except OperationFailure as error:
        if _EXISTS not in codes(error):  # another process was faster
            raise


def _problems(layout: Layout, held: Mapping[str, Stored]) -> list[str]:
    """What is wrong with the indexes that there are, and the command that is the first step to mend it."""
    declared = {index.name: index for index in layout.indexes}
    problems = []
    for name, found in held.items():
        if name in declared and not _as_declared(declared[name], found):
            wrong, then = (
                "is not as backchat makes it; if nobody needs it as it is",
                ", and the next start makes it anew",
            )
        elif name not in declared and name.startswith(UNIQUE):
            wrong, then = "makes unique what may be there more than once now; if no older version runs any more", ""
        else:
            continue
        command = f'db.getCollection("{layout.collection}").dropIndex("{name}")'
        problems.append(f"{layout.collection}: the index {name} {wrong}, `{command}` in mongosh deletes it{then}")
    return problems


def _as_declared(index: Index, found: Stored) -> bool:
    """Whether it has these keys, and no option that changes what it holds or checks."""
    options: dict[str, Any] = {name: value for name, value in found.items() if name not in _SAYS_NOTHING}
    unique = bool(options.pop("unique", False))
    return list(found["key"].items()) == [(key, 1) for key in index.keys] and unique == index.unique and not options
