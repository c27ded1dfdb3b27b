"""Bounds that the deployer sets."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentLimits:
    """Sizes in bytes, ``max_text`` and ``chunk`` in characters, times in seconds."""

    max_size: int = 20 << 20
    wait: float = 25
    time_limit: float = 60
    memory_limit: int = 1 << 30
    max_text: int = 16 << 20
    at_once: int = 2
    chunk: int = 1200
    vector_cache: int = 256 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """How long conversations are kept after the last word of their users; None: for ever."""

    temporary: timedelta | None = timedelta(days=30)
    conversations: timedelta | None = None

    def deadline(self, temporary: bool, now: datetime) -> datetime | None:
        """Until when a conversation is kept in which something is said now."""
        spans = [s for s in (self.conversations, self.temporary if temporary else None) if s is not None]
        return now + min(spans) if spans else None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderLimits:
    """How much one provider is asked, and how long it is waited for; times in seconds.

    first_token     until the first event of an answer;  between_tokens  from one to the next
    retries         how often it is asked again after a failure that cost nothing, before anything of the answer came
    at_once         calls at the same time, None without limit;  wait  for one's turn among them
    failures, pause after so many failures in a row it is not asked for the pause; then one call tries it again
    """

    first_token: float = 300
    between_tokens: float = 120
    retries: int = 2
    at_once: int | None = None
    wait: float = 60
    failures: int = 5
    pause: float = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionTimes:
    """How long the token of a login is good, and for how long it can be exchanged for another one."""

    access: timedelta = timedelta(minutes=15)
    refresh: timedelta = timedelta(days=7)


@dataclass(frozen=True, slots=True, kw_only=True)
class Titling:
    """Who makes titles: a configured provider, and one of its models if not its own. None: the first words do."""

    provider: str | None = None
    model: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class VaultLimits:
    """``versions``: how many of an entry are kept, the newest ones; None: all."""

    versions: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportLimits:
    """Sizes in bytes: of a file, of what a zip unpacks to, and of the JSON of one conversation.

    wait     seconds that the answer to an upload waits for the end of the import
    at_once  how many imports a process works on at the same time
    """

    max_size: int = 250 << 20
    max_unpacked: int = 2 << 30
    max_conversation: int = 32 << 20
    wait: float = 20
    at_once: int = 2
