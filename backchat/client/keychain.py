"""The keys that a client seals and opens with: its own, or the vault's, fetched wrapped and opened here."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

from backchat.client.errors import VaultError
from backchat.client.shapes import read, wrapped
from backchat.client.transport import Transport
from backchat.sealing.failures import WrongKey
from backchat.sealing.keys import VaultKey, unwrap
from backchat.sealing.tokens import Secret

FRESH = 60.0
"""Seconds for which the server's word about a key is good: that it is the current one, or that there is none.

For so long after a rotation by somebody else may something still be sealed under the key before.
"""


class Keychain:
    """Opened keys stay in memory for as long as the client is there, and nowhere else.

    ``token`` opens those of the vault; None if the credential is no API key. ``own`` is used instead to seal.
    """

    def __init__(
        self,
        transport: Transport,
        token: Secret | None,
        own: VaultKey | None,
        now: Callable[[], float] = monotonic,
    ) -> None:
        self._transport, self._token, self._own, self._now = transport, token, own, now
        self._opened: dict[str, VaultKey] = {}
        self._absent: dict[str, float] = {}  # until when nobody asks for it again
        self._current: str | None = None
        self._platform: str | None = None
        self._as_of = 0.0

    async def to_seal(self) -> VaultKey:
        """The own key, else the current one of the vault."""
        if self._own is not None:
            return self._own
        return self._opened[await self._ask_for_current()]

    async def platform(self) -> str | None:
        """That of the token."""
        if self._token is None:
            return None
        await self._ask_for_current()
        return self._platform

    async def to_open(self, id: str | None) -> VaultKey:
        """Raises WrongKey if there is no such key, neither in the vault nor as the client's own."""
        if self._own is not None and id in (None, self._own.id):
            return self._own
        if id is None:
            raise WrongKey("the content is sealed under a key that only its sender has: give that key to the client")
        if id not in self._opened and self._now() >= self._absent.get(id, 0.0):
            try:
                await self._fetch(id)
            except VaultError as error:
                if error.code != "not_found":
                    raise
                self._absent[id] = self._now() + FRESH
        if id not in self._opened:
            raise WrongKey(f"the content is sealed under the key {id}, which is not in this vault")
        return self._opened[id]

    def forget_current(self) -> None:
        """Another key has become the current one."""
        self._current = None

    async def _ask_for_current(self) -> str:
        if self._current is None or self._now() - self._as_of >= FRESH:
            asked = self._now()
            self._current = await self._fetch(None)
            self._as_of = asked
        return self._current

    async def _fetch(self, id: str | None) -> str:
        """Open the key of that id, or the current one, and return its id."""
        if self._token is None:
            raise VaultError(
                "the credential is no API key (bsk_...), so that no vault key opens with it: give the client a key of"
                " your own, or an API key",
                code="no_key",
            )
        answer = await self._transport.ask("GET", "vault/key", query=[] if id is None else [("keyId", id)])
        wrap, platform = read(wrapped, answer.data, "a vault key")
        if id is not None and wrap.key != id:
            raise VaultError("the server answers with another vault key than it was asked for", code="not_a_vault")
        if wrap.key not in self._opened:
            self._opened[wrap.key] = unwrap(wrap, self._token)
        self._platform = platform
        return wrap.key
