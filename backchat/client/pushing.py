"""What is sent of a conversation, so that nothing is stored twice: also after a rotation, and if an answer is lost.

The server compares hashes, and those of two keys differ. So what is in the vault under another key than the current one
is compared here: if it is the same, the push says so with the hash that the entry has.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from backchat.client import shapes
from backchat.client.errors import VaultError
from backchat.client.keychain import Keychain
from backchat.client.outgoing import checked_platform, content_hash, sealed_push
from backchat.client.reading import Reader
from backchat.client.shapes import Entry, Result, read
from backchat.client.transport import Transport
from backchat.domain.vault import VaultMessage
from backchat.sealing.failures import CannotOpen

LOOKS = 5
"""How often an entry is looked at, if others keep pushing it meanwhile. Then the push may make a version too many."""


class Pusher:
    def __init__(self, transport: Transport, keys: Keychain, reader: Reader) -> None:
        self._transport, self._keys, self._reader = transport, keys, reader
        self._may_look = True

    async def push(
        self,
        chat: str,
        platform: str | None,
        messages: Sequence[VaultMessage],
        details: Mapping[str, Any],
        base: int | None,
    ) -> Result:
        """Messages that are checked. ``platform``: None for the token's; ``details``: those that are given."""
        key = await self._keys.to_seal()
        platform = await self._platform(platform)
        body = {**await asyncio.to_thread(sealed_push, messages, key, platform, chat), **details}
        others = await self._keys.known() - {key.id}
        for _ in range(LOOKS if others else 0):
            entry = await self._look(chat, platform)
            if entry is None or entry.key not in others or base not in (None, entry.version):
                break
            if not await self._has(entry, messages):
                break
            # Of this version alone is it true: stored after another one, the hash would not be of the key that is sent.
            same = {"contentHash": entry.content_hash, "baseVersion": entry.version}
            try:
                return await self._send(body | same)
            except VaultError as error:
                if error.status != 409 or base is not None:
                    raise
        if base is None:
            return await self._send(body)
        try:
            return await self._send(body | {"baseVersion": base})
        except VaultError as error:
            if error.status == 409 and error.uncertain:
                mine = await self._landed(chat, platform, base + 1, body["contentHash"])
                if mine is not None:
                    return mine
            raise

    async def _platform(self, given: str | None) -> str:
        """In its stored form, which is part of what content is sealed for."""
        found = await self._keys.platform() if given is None else given
        if found is None:
            raise VaultError("name the platform: the credential belongs to none", code="no_platform")
        return checked_platform(found)

    async def _send(self, body: Mapping[str, Any]) -> Result:
        answer = await self._transport.ask("POST", "push", body=dict(body))
        return read(shapes.result, answer.data, "the outcome of a push")

    async def _look(self, chat: str, platform: str) -> Entry | None:
        """The entry as it is; None if there is none, or the token may only push."""
        if self._may_look:
            try:
                return await self._reader.entry_of(chat, platform)
            except VaultError as error:
                if error.status != 403:
                    raise
                self._may_look = False
        return None

    async def _has(self, entry: Entry, messages: Sequence[VaultMessage]) -> bool:
        """Whether the entry has these messages, if the key that it is under opens here."""
        try:
            key = await self._keys.to_open(entry.key)
        except CannotOpen:
            return False
        except VaultError as error:
            if error.status != 403:
                raise
            return False
        return await asyncio.to_thread(content_hash, messages, key) == entry.content_hash

    async def _landed(self, chat: str, platform: str, number: int, hash: str) -> Result | None:
        """The outcome of a push that was carried out unheard, if the version that it made is there and may be seen."""
        entry = await self._look(chat, platform)
        if entry is None:
            return None
        try:
            version, _, _ = await self._reader.version(entry.id, number)
        except VaultError as error:
            if error.code != "not_found":
                raise
            return None
        if version.content_hash != hash:
            return None
        return Result(entry.id, number, True, f"stored as version {number} by an earlier try")
