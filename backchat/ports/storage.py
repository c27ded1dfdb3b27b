"""The storage port: records, queries and the methods of a store. A backend knows records, never conversations."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from backchat.ports.component import Component

Scalar = str | int | float | bool | None
Condition = tuple[str, Sequence[Scalar]]
_NAME = re.compile("[a-z][a-z_]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A sort of record and how it is found. Backends build columns, indexes and word indexes from this.

    name, fields, lists, text    match ``[a-z][a-z_]*`` (they reach the text of queries), anything else is a ValueError
    fields      scalar fields of the document that conditions, ranges and order may name (besides ``id``)
    lists       list-of-string fields; a condition on one asks whether the list holds one of the values
    text        string fields that ``words`` and ``any_word`` search
    within      fields among ``fields`` that narrow a word search; a backend puts them into its word index
    facets      fields and lists that narrow it further, within one partition, which is among ``within``; they change
                what such a search costs, never what it finds
    indexes     field groups to index; equality fields first, then the field that orders or is ranged over
    unique      field groups of which no two records may share all values; a group with a null in it is not checked.
                With a partition, each begins with it: a cluster that keeps partitions apart can check no other
    partition   the field that says whose the record is (the owner, the conversation, the run); not null, and never
                changes
    """

    name: str
    fields: tuple[str, ...] = ()
    lists: tuple[str, ...] = ()
    text: tuple[str, ...] = ()
    within: tuple[str, ...] = ()
    facets: tuple[str, ...] = ()
    indexes: tuple[tuple[str, ...], ...] = ()
    unique: tuple[tuple[str, ...], ...] = ()
    partition: str | None = None

    def __post_init__(self) -> None:
        for name in (self.name, *self.fields, *self.lists, *self.text):
            if not _NAME.fullmatch(name) or name in ("id", "version", "doc"):
                raise ValueError(f"bad field or kind name {name!r}")
        grouped = {f for group in (*self.indexes, *self.unique, self.within) for f in group}
        unknown = grouped | ({self.partition} if self.partition else set())
        if unknown - set(self.fields):
            raise ValueError(f"{self.name}: {', '.join(sorted(unknown - set(self.fields)))} not among its fields")
        if self.partition and any(group[0] != self.partition for group in self.unique):
            raise ValueError(f"{self.name}: unique groups begin with the partition {self.partition}")
        if not set(self.facets) <= {*self.fields, *self.lists} or (self.facets and self.partition not in self.within):
            raise ValueError(f"{self.name}: facets are fields or lists of a kind searched within its partition")


@dataclass(frozen=True, slots=True)
class Record:
    """A stored document. ``version`` is 1 when new and grows by one with every Put."""

    kind: str
    id: str
    doc: Mapping[str, Any]
    version: int


@dataclass(frozen=True, slots=True)
class Put:
    """Store the whole document. ``expect`` 0: must be new; n: must stand at version n; None: whatever is there."""

    kind: str
    id: str
    doc: Mapping[str, Any]
    expect: int | None = None


@dataclass(frozen=True, slots=True)
class Delete:
    """Remove one record; quiet when there is none, unless ``expect`` says that it stands at a version."""

    kind: str
    id: str
    expect: int | None = None


@dataclass(frozen=True, slots=True)
class Range:
    """``low <= value < high``; None leaves that side open. A record whose field is null is outside every range."""

    field: str
    low: str | int | float | None = None
    high: str | int | float | None = None


@dataclass(frozen=True, slots=True)
class Purge:
    """Remove every record that meets all conditions and lies in all ranges. At least one of either is given."""

    kind: str
    where: tuple[Condition, ...] = ()
    ranges: tuple[Range, ...] = ()


@dataclass(frozen=True, slots=True)
class Require:
    """Change nothing, and let the batch through only if this record is there: what is stored hangs on it.

    A record that another batch deletes at the same time is either still there when that batch purges what hangs on it,
    or makes this one stale.
    """

    kind: str
    id: str


Change = Put | Delete | Purge | Require


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """Everything a list can ask; all conditions must hold.

    where       (field, values): the field is one of the values (None: null or missing), or the list holds one of them;
                tens of thousands of values are as good as one
    ranges      on scalar fields or ``id``
    words       every word of this text begins some word of the kind's text fields; case and accents do not matter
                (``backchat.ports.words``). Text without a word matches nothing; the empty string is no condition.
    any_word    like ``words`` but one word is enough; results come by relevance, and ``order`` must be empty
    order       fields that are never null; ties are broken by id; strings compare by code point
    descending  one direction for all, the id included
    after       strictly beyond this place: the values of the order fields, then the id
    """

    kind: str
    where: tuple[Condition, ...] = ()
    ranges: tuple[Range, ...] = ()
    words: str = ""
    any_word: str = ""
    order: tuple[str, ...] = ()
    descending: bool = False
    after: tuple[Scalar, ...] | None = None
    limit: int = 100
    offset: int = 0


class RecordStore(Protocol):
    """Six methods; ``backchat.ports.abilities`` has what a store may offer besides.

    Test an implementation with ``pytest --backchat-storage=<its name>`` (docs/write-a-plugin.md).
    """

    async def get(self, kind: str, id: str) -> Record | None: ...

    async def find(self, query: Query) -> Sequence[Record]: ...

    async def count(self, query: Query) -> int:
        """How many records meet the conditions; order, after, limit and offset play no part."""
        ...

    async def values(self, query: Query, field: str) -> Sequence[Scalar]:
        """The values of a scalar field, or ``id``, among the records that meet the conditions: each once, and no null.

        Order, after and offset play no part. If there are more than ``limit``, it is up to the store which of them it
        gives, and in which order it gives them always. Values that compare equal are one: a boolean may come as a
        number.
        """
        ...

    async def apply(self, changes: Sequence[Change]) -> None:
        """All or nothing, in the order given, durable on return.

        Raises ``StaleWrite`` when an expectation, a requirement or a unique group is broken; then nothing was written.
        """
        ...

    async def compact(self) -> None:
        """Leave nothing of deleted records in the files of the backend, as far as that is in its hands. May take long.

        What was deleted is never found by the other methods, compacted or not.
        """
        ...


OnCommit = Callable[[int], None]
"""Called after each durable commit with the number of ``apply`` calls it held. For metrics; does not block."""

OpenStore = Callable[[Any, Sequence[Kind], OnCommit], AbstractAsyncContextManager[RecordStore]]
StorageBackend = Component[OpenStore]
