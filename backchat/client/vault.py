"""A client of the vault: it seals and opens on this side, so that the server sees no content.

async with VaultClient("https://chat.example.org", token) as vault:
    await vault.push("chat-1", [VaultMessage("user", "Hello")], title="Greeting", platform="ollama")
    async for entry in vault.pull(platform="ollama"):
        print(entry.title, await vault.open(entry))
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace
from datetime import datetime
from types import TracebackType
from typing import Any, Self

from backchat.client import shapes
from backchat.client.errors import VaultError, unfit
from backchat.client.keychain import Keychain
from backchat.client.outgoing import CHAT_MAX, PLATFORM_MAX, checked_messages, checked_moment, checked_text
from backchat.client.pages import Page, walk
from backchat.client.shapes import Entry, Result, Token, Version, read
from backchat.client.transport import Transport
from backchat.domain.vault import SealedContent, VaultMessage
from backchat.sealing.binary import to_text
from backchat.sealing.content import canonical, hash_of, messages_of, open_sealed, seal
from backchat.sealing.keys import VaultKey
from backchat.sealing.tokens import parse

__all__ = ["KEEP", "Entry", "Result", "Token", "VaultClient", "VaultError", "VaultKey", "VaultMessage", "Version"]

KEEP: Any = object()
"""Of a detail that is not given: it stays as it is in the vault. None clears it."""
_TOKEN_ID = re.compile("[A-Za-z0-9-]{1,64}")


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
        messages were made from, 0 for none: VaultError with the status 409 if there is another one by now.
        """
        chat = checked_text(chat, "chatId", CHAT_MAX)
        messages = list(checked_messages(messages))
        key = await self._keys.to_seal()
        platform = await self._platform(platform)
        hash, sealed = await asyncio.to_thread(_sealed, messages, key, platform, chat)
        details = {"title": title, "category": category, "topic": topic, "model": model}
        body: dict[str, Any] = {
            "chatId": chat,
            "platform": platform,
            "encryptedContent": to_text(sealed.data),
            "iv": to_text(sealed.iv),
            "messageCount": len(messages),
            "contentHash": hash,
            "keyId": key.id,
            **{name: value for name, value in details.items() if value is not KEEP},
        }
        if tags is not KEEP:
            body["tags"] = None if tags is None else list(tags)
        if base is not None:
            body["baseVersion"] = base
        try:
            answer = await self._transport.ask("POST", "push", body=body)
        except VaultError as error:
            if error.status == 409 and error.uncertain and base is not None:
                mine = await self._landed(chat, platform, base + 1, hash)
                if mine is not None:
                    return mine
            raise
        return read(shapes.result, answer.data, "the outcome of a push")

    async def key_id(self) -> str:
        """The id of the key that content is sealed under now, which opens here."""
        return (await self._keys.to_seal()).id

    async def _platform(self, given: str | None) -> str:
        """In its stored form, which is part of what content is sealed for."""
        found = await self._keys.platform() if given is None else given
        if found is None:
            raise VaultError("name the platform: the credential belongs to none", code="no_platform")
        return checked_text(found, "platform", PLATFORM_MAX).lower()

    async def _landed(self, chat: str, platform: str, number: int, hash: str) -> Result | None:
        """The outcome of a push that was carried out unheard, if the version that it made is there."""
        page = await self._page([("chatId", chat), ("platform", platform)], 0, 1)
        for entry in page.entries:
            for version in await self.versions(entry.id):
                if (version.number, version.content_hash) == (number, hash):
                    return Result(entry.id, number, True, f"stored as version {number} by an earlier try")
        return None

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
        filters = {"platform": platform, "category": category, "search": search, "chatId": chat}
        query = [(name, value) for name, value in filters.items() if value is not None]
        query += [("tag", tag) for tag in tags]
        for name, value in query:
            checked_text(value, name)

        async def fetch(offset: int, size: int) -> Page:
            return await self._page(query, offset, size)

        async for entry in walk(fetch, limit):
            yield entry

    async def _page(self, query: Sequence[tuple[str, str]], offset: int, size: int) -> Page:
        answer = await self._transport.ask("GET", "pull", query=[*query, ("offset", str(offset)), ("limit", str(size))])
        return Page(*read(shapes.entries, answer.data, "a list of entries"), answer.size)

    async def open(self, entry: Entry) -> list[VaultMessage]:
        """The messages of an entry. Raises CannotOpen, which says why."""
        key = await self._keys.to_open(entry.key)
        return await asyncio.to_thread(_opened, entry, key)

    async def entry(self, id: int) -> Entry:
        answer = await self._transport.ask("GET", f"entries/{id:d}")
        entry = read(shapes.entry, answer.data, "an entry")
        if entry.id != id:
            raise VaultError("the server answers with another entry than it was asked for", code="not_a_vault")
        return entry

    async def versions(self, id: int) -> list[Version]:
        """Oldest first."""
        answer = await self._transport.ask("GET", f"entries/{id:d}/versions")
        return sorted(read(shapes.versions, answer.data, "a list of versions"), key=lambda version: version.number)

    async def version(self, id: int, number: int) -> Entry:
        """The entry with the content of that version, which may be under an older key; ``updated_at`` is its time.

        Title, tags and the other details have no versions.
        """
        answer = await self._transport.ask("GET", f"entries/{id:d}/versions/{number:d}")
        version, key, sealed = read(shapes.version_content, answer.data, "a version")
        if version.number != number:
            raise VaultError("the server answers with another version than it was asked for", code="not_a_vault")
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

    async def _gone(self, path: str) -> None:
        try:
            await self._transport.ask("DELETE", path)
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

    async def make_recovery_key(self) -> str:
        """One in place of the one before, for all keys. Nobody can show it again.

        Not repeated if the answer is lost: the recovery key before may not be good any more then. Make another.
        """
        answer = await self._transport.ask("POST", "vault/recovery", repeatable=False)
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

    async def revoke_token(self, id: str) -> None:
        """End an API key. Its owner may have kept the vault key: ``rotate_key`` keeps new content from it."""
        if _TOKEN_ID.fullmatch(id) is None:
            raise unfit("tokenId", "must have 1 to 64 letters, digits and -, as the list of tokens shows it")
        await self._gone(f"vault/tokens/{id}")


def _sealed(messages: Sequence[VaultMessage], key: VaultKey, platform: str, chat: str) -> tuple[str, SealedContent]:
    """The hash of the messages, and themselves."""
    plaintext = canonical(messages)
    return hash_of(plaintext, key), seal(plaintext, key, platform, chat)


def _opened(entry: Entry, key: VaultKey) -> list[VaultMessage]:
    return messages_of(open_sealed(entry.sealed, key, entry.platform, entry.chat, entry.content_hash))
