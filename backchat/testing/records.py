"""The kinds and records that the storage contract works with."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from backchat.ports.storage import Kind, OnCommit, Put, Query, RecordStore, Scalar

NOTE = Kind(
    name="note",
    fields=("owner", "shelf", "day", "weight", "code", "pinned", "order"),
    lists=("tags", "readers"),
    text=("title", "body"),
    within=("owner", "shelf"),
    facets=("shelf", "weight", "tags"),
    indexes=(("owner", "day"), ("owner", "weight")),
    unique=(("owner", "code"),),
    partition="owner",
)
LABEL = Kind(name="label", fields=("name",), text=("said",), unique=(("name",),))
"""No partition, and words that belong to nobody."""
EVENT = Kind(name="event", fields=("run",), partition="run")
KINDS = (NOTE, LABEL, EVENT)


class OpenKinds(Protocol):
    """Opens the store under test with these kinds."""

    def __call__(
        self, kinds: Sequence[Kind], on_commit: OnCommit = ..., /
    ) -> AbstractAsyncContextManager[RecordStore]: ...


Where = tuple[str, Sequence[Scalar]]
ANN: Where = ("owner", ("ann",))


def ignore(commits: int) -> None:
    """An ``on_commit`` that does nothing."""


def note(n: int, *, expect: int | None = 0, **fields: Any) -> Put:
    """A note of ann's with the id ``n<nnn>``; ``fields`` come on top."""
    doc: dict[str, Any] = {
        "owner": "ann",
        "shelf": f"s{n % 3}",
        "day": n,
        "weight": n / 4,
        "pinned": n % 2 == 0,
        "tags": ["all", f"t{n}", "even" if n % 2 == 0 else "odd"],
        "title": f"Note {n}",
    }
    return Put("note", f"n{n:03}", {**doc, **fields}, expect)


def event(run: str, n: int, *, expect: int | None = 0) -> Put:
    return Put("event", f"{run}/{n:06}", {"run": run, "n": n}, expect)


async def ids(store: RecordStore, *where: Where, kind: str = "note", **rest: Any) -> list[str]:
    """The ids that a query finds, and that count agrees when nothing but conditions is asked."""
    query = Query(kind=kind, where=where, **rest)
    found = [r.id for r in await store.find(query)]
    if not rest.keys() & {"after", "limit", "offset"} and len(found) < query.limit:
        assert await store.count(query) == len(found)
    return found


async def versions(store: RecordStore, *wanted: str) -> list[int]:
    """The versions of these notes; 0 for none."""
    found = [await store.get("note", id) for id in wanted]
    return [r.version if r else 0 for r in found]
