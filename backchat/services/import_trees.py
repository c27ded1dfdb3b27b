"""What a file says of a conversation as a tree that holds together, whatever the file says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from heapq import heappop, heappush

import orjson

from backchat.ports.importing import SourceConversation, SourceMessage
from backchat.services.storable import storable
from backchat.services.stored import part_doc

STEP = timedelta(milliseconds=1)
_LAST = datetime(9999, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Node:
    """A message in its place. ``name`` is its id, or another name if it shares that; ``parent`` is before it."""

    name: str
    message: SourceMessage
    parent: Node | None
    created_at: datetime


def ordered(source: SourceConversation, now: datetime) -> list[Node]:
    """Every message once, in the order in which they get their seqs: by date, then by place in the file; parents first.

    Of several with one id the first is the parent that others name, and one that says the same is left out. A message
    whose parent is not there is a root; a circle is opened where it closes. A message without a date, or with one that
    is not after its parent's, gets the moment after that. Those of ``exact`` conversations keep their dates, and the
    order of the file. Takes n log n.
    """
    named = _named(source.messages)
    messages = list(named.values())
    names = list(named)
    parents = _parents(names, messages)
    children: list[list[int]] = [[] for _ in messages]
    dates = [sane(m.created_at) for m in messages]
    first = next((d for d in dates if d is not None), None)
    early = (sane(now) or _LAST) - len(messages) * STEP  # so that a chain of messages without dates ends in the past
    begun = min(sane(source.created_at) or first or early, early)
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
        nodes[place] = Node(names[place], messages[place], parent, date)
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


def _named(messages: Sequence[SourceMessage]) -> dict[str, SourceMessage]:
    """By their ids; of several with one id the first has it, and others that say something else have other names."""
    named: dict[str, SourceMessage] = {}
    told: dict[str, set[bytes]] = {}
    ids = {m.id for m in messages}
    for m in messages:
        if m.id not in named:
            named[m.id] = m
            continue
        among = told[m.id] = told.get(m.id) or {said(named[m.id])}
        if (says := said(m)) not in among:
            among.add(says)
            name = f"{m.id}\0{len(among)}"
            while name in ids:
                name += "\0"
            named[name] = m
    return named


def said(m: SourceMessage) -> bytes:
    """What it says, as bytes: the same for the same."""
    date = m.created_at and m.created_at.isoformat()
    return orjson.dumps(storable([m.id, m.parent, m.role, date, [part_doc(p) for p in m.parts]]))


def _parents(names: Sequence[str], messages: Sequence[SourceMessage]) -> list[int | None]:
    """The place of each message's parent, without circles."""
    places = {name: n for n, name in enumerate(names)}
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
