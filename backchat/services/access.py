"""Who may do what: every verb of a service asks here."""

from __future__ import annotations

from typing import Protocol, TypeVar

from backchat.domain.identity import Identity
from backchat.errors import NotFound, NotOwned


class Owned(Protocol):
    @property
    def owner(self) -> str: ...


T = TypeVar("T", bound=Owned)


def owned(who: Identity, thing: T | None, what: str) -> T:
    """The thing, if it is the caller's. Raises NotFound, or NotOwned for another's, which reads alike."""
    if thing is None:
        raise NotFound(f"{what} not found")
    if thing.owner != who.user:
        raise NotOwned(f"{what} not found")
    return thing
