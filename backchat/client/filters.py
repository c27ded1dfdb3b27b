"""Which entries a client asks for, and whether those that come are such ones: a server is not trusted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from backchat.client.outgoing import checked_text
from backchat.client.shapes import Entry


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """None, and no tags: all of them. ``platform`` in any case; ``search`` are words of the title or the topic."""

    platform: str | None = None
    category: str | None = None
    search: str | None = field(default=None, repr=False)
    tags: Sequence[str] = field(default=(), repr=False)
    chat: str | None = None

    def query(self) -> list[tuple[str, str]]:
        """As the server takes it. VaultError for a text that has no UTF-8 form."""
        given = {"platform": self.platform, "category": self.category, "search": self.search, "chatId": self.chat}
        query = [(name, value) for name, value in given.items() if value is not None]
        query += [("tag", tag) for tag in self.tags]
        for name, value in query:
            checked_text(value, name)
        return query

    def fits(self, entry: Entry) -> bool:
        """Whether the entry may come of this. What ``search`` finds is the server's to say."""
        return (
            (self.platform is None or self.platform.lower() == entry.platform)
            and self.category in (None, entry.category)
            and self.chat in (None, entry.chat)
            and {tag.strip() for tag in self.tags}.issubset(entry.tags)
        )
