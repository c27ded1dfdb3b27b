"""Words that can be found again, however they are written down, and a place to look for them."""

from __future__ import annotations

import random
import string
from base64 import b64encode
from collections.abc import Iterable, Mapping
from pathlib import Path

_WORD = 8


def word() -> str:
    """Letters that come up nowhere by chance: eight, so that a piece of a text that repeats them has them all."""
    return "".join(random.choices(string.ascii_letters, k=_WORD))


def spellings(text: str) -> set[bytes]:
    """How this text may stand in a file or an answer: in the encodings of characters, as escapes, and as base64 with
    anything before and behind it.
    """
    raw = text.encode()
    found = {raw, raw.hex().encode(), raw.hex().upper().encode(), "".join(f"\\u{ord(c):04x}" for c in text).encode()}
    found |= {text.encode("utf-16-le"), text.encode("utf-16-be"), text.encode("utf-32-le"), text.encode("utf-32-be")}
    for before in range(3):
        whole = b64encode(bytes(before) + raw)
        # The characters that have bits of nothing but the text.
        sure = whole[-(-before * 8 // 6) : (before + len(raw)) * 8 // 6]
        found |= {sure, sure.translate(bytes.maketrans(b"+/", b"-_"))}
    return found


def traces(where: Mapping[str, bytes], texts: Iterable[str]) -> list[str]:
    """Which texts are where, as what; what is to be empty."""
    return [
        f"{text} in {name} as {spelling!r}"
        for text in texts
        for spelling in spellings(text)
        for name, data in where.items()
        if spelling in data
    ]


def files_below(*folders: Path) -> dict[str, bytes]:
    """All files there, by their names."""
    return {str(file): file.read_bytes() for folder in folders for file in folder.rglob("*") if file.is_file()}
