"""What a sharded cluster would say to the commands of the MongoDB store: which it refuses, which go to every shard.

The shard key of a collection is the partition of its kind; kinds without one are not sharded. What may reach all shards
is in a table of ``docs/operations.md`` and nowhere else.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backchat.ports.storage import Kind
from backchat.services.kinds import KINDS

Command = Mapping[str, Any]
PAGE = Path(__file__).parent.parent / "docs" / "operations.md"
ROW = re.compile(r"^\| (?P<kinds>`[^|]+`) \| (?P<fields>[^|]+) \| [^|]+ \|$")
ALLOWED = {
    *("aggregate", "count", "delete", "find", "findAndModify", "getMore", "insert", "killCursors", "update"),
    *("abortTransaction", "commitTransaction", "endSessions", "refreshSessions"),
    *("collMod", "create", "createIndexes", "drop", "dropDatabase", "dropIndexes"),
    *("listCollections", "listDatabases", "listIndexes"),
    *("authenticate", "explain", "hello", "ping", "saslContinue", "saslStart"),
}
"""What Stable API v1 has, and what logs in; all of it works through a mongos."""
BY_ID = frozenset({"id"})


@dataclass(frozen=True, slots=True)
class Broadcast:
    """A command that goes to every shard. ``fields`` are those that its filter names, ``id`` if it has whole ids."""

    kind: str
    fields: frozenset[str]

    def __str__(self) -> str:
        return f"{self.kind} by {', '.join(sorted(self.fields)) or 'nothing'}"


@dataclass(frozen=True, slots=True)
class Refused:
    """A command that a sharded cluster does not carry out, or not as a replica set does."""

    kind: str
    why: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.why}"


def documented(page: str) -> dict[str, list[frozenset[str]]]:
    """By kind, the fields by which its records may be looked for in all shards: each time all of these, or more."""
    _, _, rest = page.partition("| Kinds | Looked for by | Why |")
    found: dict[str, list[frozenset[str]]] = {}
    for line in rest.splitlines()[2:]:
        row = ROW.match(line)
        if row is None:
            break
        for kind in re.findall(r"`([a-z_]+)`", row["kinds"]):
            found.setdefault(kind, []).append(frozenset(re.findall(r"`([a-z_]+)`", row["fields"])))
    return found


def is_documented(broadcast: Broadcast, table: Mapping[str, Sequence[frozenset[str]]]) -> bool:
    return any(bool(row) == bool(broadcast.fields) and row <= broadcast.fields for row in table.get(broadcast.kind, ()))


def judged(name: str, command: Command, kinds: Sequence[Kind] = KINDS) -> Iterator[Broadcast | Refused]:
    """What is to be said of a command; nothing if it works and goes to the shards that have what it is about."""
    if name not in ALLOWED:
        yield Refused(name, "not in Stable API v1")
    if name not in ("hello", "ping") and command.get("apiVersion") != "1":
        yield Refused(name, "sent without the version of the API")
    kind = next((k for k in kinds if k.name == command.get(name)), None)
    if kind is None or kind.partition is None:
        return
    key = kind.partition
    if name == "insert":
        if any(document.get(key) is None for document in command["documents"]):
            yield Refused(kind.name, f"inserted without {key}")
    elif name == "createIndexes":
        for index in command["indexes"]:
            if index.get("unique") and next(iter(index["key"])) != key:
                yield Refused(kind.name, f"the unique index {index['name']} does not begin with {key}")
    elif name == "update":
        for statement in command["updates"]:
            yield from _update(kind, key, statement)
    elif name == "delete":
        for statement in command["deletes"]:
            yield from _write(kind, key, statement["q"], one=statement["limit"] == 1)
    elif name == "findAndModify":
        if pinned(command["query"], key) is None:
            yield Refused(kind.name, f"findAndModify without {key}")
    else:
        yield from _read(kind, key, command)


def _update(kind: Kind, key: str, statement: Command) -> Iterator[Broadcast | Refused]:
    q, u = statement["q"], statement["u"]
    where = pinned(q, key)
    if statement.get("upsert") and where is None:
        yield Refused(kind.name, f"upsert without {key}")
    for stage in u if isinstance(u, list) else [u]:
        changed = stage if not any(name.startswith("$") for name in stage) else stage.get("$set", {})
        if key in changed and where is None:
            yield Refused(kind.name, f"stored without {key} in its filter")
        elif key in changed and changed[key] not in (where or ()):
            yield Refused(kind.name, f"{key} changed")
        elif changed is stage and key not in stage:
            yield Refused(kind.name, f"replaced by something without {key}")
        if key in stage.get("$unset", {}):
            yield Refused(kind.name, f"{key} changed")
    yield from _write(kind, key, q, one=not statement.get("multi"))


def _write(kind: Kind, key: str, q: Command, *, one: bool) -> Iterator[Broadcast | Refused]:
    if pinned(q, key) is not None:
        return
    if one and pinned(q, "_id") is None:
        yield Refused(kind.name, f"one record changed with neither _id nor {key} in the filter")
    yield Broadcast(kind.name, fields_of(q))


def _read(kind: Kind, key: str, command: Command) -> Iterator[Broadcast]:
    if "pipeline" in command:
        first: Command = next(iter(command["pipeline"]), {})
        if "$changeStream" in first:
            return
        q = first.get("$match", {})
    else:
        q = command.get("filter", command.get("query"))
    if q is not None and pinned(q, key) is None:
        yield Broadcast(kind.name, fields_of(q))


def pinned(q: Command, field: str) -> Sequence[Any] | None:
    """The values that a field must have one of; None if the filter does not say so."""
    for term in _terms(q):
        if field not in term:
            continue
        asked = term[field]
        if not isinstance(asked, Mapping):
            return [asked]
        if "$eq" in asked:
            return [asked["$eq"]]
        if "$in" in asked:
            return list(asked["$in"])
    return None


def fields_of(q: Command) -> frozenset[str]:
    """Fields that have to hold, without those of ours; ``id`` only if whole ids are asked for."""
    names = {name for term in _terms(q) for name in term if not name.startswith(("_", "$"))}
    if any("_words" in term for term in _terms(q)):
        names.add("words")
    return frozenset(names | (BY_ID if pinned(q, "_id") is not None else set()))


def _terms(q: Command) -> Iterator[Command]:
    yield q
    for term in q.get("$and", ()):
        yield from _terms(term)
