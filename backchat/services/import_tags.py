"""The tags of imported conversations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from backchat.ports.storage import Put, Query, RecordStore
from backchat.services.tag_records import TAG, Tag, tag_put


async def missing_tags(
    store: RecordStore, owner: str, tags: Sequence[str], now: datetime, new_id: Callable[[], str]
) -> list[Put]:
    """What makes those of the tags that a user does not have, after the others. Stale if somebody makes one too."""
    if not tags:
        return []
    own = ("owner", (owner,))
    there = await store.find(Query(kind=TAG.name, where=(own, ("tag", tuple(tags))), limit=len(tags)))
    missing = [tag for tag in tags if tag not in {record.doc["tag"] for record in there}]
    if not missing:
        return []
    last = await store.find(Query(kind=TAG.name, where=(own,), order=("position",), descending=True, limit=1))
    position = last[0].doc["position"] + 1 if last else 1
    return [
        tag_put(
            Tag(
                id=new_id(),
                owner=owner,
                tag=tag,
                description=None,
                position=place,
                created_at=now,
                updated_at=now,
            )
        )
        for place, tag in enumerate(missing, position)
    ]
