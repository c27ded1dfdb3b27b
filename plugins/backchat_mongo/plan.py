"""What a batch comes to: for each kind, what becomes of each record between one purge and the next.

Several changes of a record become one, so that a batch needs few commands: it knows what it expects of what is stored,
and what it leaves behind.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from backchat.errors import StaleWrite
from backchat.ports.checks import check_change, known_kind, missing, stale
from backchat.ports.storage import Change, Delete, Kind, Purge, Put, Require
from backchat_mongo.drivers import Stored

Encode = Callable[[Put], Stored]
"""Everything of the stored record but its id and its version."""


@dataclass(slots=True)
class Fate:
    """What becomes of one record.

    before   the version that it must have had; 0: it was not there; None: any, or not there
    there    it must have been there
    gone     it is deleted on the way, if it was there
    doc      what it is in the end; None: as it was, or deleted
    last     its version in the end if ``known``, otherwise by how much that has grown
    first    the change that expects something of what is stored
    """

    before: int | None = None
    there: bool = False
    gone: bool = False
    doc: Stored | None = None
    last: int = 0
    known: bool = False
    first: Put | Delete | Require | None = None

    @property
    def must_be(self) -> bool:
        """Whether there has to be a record before."""
        return self.there or bool(self.before)

    @property
    def fresh(self) -> bool:
        """Whether what it is in the end is put where nothing is any more."""
        return self.doc is not None and (self.gone or self.before == 0)

    @property
    def growth(self) -> int:
        """How many versions on it is in the end, if it is not fresh."""
        return self.last - (self.before or 0)

    @property
    def only_required(self) -> bool:
        return self.there and self.doc is None and not self.gone

    def may_follow(self, version: int) -> bool:
        """Whether the record may have stood at that version (0: it was not there)."""
        if self.before is not None:
            return version == self.before
        return version > 0 or not self.there

    def put(self, change: Put, doc: Stored) -> None:
        self._expect(change)
        self.last += 1
        self.doc = doc

    def delete(self, change: Delete) -> None:
        self._expect(change)
        self.gone = self.before != 0
        self.last, self.known, self.doc = 0, True, None

    def require(self, change: Require) -> None:
        if self.last:
            return
        if self.known:
            raise missing(change)
        self.there = True
        self.first = self.first or change

    def refusal(self) -> StaleWrite:
        """The error for a record that is not as it must be."""
        if isinstance(self.first, Require):
            return missing(self.first)
        assert self.first is not None  # else whatever is there will do
        return stale(self.first)

    def _expect(self, change: Put | Delete) -> None:
        if change.expect is None:
            return
        if not self.known:
            self.before, self.last, self.known = change.expect - self.last, change.expect, True
            self.first = self.first or change
            if self.before < 0 or (self.there and not self.before):
                raise stale(change)
        if change.expect != self.last:
            raise stale(change)


@dataclass(slots=True)
class Part:
    """The changes of one kind up to some purges of it, which come last."""

    fates: dict[str, Fate] = field(default_factory=dict)
    purges: list[Purge] = field(default_factory=list)


Plan = Mapping[str, Sequence[Part]]
"""Kinds do not know of one another: the changes of each are done in their order, those of two kinds in any."""


def plan_of(kinds: Mapping[str, Kind], encode: Encode, changes: Sequence[Change]) -> Plan:
    """Check the changes, and take their documents as they are now.

    Raises ValueError or TypeError for a faulty change, StaleWrite for changes that contradict one another.
    """
    for change in changes:
        check_change(known_kind(kinds, change.kind), change)
    plan: dict[str, list[Part]] = {}
    for change in changes:
        parts = plan.setdefault(change.kind, [Part()])
        if isinstance(change, Purge):
            parts[-1].purges.append(change)
            continue
        if parts[-1].purges:
            parts.append(Part())
        fate = parts[-1].fates.setdefault(change.id, Fate())
        if isinstance(change, Put):
            fate.put(change, encode(change))
        elif isinstance(change, Delete):
            fate.delete(change)
        else:
            fate.require(change)
    return plan
