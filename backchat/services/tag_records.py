"""Tags as records."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from backchat.domain.times import moment, stamp
from backchat.ports.storage import Kind, Put, Record

TAG = Kind(
    name="tag",
    fields=("owner", "tag", "position"),
    indexes=(("owner", "position"),),
    unique=(("owner", "tag"),),
    partition="owner",
)
LONGEST = 100
"""Characters of a tag. There is none without a character, nor with space around them."""
MOST = 100
"""Tags of a conversation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tag:
    """``count`` is how many conversations have it, counted when it is read; ``position`` its place in the list, from 1.

    Positions as they are stored may have gaps and be shared; among those, the older id comes first.
    """

    id: str
    owner: str
    tag: str
    description: str | None
    position: int
    created_at: datetime
    updated_at: datetime
    count: int = 0
    version: int = 0


def fitting(names: Iterable[str]) -> tuple[str, ...]:
    """What other programs call tags, as names for tags here: cut if need be, each once, and no more than ``MOST``."""
    cut = [name.strip()[:LONGEST].rstrip() for name in names]
    return tuple(dict.fromkeys([name for name in cut if name]))[:MOST]


def tag_put(t: Tag) -> Put:
    """Store a tag as the successor of the version it carries; version 0 is a new one."""
    doc = {
        "owner": t.owner,
        "tag": t.tag,
        "description": t.description,
        "position": t.position,
        "created": stamp(t.created_at),
        "updated": stamp(t.updated_at),
    }
    return Put(TAG.name, t.id, doc, t.version)


def tag_of(record: Record) -> Tag:
    d = record.doc
    return Tag(
        id=record.id,
        owner=d["owner"],
        tag=d["tag"],
        description=d["description"],
        position=d["position"],
        created_at=moment(d["created"]),
        updated_at=moment(d["updated"]),
        version=record.version,
    )
