"""What the rig asks of its upstream, in the text of the user's message, and what must come back.

The request travels as ordinary text through whatever stands between: ``nonce=1a2b3c4d tokens=64 gap=20 stamped=1``.
The first token is ``R-<nonce>``, so that nobody's reply can pass for another's. Every later token names its index; a
stamped token also the ``CLOCK_MONOTONIC`` nanoseconds at which it was written.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from functools import lru_cache

_SCRIPT = re.compile(r"nonce=([0-9a-f]{8}) tokens=(\d+) gap=([\d.]+) stamped=([01])")
_STAMPED = re.compile(r" (\d+)@(\d{19})")


@dataclass(frozen=True, slots=True)
class Script:
    """A reply of ``tokens`` tokens, ``gap`` milliseconds before each; 0 is as fast as the loop turns."""

    nonce: str
    tokens: int
    gap: float = 0.0
    stamped: bool = False
    before: str = ""
    """Words that the message begins with; the reply has nothing of them."""

    @property
    def text(self) -> str:
        return f"{self.before}nonce={self.nonce} tokens={self.tokens} gap={self.gap:g} stamped={int(self.stamped)}"


def script(tokens: int, *, gap: float = 0.0, stamped: bool = False, before: str = "") -> Script:
    return Script(secrets.token_hex(4), tokens, gap, stamped, before)


def parse(text: str) -> Script:
    """The last script in a text. Raises ValueError if there is none."""
    found = _SCRIPT.findall(text)
    if not found:
        raise ValueError("no script in the text")
    nonce, tokens, gap, stamped = found[-1]
    return Script(nonce, int(tokens), float(gap), stamped == "1")


def first_token(nonce: str) -> str:
    return f"R-{nonce}"


def token(index: int) -> str:
    """Six bytes, like a token of English."""
    return f" {index % 100_000:05d}"


def stamped_token(index: int, now: int) -> str:
    return f" {index}@{now:019d}"


@lru_cache(64)
def _rest(tokens: int) -> str:
    return "".join([token(index) for index in range(1, tokens)])


def reply_text(asked: Script) -> str:
    """The whole reply of an unstamped script."""
    return first_token(asked.nonce) + _rest(asked.tokens)


def problem(asked: Script, text: str) -> str | None:
    """What is wrong with a reply, or None. Of a stamped one everything is checked but the stamps' values."""
    if not asked.stamped:
        return None if text == reply_text(asked) else f"another text: {text[:60]!r}"
    head = first_token(asked.nonce)
    indexes = [int(index) for index, _ in _STAMPED.findall(text)]
    length = len(head) + sum(len(stamped_token(index, 0)) for index in indexes)
    if not text.startswith(head) or indexes != list(range(asked.tokens)) or len(text) != length:
        return f"another text: {text[:60]!r}"
    return None


def stamps(text: str) -> list[int]:
    """The times in a piece of a stamped reply."""
    return [int(written) for _, written in _STAMPED.findall(text)]
