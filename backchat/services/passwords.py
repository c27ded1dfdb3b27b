"""Passwords: hashed with argon2id, off the loop, a few at a time."""

from __future__ import annotations

import asyncio
import base64
import os
import unicodedata
from collections.abc import Callable
from typing import TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import VerificationError

from backchat.errors import InvalidInput

MIN_CHARACTERS = 8
MAX_BYTES = 1024
AT_ONCE = 2  # one hash takes 64 MiB and some 150 ms

T = TypeVar("T")


class Passwords:
    """Makes and checks hashes in the PHC form. ``hasher`` holds the costs; by default those of RFC 9106."""

    def __init__(self, hasher: PasswordHasher | None = None) -> None:
        self._hasher = hasher or PasswordHasher()
        self._places = asyncio.Semaphore(AT_ONCE)
        self._nobodys = _unmatched(self._hasher)

    async def hash(self, password: str) -> str:
        """Raises InvalidInput for a password under 8 characters or over 1024 bytes."""
        given = _bytes(password)
        if len(password) < MIN_CHARACTERS or len(given) > MAX_BYTES:
            problem = f"a password has at least {MIN_CHARACTERS} characters and at most {MAX_BYTES} bytes"
            raise InvalidInput(problem, field="password")
        return await self._off_loop(lambda: self._hasher.hash(given))

    async def matches(self, stored: str | None, password: str) -> bool:
        """Whether the password has this hash. None, for nobody's, is False and takes as long."""
        given = _bytes(password)
        if len(given) > MAX_BYTES:
            stored, given = None, b""
        checked = stored or self._nobodys
        try:
            await self._off_loop(lambda: self._hasher.verify(checked, given))
        except VerificationError:
            return False
        return True

    def outdated(self, stored: str) -> bool:
        """Whether a hash was made with other costs than today's."""
        return self._hasher.check_needs_rehash(stored)

    async def _off_loop(self, work: Callable[[], T]) -> T:
        # A caller that gives up frees its place only when its thread is done: else many that do would fill the memory.
        await self._places.acquire()
        running = asyncio.get_running_loop().run_in_executor(None, work)
        running.add_done_callback(lambda _: self._places.release())
        return await asyncio.shield(running)


def _bytes(password: str) -> bytes:
    """The same bytes for the same letters, however a keyboard composes its accents (RFC 8265, section 4.2.2)."""
    return unicodedata.normalize("NFC", password).encode("utf-8", "surrogatepass")


def _unmatched(hasher: PasswordHasher) -> str:
    """A hash that no password has: made without hashing, as costly to check as a real one."""
    salt, digest = (base64.b64encode(os.urandom(n)).decode().rstrip("=") for n in (hasher.salt_len, hasher.hash_len))
    costs = f"m={hasher.memory_cost},t={hasher.time_cost},p={hasher.parallelism}"
    return f"$argon2id$v=19${costs}${salt}${digest}"
