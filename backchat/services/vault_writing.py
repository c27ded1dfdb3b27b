"""What a push changes of an entry: its details, its versions, and the changes that store them, as one batch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from backchat.domain.times import moment, stamp
from backchat.domain.vault import PushOutcome, VaultEntry, VaultVersion
from backchat.ports.storage import Change, Condition, Delete, Purge, Range, Require
from backchat.services.vault_contents import Fresh, Place
from backchat.services.vault_records import CONTENT, ENTRY, VERSION, entry_put, latest_id, lineage, version_puts

DETAILS = ("title", "category", "topic", "model")
STEP = timedelta(milliseconds=1)
"""What times are stored to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Writing:
    """``token`` is the id of the API key that pushes; ``keep`` how many versions of an entry are kept, None: all."""

    token: str | None
    now: datetime
    keep: int | None

    def changes(self, entry: VaultEntry, fresh: Fresh | None) -> tuple[PushOutcome, list[Change]]:
        """What stores an entry that has been described anew, with its next version if there is one.

        Stale if the entry is not as it was read any more, or is another one by now.
        """
        now = entry.updated_at
        changes: list[Change] = []
        if entry.version:
            changes, now = [_there(entry)], max(moment(stamp(self.now)), entry.updated_at + STEP)
        after = replace(entry, updated_at=now)
        if fresh is not None:
            after = replace(
                after,
                latest=entry.latest + 1,
                messages=fresh.messages,
                content_hash=fresh.content_hash,
                key=fresh.key,
                size=len(fresh.sealed.data),
            )
            changes += version_puts(_version(after, self.token), fresh.sealed)
            changes += [fresh.nonce] if fresh.nonce is not None else []
        if self.keep is not None:
            after = replace(after, oldest=max(entry.oldest, after.latest - self.keep + 1))
        if after.oldest > entry.oldest:
            changes += _purges(entry, below=after.oldest)
        outcome: PushOutcome = "described" if fresh is None else "updated" if entry.version else "created"
        return outcome, [entry_put(after), *changes]


def new_entry(place: Place, number: int, now: datetime) -> VaultEntry:
    """One without a version yet."""
    now = moment(stamp(now))
    return VaultEntry(
        id=place.id,
        owner=place.owner,
        number=number,
        chat=place.chat,
        platform=place.platform,
        title=None,
        category=None,
        topic=None,
        tags=(),
        model=None,
        latest=0,
        oldest=1,
        messages=0,
        content_hash=None,
        key=None,
        size=0,
        created_at=now,
        updated_at=now,
    )


def described(entry: VaultEntry, details: Mapping[str, Any]) -> VaultEntry:
    """The entry with the details that were given; None clears one."""
    given = {name: details[name] for name in DETAILS if name in details}
    if "tags" in details:
        given["tags"] = tuple(details["tags"] or ())
    return replace(entry, **given)


def removal(entry: VaultEntry) -> list[Change]:
    """What deletes an entry with all its versions. Stale if it may be another one by now."""
    return [_there(entry), Delete(ENTRY.name, entry.id), *_purges(entry)]


def removal_of_damaged(entry: VaultEntry) -> list[Change]:
    """The same for one whose latest version is missing. By its number: another one by now has another number."""
    return [Purge(ENTRY.name, (("owner", (entry.owner,)), ("number", (entry.number,)))), *_purges(entry)]


def _there(entry: VaultEntry) -> Require:
    """That it is still this one: another one of the same place may stand at the same version by now."""
    return Require(VERSION.name, latest_id(entry))


def _purges(entry: VaultEntry, below: int | None = None) -> list[Change]:
    ranges = (Range("number", high=below),) if below is not None else ()
    where: tuple[Condition, ...] = (("owner", (entry.owner,)), ("entry", (lineage(entry),)))
    return [Purge(kind.name, where, ranges) for kind in (VERSION, CONTENT)]


def _version(entry: VaultEntry, token: str | None) -> VaultVersion:
    """The latest version of an entry."""
    return VaultVersion(
        entry=lineage(entry),
        owner=entry.owner,
        number=entry.latest,
        messages=entry.messages,
        content_hash=entry.content_hash,
        key=entry.key,
        model=entry.model,
        token=token,
        size=entry.size,
        created_at=entry.updated_at,
    )
