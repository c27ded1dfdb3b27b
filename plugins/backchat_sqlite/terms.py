"""The terms of the word index.

FTS5 answers a prefix by merging the rows of every word that begins so, in the whole index: among a million messages
that takes 50 ms for one frequent word and 700 ms for a single letter. So the owner is not a condition beside the words
but the first part of each term: ``<scope><word>``, where the scope is a short digest of one ``within`` field and its
value. A search in one scope then touches nothing of any other. A kind without ``within`` has its bare words as terms.

A digest may meet another one: every search also compares the field itself.
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache
from hashlib import blake2b
from typing import Any

from backchat.ports.storage import Kind, Query, Scalar
from backchat.ports.words import words
from backchat_sqlite.tables import SCOPE, Doc

_SAMPLE = "Straße, İSTANBUL! naïve_ﬁne 9½ 東京タワー Ὀδυσσεύς नमस्ते สวัสดี 𝒳 e\u0301"


_ASCII = {n: chr(n).lower() if chr(n).isalnum() else " " for n in range(128)}


def definition() -> str:
    """Changes with the index, and when ``words`` makes other words of the same text: then the index is made anew."""
    return f"2 {unicodedata.unidata_version} {' '.join(words(_SAMPLE))}"


def said(kind: Kind, doc: Doc) -> list[Any]:
    """What the terms of a document are made from: as long as it is equal, so are they."""
    get = doc.get
    return [get(f) for f in (*kind.text, *kind.within)]


def terms_of(kind: Kind, doc: Doc) -> str:
    """The terms of a document, separated by spaces."""
    found = [w for field in kind.text for w in words(doc.get(field) or "")]
    if not kind.within:
        return " ".join(found)
    if not found:
        return ""
    scopes = [scope(f, doc.get(f)) for f in kind.within]
    return " ".join([s + f" {s}".join(found) for s in scopes])


SCOPES = 50
"""A search in more of them reads documents: for FTS5, each of them is one more word that is searched for."""


@lru_cache(4096)
def scope(field: str, value: Scalar) -> str:
    """``SCOPE`` characters for a value of a field; the same for values that compare equal."""
    plain = value if value is None or isinstance(value, str) else float(value)
    return blake2b(f"{field} {plain!r}".encode(), digest_size=SCOPE // 2).hexdigest()


def scopes_of(kind: Kind, query: Query) -> list[str] | None:
    """The scopes in which a query searches; None if it names none or too many, and the index is of no use to it."""
    if not kind.within:
        return [""]
    given = dict(query.where)
    for field in kind.within:
        if field in given and len(given[field]) <= SCOPES:
            return [scope(field, value) for value in given[field]]
    return None


def match(query: Query, scopes: list[str]) -> str:
    """The FTS5 expression. It consists of words, digests and our own operators: no text of a user reaches it."""

    def either(word: str) -> str:
        return "(" + " OR ".join([f'"{s}{word}"*' for s in scopes]) + ")"

    parts = [either(w) for w in dict.fromkeys(words(query.words))]
    if query.any_word:
        parts.append("(" + " OR ".join([either(w) for w in dict.fromkeys(words(query.any_word))]) + ")")
    return " AND ".join(parts)


def hits(kind: Kind, doc: Doc, wanted: str) -> int:
    """How many of the wanted words (separated by spaces) begin a word of the document, each counted once."""
    held = "".join([_spaced(doc.get(field) or "") for field in kind.text])
    return sum(f" {w}" in held for w in wanted.split())


def _spaced(text: str) -> str:
    """The words of a text with a space before each, and maybe more spaces."""
    if text.isascii():  # the same as below, in a tenth of the time
        return f" {text.translate(_ASCII)}"
    return "".join([f" {w}" for w in words(text)])
