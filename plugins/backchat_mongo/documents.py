"""From a document of the port to the record that is stored, and back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import orjson

from backchat.ports.storage import Record, Scalar
from backchat.ports.words import words
from backchat_mongo.drivers import Stored
from backchat_mongo.layout import DOC, VERSION, WORDS, Layout

MOST_WORDS = 50_000
"""Distinct words of a record that can be found. Their index keys are written in one go, for which the server needs room
in its cache: with the smallest that there is, of 256 MB, 100,000 keys are too many."""
RECORD = {DOC: 1, VERSION: 1}
"""The projection with which ``record_of`` is content."""


def stored(layout: Layout, id: str, doc: Mapping[str, Any], version: int) -> Stored:
    """The whole record. Raises TypeError for a document that is not JSON."""
    return {"_id": id, VERSION: version, **content(layout, id, doc)}


def content(layout: Layout, id: str, doc: Mapping[str, Any]) -> Stored:
    """Everything of a record but ``_id`` and ``_version``: always the same names, so that it can replace another's."""
    return {DOC: orjson.dumps(doc).decode(), **found_by(layout, id, doc)}


def found_by(layout: Layout, id: str, doc: Mapping[str, Any]) -> Stored:
    """What a record is found by: the part of ``content`` that can be made anew from the document."""
    kind = layout.kind
    get = doc.get
    found: Stored = {field: plain(get(field)) for field in kind.fields}
    for name in kind.lists:
        found[name] = list(get(name) or ())
    if kind.text:
        distinct = dict.fromkeys(w for field in kind.text for w in words(get(field) or ""))
        found[WORDS] = list(distinct)[:MOST_WORDS]
    for name, group in zip(layout.loose, kind.unique, strict=True):
        found[name] = id if any(found[field] is None for field in group) else None
    return found


def record_of(kind: str, found: Stored) -> Record:
    """The record of what a find with the projection ``RECORD`` gives."""
    return Record(kind, found["_id"], orjson.loads(found[DOC]), found[VERSION])


def plain(value: Scalar) -> Scalar:
    """A value as fields and conditions have it: a boolean is a number, and what JSON cannot say is null."""
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
