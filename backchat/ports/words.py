"""What a word is, for every storage backend: the one definition behind ``Query.words`` and ``Query.any_word``."""

from __future__ import annotations

import re
import unicodedata

# Scripts written without spaces: each character is a word of its own, so that any part of a phrase can be found.
_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
)
_WORD = re.compile(f"[{_UNSPACED}]|[^\\W_{_UNSPACED}]+")


def words(text: str) -> list[str]:
    """The words of a text in order: compatibility-decomposed, without accents, case folded; letters and digits only."""
    if text.isascii():
        return _WORD.findall(text.lower())
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    bare = "".join([c for c in decomposed if not unicodedata.combining(c)])
    return _WORD.findall(unicodedata.normalize("NFC", bare).casefold())
