"""Share links as records."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from backchat.domain.times import moment, stamp
from backchat.ports.storage import Kind, Put, Record

SHARE = Kind(
    name="share",
    fields=("owner", "conversation", "target", "title", "created"),
    text=("title",),
    within=("owner",),
    indexes=(("owner", "created"), ("owner", "title")),
    unique=(("conversation", "target"),),
    partition="conversation",
)
WHOLE = ""
"""Where the target is stored of a link that shows every branch: a null would not be compared with another one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """A link. Its id, 128 random bits and more, is all that is needed to read.

    title     that of the conversation when it was shared
    until     messages from this seq on came later and are not shown
    target    the last message that is shown, with the path to it; None: every branch
    updated_at  when what it shows was chosen
    """

    id: str
    owner: str
    conversation: str
    title: str
    until: int
    target: str | None
    created_at: datetime
    updated_at: datetime
    version: int = 0


def share_put(s: Share) -> Put:
    """Store a link as the successor of the version it carries; version 0 is a new one."""
    doc = {
        "owner": s.owner,
        "conversation": s.conversation,
        "title": s.title,
        "until": s.until,
        "target": s.target or WHOLE,
        "created": stamp(s.created_at),
        "updated": stamp(s.updated_at),
    }
    return Put(SHARE.name, s.id, doc, s.version)


def share_of(record: Record) -> Share:
    d = record.doc
    return Share(
        id=record.id,
        owner=d["owner"],
        conversation=d["conversation"],
        title=d["title"],
        until=d["until"],
        target=d["target"] or None,
        created_at=moment(d["created"]),
        updated_at=moment(d["updated"]),
        version=record.version,
    )
