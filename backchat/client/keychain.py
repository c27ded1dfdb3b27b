"""The keys that a client seals and opens with: its own, or the vault's, fetched wrapped and opened here."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

from backchat.client.errors import VaultError
from backchat.client.shapes import known_keys, read, wrapped
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
        self._known: frozenset[str] | None = None
        self._platform: str | None = None
        self._as_of = 0.0

    async def to_seal(self) -> VaultKey:
        """The own key, else the current one of the vault."""
        if self._own is not None:
            return self._own
        return self._opened[await self._ask_for_current()]

    async def known(self) -> frozenset[str]:
        """The ids of the vault keys that this token has: several after a rotation.

        None of them if the client seals under its own key, or the server does not tell.
        """
        if self._own is not None:
            return frozenset()
        await self._ask_for_current()
        known = self._known
        if known is None:
            known = self._known = await self._ask_for_known()
        return known

    async def platform(self) -> str | None:
        """That of the token. VaultError with the code ``no_platform`` if it is told only to who has the vault key."""
        if self._token is None:
            return None
        try:
            await self._ask_for_current()
        except VaultError as error:
            if self._own is None or error.status != 403:
                raise
            raise VaultError(
                "name the platform: the server tells that of the API key together with the vault key, which this one"
                " does not get",
                code="no_platform",
            ) from error
        return self._platform

    async def to_open(self, id: str | None) -> VaultKey:
        """Raises WrongKey if there is no such key, neither in the vault nor as the client's own."""
        if self._own is not None and id in (None, self._own.id):
            return self._own
        if id is None:
            raise WrongKey(
                "the content is sealed under a key that only its sender has, and opens in a program with that key"
            )
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
            self._current, self._known = await self._fetch(None), None
            self._as_of = asked
        return self._current

    async def _ask_for_known(self) -> frozenset[str]:
        try:
            answer = await self._transport.ask("GET", "vault/keys")
        except VaultError as error:
            if error.status != 404:  # of a server that has no such route
                raise
            return frozenset()
        return frozenset(read(known_keys, answer.data, "a list of vault keys"))

    async def _fetch(self, id: str | None) -> str:
        """Open the key of that id, or the current one, and return its id."""
        if self._token is None:
            raise VaultError(
                "this is no API key (bsk_...), and no vault key opens with anything else: use an API key; a program may"
                " also seal under a key of its own",
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
