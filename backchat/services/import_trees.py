"""What a file says of a conversation as a tree that holds together, whatever the file says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from heapq import heappop, heappush

from backchat.ports.importing import SourceConversation, SourceMessage

STEP = timedelta(milliseconds=1)
_LAST = datetime(9999, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Node:
    """A message in its place. ``parent`` is a node before it."""

    message: SourceMessage
    parent: Node | None
    created_at: datetime


def ordered(source: SourceConversation, now: datetime) -> list[Node]:
    """Every message once, in the order in which they get their seqs: by date, then by place in the file; parents first.

    Of several with one id the first counts. A message whose parent is not there is a root; a circle is opened where it
    closes. A message without a date, or with one that is not after its parent's, gets the moment after that. Those of
    ``exact`` conversations keep their dates, and the order of the file. Takes n log n.
    """
    messages = list({m.id: m for m in reversed(source.messages)}.values())[::-1]
    parents = _parents(messages)
    children: list[list[int]] = [[] for _ in messages]
    dates = [sane(m.created_at) for m in messages]
    begun = sane(source.created_at) or next((d for d in dates if d is not None), None) or sane(now) or _LAST
    nodes: list[Node | None] = [None] * len(messages)
    found: list[Node] = []
    ready: list[tuple[datetime, int]] = []

    def add(place: int, parent: Node | None) -> None:
        date = dates[place]
        if parent is None:
            date = date or begun
        elif date is None:
            date = parent.created_at if source.exact else parent.created_at + STEP
        elif date <= parent.created_at and not source.exact:
            date = parent.created_at + STEP
        nodes[place] = Node(messages[place], parent, date)
        heappush(ready, (_LAST if source.exact else date, place))

    for place, parent in enumerate(parents):
        if parent is None:
            add(place, None)
        else:
            children[parent].append(place)
    while ready:
        _, place = heappop(ready)
        node = nodes[place]
        assert node is not None
        found.append(node)
        for child in children[place]:
            add(child, node)
    return found


def _parents(messages: Sequence[SourceMessage]) -> list[int | None]:
    """The place of each message's parent, without circles."""
    places = {m.id: n for n, m in enumerate(messages)}
    parents = [places.get(m.parent) if m.parent is not None else None for m in messages]
    seen = [0] * len(messages)  # the walk that came by first
    for start in range(len(messages)):
        place: int | None = start
        while place is not None and not seen[place]:
            seen[place] = start + 1
            parent = parents[place]
            if parent is not None and seen[parent] == start + 1:
                parents[place] = None
            place = parents[place]
    return parents


def sane(moment: datetime | None) -> datetime | None:
    """As it will be stored: in UTC and milliseconds. None for one that cannot be meant, in the year 1 or 9999."""
    if moment is None or not 1 < moment.year < 9999:
        return None
    moment = moment.astimezone(UTC)
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)
