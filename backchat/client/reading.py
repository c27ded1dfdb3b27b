"""What is read of a vault: what was asked for and nothing else, for a server is not trusted."""

from __future__ import annotations

from backchat.client import shapes
from backchat.client.errors import VaultError
from backchat.client.filters import Filter
from backchat.client.pages import Page
from backchat.client.shapes import Entry, Version, read
from backchat.client.transport import Transport
from backchat.domain.vault import SealedContent


class Reader:
    """All methods raise VaultError, ``not_a_vault`` for an answer to another question."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def page(self, wanted: Filter, offset: int, size: int) -> Page:
        query = [*wanted.query(), ("offset", str(offset)), ("limit", str(size))]
        answer = await self._transport.ask("GET", "pull", query=query)
        page = Page(*read(shapes.entries, answer.data, "a list of entries"), answer.size)
        if not all(map(wanted.fits, page.entries)):
            raise _other("other entries")
        return page

    async def entry_of(self, chat: str, platform: str) -> Entry | None:
        """That of a conversation, if there is one. ``platform`` is in its stored form."""
        page = await self.page(Filter(chat=chat, platform=platform), 0, 1)
        return page.entries[0] if page.entries else None

    async def entry(self, id: int) -> Entry:
        answer = await self._transport.ask("GET", f"entries/{id:d}")
        entry = read(shapes.entry, answer.data, "an entry")
        if entry.id != id:
            raise _other("another entry")
        return entry

    async def versions(self, id: int) -> list[Version]:
        """Oldest first."""
        answer = await self._transport.ask("GET", f"entries/{id:d}/versions")
        return sorted(read(shapes.versions, answer.data, "a list of versions"), key=lambda version: version.number)

    async def version(self, id: int, number: int) -> tuple[Version, str | None, SealedContent]:
        """With the key that it is sealed under, and its content."""
        answer = await self._transport.ask("GET", f"entries/{id:d}/versions/{number:d}")
        version, key, sealed = read(shapes.version_content, answer.data, "a version")
        if version.number != number:
            raise _other("another version")
        return version, key, sealed


def _other(what: str) -> VaultError:
    return VaultError(f"the server answers with {what} than it was asked for", code="not_a_vault")
