"""Who may do what: every verb of a service asks here."""

from __future__ import annotations

from backchat.domain.conversation import Conversation
from backchat.domain.identity import Identity
from backchat.domain.run import Run
from backchat.errors import NotFound, NotOwned


def require_owner(who: Identity, thing: Conversation | Run | None, what: str) -> None:
    """Raise NotFound if there is no such thing and NotOwned if it is somebody else's; both read alike."""
    if thing is None:
        raise NotFound(f"{what} not found")
    if thing.owner != who.user:
        raise NotOwned(f"{what} not found")
