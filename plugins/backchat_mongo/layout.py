"""How the records of a kind lie in MongoDB: names, what a record looks like, and the indexes.

A collection for each kind, named after it. A record is

    {_id, _version, _doc, <fields>, <lists>, _words, _loose-<group>, ...}

``_doc`` is the document as JSON text; everything after it is made from that and serves to find the record. All of
these names are there in every record: a field that the document lacks is null, a list empty. ``_words`` are the
distinct words of the text fields (only kinds with text have it). ``_loose-<group>`` is null if all fields of a unique
group have values, and the record's id otherwise: the unique index on the group ends with it, and so compares whole
groups only.

A name of ours begins with ``_`` and none of a kind does (``Kind`` sees to that), and no name has a ``$`` or a dot.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

from backchat.ports.storage import Kind

VERSION = "_version"
DOC = "_doc"
WORDS = "_words"
REQUIRED = "_required"
"""Written at random by a batch that requires the record, so that it meets another one that deletes it."""
OURS = "backchat-"
"""What the names of our indexes begin with."""
UNIQUE = f"{OURS}unique-"
"""And those of unique ones."""


@dataclass(frozen=True, slots=True)
class Index:
    """``keys`` ascend, all of them."""

    name: str
    keys: tuple[str, ...]
    unique: bool = False


@dataclass(frozen=True)
class Layout:
    """Of one kind. ``collection`` is its name in the database."""

    kind: Kind

    @property
    def collection(self) -> str:
        return self.kind.name

    @cached_property
    def loose(self) -> tuple[str, ...]:
        """The name of the field that takes a group with a null out of a unique index, for each unique group."""
        return tuple(map(_loose, self.kind.unique))

    @cached_property
    def unique(self) -> tuple[Index, ...]:
        """In the order of the kind's unique groups."""
        groups = zip(self.kind.unique, self.loose, strict=True)
        return tuple(Index(_named("unique", group), (*group, loose), unique=True) for group, loose in groups)

    @cached_property
    def indexes(self) -> tuple[Index, ...]:
        """All that the collection has, but for the one on ``_id``.

        The first field of one of them is the partition: a sharded collection needs that.
        """
        kind = self.kind
        found = [*self.unique]
        found += [Index(_named("order", group), (*group, "_id")) for group in kind.indexes]
        partition = (kind.partition,) if kind.partition else ()
        if partition and not any(index.keys[0] == kind.partition for index in found):
            found.append(Index(_named("order", partition), (*partition, "_id")))
        # The list comes first: some are asked for in all partitions, and with both known the order is all the same.
        found += [Index(_named("list", (name,)), (name, *partition, "_id")) for name in kind.lists]
        if kind.text:
            found += [Index(_named("words", (name,)), (name, WORDS, "_id")) for name in kind.within]
            if not kind.within:
                found.append(Index(_named("words", ()), (WORDS, "_id")))
        return tuple({index.name: index for index in found}.values())

    @cached_property
    def shape(self) -> dict[str, Any]:
        """What of the kind decides how a record looks, as JSON has it. Equal shapes, equal records."""
        kind = self.kind
        groups = [list(group) for group in kind.unique]
        return {"fields": list(kind.fields), "lists": list(kind.lists), "text": list(kind.text), "unique": groups}

    @cached_property
    def names(self) -> frozenset[str]:
        """What stands in every record beside ``_id`` and ``_version``."""
        return names_of(self.shape)


@cache
def layout_of(kind: Kind) -> Layout:
    return Layout(kind)


def names_of(shape: Mapping[str, Any]) -> frozenset[str]:
    """What stands in every record of a shape beside ``_id`` and ``_version``."""
    words = [WORDS] if shape["text"] else []
    return frozenset((DOC, *shape["fields"], *shape["lists"], *words, *map(_loose, shape["unique"])))


def stored_name(field: str) -> str:
    """The name of a field of a kind, or of ``id``, in a stored record."""
    return "_id" if field == "id" else field


def _named(sort: str, fields: tuple[str, ...]) -> str:
    return f"{OURS}{'-'.join((sort, *fields))}"


def _loose(group: Sequence[str]) -> str:
    return "-".join(("_loose", *group))
