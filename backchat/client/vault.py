"""A client of the vault: it seals and opens on this side, so that the server sees no content.

async with VaultClient("https://chat.example.org", token) as vault:
    await vault.push("chat-1", [VaultMessage("user", "Hello")], title="Greeting", platform="ollama")
    async for entry in vault.pull(platform="ollama"):
        print(entry.title, await vault.open(entry))
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace
from datetime import datetime
from types import TracebackType
from typing import Any, Self

from backchat.client import shapes
from backchat.client.errors import VaultError, unfit
from backchat.client.filters import Filter
from backchat.client.keychain import Keychain
from backchat.client.outgoing import checked_messages, checked_moment, checked_text
from backchat.client.pages import Page, walk
from backchat.client.pushing import Pusher
from backchat.client.reading import Reader
from backchat.client.shapes import TOKEN_ID, Entry, Result, Token, Version, read
from backchat.client.transport import Transport
from backchat.domain.vault import CHAT_MAX, VaultMessage
from backchat.sealing.content import messages_of, open_sealed
from backchat.sealing.keys import VaultKey
from backchat.sealing.tokens import parse

__all__ = ["KEEP", "Entry", "Result", "Token", "VaultClient", "VaultError", "VaultKey", "VaultMessage", "Version"]

KEEP: Any = object()
"""Of a detail that is not given: it stays as it is in the vault. None clears it."""


class VaultClient:
    """``url`` is the server's; ``token`` an API key, or any other bearer token together with a ``key`` of one's own.

    Without ``key`` the vault key is fetched, wrapped, when it is first needed, and opened with the token here.
    All methods raise VaultError, and ``backchat.sealing.failures.CannotOpen`` for what does not open.
    """

    def __init__(self, url: str, token: str, *, key: VaultKey | None = None) -> None:
        token = token.strip()
        held = parse(token)
        self._transport = Transport(url, token)
        self._keys = Keychain(self._transport, held if held is not None and held.use == "token" else None, key)
        self._reader = Reader(self._transport)
        self._pusher = Pusher(self._transport, self._keys, self._reader)

    async def __aenter__(self) -> Self:
        await self._transport.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._transport.close()

    # ---- conversations ----------------------------------------------------------------------------------------------

    async def push(
        self,
        chat: str,
        messages: Sequence[VaultMessage],
        *,
        title: str | None = KEEP,
        platform: str | None = None,
        category: str | None = KEEP,
        topic: str | None = KEEP,
        tags: Sequence[str] | None = KEEP,
        model: str | None = KEEP,
        base: int | None = None,
    ) -> Result:
        """Seal the messages here and push them. Safe to repeat; ``platform`` is that of the token unless given.

        A push whose answer is lost is repeated, and recognised, also with ``base``. ``base`` is the version that the
        messages were made from, 0 for none: VaultError with the status 409 if there is another one by now. Without it
        the last push wins, and a repeated one may come after somebody else's.
        """
        chat = checked_text(chat, "chatId", CHAT_MAX)
        messages = list(checked_messages(messages))
        given = {"title": title, "category": category, "topic": topic, "model": model}
        details: dict[str, Any] = {name: value for name, value in given.items() if value is not KEEP}
        if tags is not KEEP:
            details["tags"] = None if tags is None else list(tags)
        return await self._pusher.push(chat, platform, messages, details, base)

    async def key_id(self) -> str:
        """The id of the key that content is sealed under now, which opens here."""
        return (await self._keys.to_seal()).id

    async def pull(
        self,
        *,
        platform: str | None = None,
        category: str | None = None,
        search: str | None = None,
        tags: Sequence[str] = (),
        chat: str | None = None,
        limit: int | None = None,
    ) -> AsyncGenerator[Entry, None]:
        """All entries that fit, or ``limit`` of them, last changed first, page by page.

        What changes between two pages is neither left out nor there twice; it may be out of order.
        """
        wanted = Filter(platform=platform, category=category, search=search, tags=tags, chat=chat)

        async def fetch(offset: int, size: int) -> Page:
            return await self._reader.page(wanted, offset, size)

        async for entry in walk(fetch, limit):
            yield entry

    async def open(self, entry: Entry) -> list[VaultMessage]:
        """The messages of an entry. Raises CannotOpen, which says why."""
        key = await self._keys.to_open(entry.key)
        return await asyncio.to_thread(_opened, entry, key)

    async def entry(self, id: int) -> Entry:
        return await self._reader.entry(id)

    async def versions(self, id: int) -> list[Version]:
        """Oldest first."""
        return await self._reader.versions(id)

    async def version(self, id: int, number: int) -> Entry:
        """The entry with the content of that version, which may be under an older key; ``updated_at`` is its time.

        Title, tags and the other details have no versions.
        """
        version, key, sealed = await self._reader.version(id, number)
        return replace(
            await self.entry(id),
            version=version.number,
            messages=version.messages,
            content_hash=version.content_hash,
            updated_at=version.created_at,
            key=key,
            sealed=sealed,
        )

    async def delete(self, id: int) -> None:
        """The entry with all its versions."""
        await self._gone(f"entries/{id:d}")

    async def _gone(self, path: str, query: Sequence[tuple[str, str]] = ()) -> None:
        try:
            await self._transport.ask("DELETE", path, query=query)
        except VaultError as error:
            # An earlier try has deleted it.
            if error.code != "not_found" or not error.uncertain:
                raise

    async def adopt(self, id: int, messages: Sequence[VaultMessage]) -> str:
        """Make a conversation of the server of it, and return its id. The server sees the messages from then on.

        Each time makes one more, so it is not repeated if the answer is lost: see ``VaultError.uncertain``.
        """
        told = [
            {"role": m.role, "content": m.content} | ({} if m.timestamp is None else {"timestamp": m.timestamp})
            for m in checked_messages(messages)
        ]
        answer = await self._transport.ask("POST", f"entries/{id:d}/adopt", body={"messages": told}, repeatable=False)
        return read(shapes.text("conversationId"), answer.data, "a conversation")

    # ---- keys -------------------------------------------------------------------------------------------------------

    async def rotate_key(self, *, abandon: bool = False) -> str:
        """Have what is pushed from now on sealed under a new vault key, and return its id.

        ``abandon``: also if this token waits for the keys and nobody has them who could give them to it; what is under
        the old ones then stays closed for good. Not repeated if the answer is lost: see ``VaultError.uncertain``.
        """
        try:
            answer = await self._transport.ask(
                "POST", "vault/key/rotate", body={"abandon": True} if abandon else {}, repeatable=False
            )
        finally:
            self._keys.forget_current()
        return read(shapes.key_id, answer.data, "a new vault key")

    async def make_recovery_key(self, *, abandon: bool = False) -> str:
        """One in place of the one before, for all keys. Nobody can show it again.

        ``abandon``: also if only the one before opens some of them; what is under those then stays closed for good. Not
        repeated if the answer is lost: the recovery key before may not be good any more then. Make another.
        """
        answer = await self._transport.ask(
            "POST", "vault/recovery", body={"abandon": True} if abandon else {}, repeatable=False
        )
        return read(shapes.secret("recoveryKey", "recovery"), answer.data, "a recovery key")

    async def recover(self, recovery_key: str) -> str:
        """Give this token, and others that wait, all keys of the user; the id of the current one."""
        recovery_key = recovery_key.strip()
        held = parse(recovery_key)
        if held is None or held.use != "recovery":
            raise unfit("recoveryKey", "is no recovery key (bsr_...): it may have been copied in part")
        try:
            answer = await self._transport.ask("POST", "vault/recover", body={"recoveryKey": recovery_key})
        finally:
            self._keys.forget_current()
        return read(shapes.key_id, answer.data, "a vault key")

    async def issue_token(
        self,
        name: str,
        *,
        platform: str | None = None,
        scopes: Sequence[str] | None = None,
        expires: datetime | None = None,
        recovery_key: str | None = None,
    ) -> tuple[Token, str]:
        """A further API key of the user and its text, which nobody can show again. It has the keys that this one has,
        or those of the recovery key.

        Not repeated if the answer is lost, for there would be two: look for it in ``tokens``, and revoke it.
        """
        given = {
            "platform": platform,
            "scopes": None if scopes is None else list(scopes),
            "expiresAt": None if expires is None else checked_moment(expires, "expiresAt"),
            "recoveryKey": recovery_key,
        }
        body = {"name": name, **{field: value for field, value in given.items() if value is not None}}
        answer = await self._transport.ask("POST", "vault/tokens", body=body, repeatable=False)
        return read(shapes.token, answer.data, "a token"), read(shapes.secret("token", "token"), answer.data, "a token")

    async def tokens(self) -> list[Token]:
        """The API keys of the user that are good, oldest first."""
        answer = await self._transport.ask("GET", "vault/tokens")
        return read(shapes.tokens, answer.data, "a list of tokens")

    async def revoke_token(self, id: str, *, abandon: bool = False) -> None:
        """End an API key. Its owner may have kept the vault key: ``rotate_key`` keeps new content from it.

        ``abandon``: also if nobody could open the vault any more, or a part of it.
        """
        if TOKEN_ID.fullmatch(id) is None:
            raise unfit("tokenId", "must have 1 to 64 letters, digits and -, as the list of tokens shows it")
        await self._gone(f"vault/tokens/{id}", [("abandon", "true")] if abandon else [])


def _opened(entry: Entry, key: VaultKey) -> list[VaultMessage]:
    return messages_of(open_sealed(entry.sealed, key, entry.platform, entry.chat, entry.content_hash))
