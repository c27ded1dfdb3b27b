"""Section 4 of the vault's contract, one push after the other; and the orders in which pushes can have come."""

from __future__ import annotations

import functools
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from backchat.domain.vault import Push, SealedContent, SealedPush, VaultMessage
from backchat.sealing.content import canonical, hash_of
from backchat.sealing.keys import VaultKey

Answer = tuple[Any, ...]
Place = tuple[str, str]
FIELDS = ("title", "category", "topic", "model", "tags")
SAID = (("a",), ("a", "b"), ("a", "b", "c"), ("z",))


@functools.cache
def texts(said: tuple[str, ...]) -> bytes:
    return canonical([VaultMessage("user", text) for text in said])


@functools.cache
def hashed(said: tuple[str, ...], key: VaultKey) -> str:
    return hash_of(texts(said), key)


@dataclass(frozen=True)
class Phase:
    """``keys`` of the user, newest last; ``cap`` of versions."""

    keys: tuple[VaultKey, ...]
    cap: int | None


@dataclass(frozen=True)
class Done:
    """What a task did, and what it was answered. ``said`` is None for bytes that only their sender could open."""

    phase: Phase
    began: int
    ended: int
    answer: Answer
    place: Place = ("", "")
    push: Push | None = None
    said: tuple[str, ...] | None = None
    deleted: int = 0


@dataclass(frozen=True)
class Kept:
    """A version. ``sealed`` is None if the server made it and nobody has ever read it."""

    said: tuple[str, ...] | None
    messages: int
    key: str | None
    content_hash: str | None
    sealed: SealedContent | None


@dataclass(frozen=True)
class Shown:
    number: int
    latest: int
    details: tuple[Any, ...]
    versions: Mapping[int, Kept]


@dataclass(frozen=True)
class Model:
    """Section 4, one push after the other. ``seen`` is what has been read of versions that the server sealed."""

    seen: Mapping[tuple[int, int], tuple[str | None, SealedContent]]
    entries: Mapping[Place, Shown] = field(default_factory=dict)
    last: int = 0
    ivs: Mapping[tuple[str | None, bytes], bytes] = field(default_factory=dict)

    def state(self) -> Hashable:
        shown = [(p, e.number, e.latest, e.details, frozenset(e.versions.items())) for p, e in self.entries.items()]
        return self.last, frozenset(shown), frozenset(self.ivs.items())

    def after(self, done: Done) -> tuple[Model, Answer]:
        if done.push is None:
            left = {place: e for place, e in self.entries.items() if e.number != done.deleted}
            return replace(self, entries=left), ("deleted" if len(left) < len(self.entries) else "not there",)
        entry = self.entries.get(done.place)
        current = entry.latest if entry else 0
        if done.push.base is not None and done.push.base != current:
            return self, ("conflict", current)
        content = done.push.content
        if isinstance(content, SealedPush):
            return self._sealed(done, content, entry)
        assert done.said is not None
        same = entry is not None and self._says(entry.versions[entry.latest], done.said, done.phase)
        key = done.phase.keys[-1]
        number = entry.number if entry else self.last + 1
        kept = Kept(
            done.said,
            len(done.said),
            key.id,
            hashed(done.said, key),
            self.seen.get((number, current + 1), (key.id, None))[1],
        )
        return self._stored(done, entry, None if same else kept)

    @staticmethod
    def _says(kept: Kept, said: tuple[str, ...], phase: Phase) -> bool:
        """Compared under the key of the version, which every token has if it is the user's."""
        key = next((key for key in phase.keys if key.id == kept.key), phase.keys[-1])
        return kept.content_hash == hashed(said, key)

    def _sealed(self, done: Done, content: SealedPush, entry: Shown | None) -> tuple[Model, Answer]:
        latest = entry.versions[entry.latest] if entry else None
        same = latest is not None and latest.sealed == content.sealed
        if not same:
            if self.ivs.get((content.key, content.sealed.iv), content.sealed.data) != content.sealed.data:
                return self, ("body.iv",)
            same = latest is not None and content.content_hash is not None
            same = same and latest is not None and latest.content_hash == content.content_hash
        kept = Kept(done.said, content.messages, content.key, content.content_hash, content.sealed)
        return self._stored(done, entry, None if same else kept)

    def _stored(self, done: Done, entry: Shown | None, kept: Kept | None) -> tuple[Model, Answer]:
        assert done.push is not None
        before = entry or Shown(self.last + 1, 0, (None, None, None, None, ()), {})
        details = tuple([done.push.details.get(f, old) for f, old in zip(FIELDS, before.details, strict=True)])
        details = (*details[:4], tuple(details[4] or ()))
        if kept is None and details == before.details:
            return self, ("ok", before.number, before.latest, "unchanged")
        versions, ivs, latest = dict(before.versions), dict(self.ivs), before.latest
        if kept is not None:
            latest += 1
            versions[latest] = kept
            if kept.sealed is not None:
                ivs[kept.key, kept.sealed.iv] = kept.sealed.data
        if done.phase.cap is not None:
            versions = {n: v for n, v in versions.items() if n > latest - done.phase.cap}
        after = Shown(before.number, latest, details, versions)
        model = replace(self, entries={**self.entries, done.place: after}, last=max(self.last, before.number), ivs=ivs)
        outcome = "created" if entry is None else "described" if kept is None else "updated"
        return model, ("ok", before.number, latest, outcome)


def explained(model: Model, tasks: Sequence[Sequence[Done]]) -> Iterator[Model]:
    """The ends of all orders that give the answers that were given; each end once."""
    been: set[Hashable] = set()

    def search(model: Model, at: tuple[int, ...]) -> Iterator[Model]:
        ahead = [task[n] for task, n in zip(tasks, at, strict=True) if n < len(task)]
        state = (at, model.state())
        if state in been:
            return
        been.add(state)
        if not ahead:
            yield model
            return
        horizon = min([done.ended for done in ahead])
        for which, task in enumerate(tasks):
            if at[which] < len(task) and task[at[which]].began < horizon:
                done = task[at[which]]
                then, answer = model.after(done)
                if answer == done.answer:
                    yield from search(then, (*at[:which], at[which] + 1, *at[which + 1 :]))

    return search(model, (0,) * len(tasks))
