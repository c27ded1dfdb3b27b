"""Tags for a conversation that gets some."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from backchat.ports.storage import Query, RecordStore
from backchat.services.tag_records import TAG, Tag, tag_of


async def tags_for(
    store: RecordStore, owner: str, names: Sequence[str], now: datetime, new_id: Callable[[], str]
) -> list[Tag]:
    """The tags of these names, each given once: those that a user has, and new ones after these, of version 0.

    Whatever puts tags on a conversation stores all of them, as they are here, in the same batch. So it is stale if one
    of them is renamed or deleted meanwhile: there is no conversation with a tag that is in no list.
    """
    if not names:
        return []
    own = ("owner", (owner,))
    there = await store.find(Query(kind=TAG.name, where=(own, ("tag", tuple(names))), limit=len(names)))
    tags = {tag.tag: tag for tag in map(tag_of, there)}
    missing = [name for name in names if name not in tags]
    if missing:
        last = await store.find(Query(kind=TAG.name, where=(own,), order=("position",), descending=True, limit=1))
        end = last[0].doc["position"] if last else 0
        for position, name in enumerate(missing, end + 1):
            tags[name] = Tag(
                id=new_id(),
                owner=owner,
                tag=name,
                description=None,
                position=position,
                created_at=now,
                updated_at=now,
            )
    return [tags[name] for name in names]
