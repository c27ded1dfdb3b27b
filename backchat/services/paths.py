"""The active path of a conversation."""

from __future__ import annotations

from collections.abc import Sequence

from backchat.domain.message import Message
from backchat.ports.storage import Query, Range, RecordStore
from backchat.services.stored import message_of

PAGE = 200


class Path:
    """The active path of one conversation: what a memory strategy may see of the past."""

    def __init__(self, store: RecordStore, conversation: str, leaf: str | None) -> None:
        self._store, self._conversation, self._leaf = store, conversation, leaf

    async def latest(self, limit: int) -> Sequence[Message]:
        """The newest ``limit`` messages of the path, oldest first.

        A parent always has a lower seq than its child, so one walk down the seqs meets the path in order. A parent that
        was deleted ends the path.
        """
        found: list[Message] = []
        wanted, below = self._leaf, None
        while wanted is not None and len(found) < limit:
            size = min(PAGE, limit - len(found))
            page = await self._store.find(
                Query(
                    kind="message",
                    where=(("conversation", (self._conversation,)),),
                    ranges=(Range("seq", high=below),) if below is not None else (),
                    order=("seq",),
                    descending=True,
                    limit=size,
                )
            )
            for record in page:
                if record.id == wanted:
                    found.append(message_of(record))
                    wanted = record.doc["parent"]
            if len(page) < size:
                break
            below = page[-1].doc["seq"]
        found.reverse()
        return found
