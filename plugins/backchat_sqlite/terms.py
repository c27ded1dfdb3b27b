"""The terms of the word index.

FTS5 answers a prefix by merging the rows of every word that begins so, in the whole index: among a million messages
that takes 50 ms for one frequent word and 700 ms for a single letter. So the owner is not a condition beside the words
but the first part of each term: ``<scope><word>``, where the scope is a digest of one ``within`` field and its value. A
search in one scope then touches nothing of any other. A kind without ``within`` has its bare words as terms.

Besides, each record with words has one term for each of its ``facets``: a digest of the partition, the field and the
value. FTS5 finds the rows that have words and facets ten times as fast as the records could be looked up for them.

The digests are so long that two which meet are not to be expected, so what the index has found need not be compared
with the records; a count does not even read them.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from typing import Any

from backchat.ports.storage import Condition, Kind, Query, Scalar
from backchat.ports.words import words
from backchat_sqlite.tables import SCOPE, Doc

_SAMPLE = "Straße, İSTANBUL! naïve_ﬁne 9½ 東京タワー Ὀδυσσεύς नमस्ते สวัสดี 𝒳 e\u0301"


_ASCII = {n: chr(n).lower() if chr(n).isalnum() else " " for n in range(128)}


def definition() -> str:
    """Changes with the index, and when ``words`` makes other words of the same text: then the index is made anew."""
    return f"3 {unicodedata.unidata_version} {' '.join(words(_SAMPLE))}"


def said(kind: Kind, doc: Doc) -> list[Any]:
    """What the terms of a document are made from: as long as it is equal, so are they."""
    get = doc.get
    return [get(f) for f in (*kind.text, *kind.within, *kind.facets)]


def terms_of(kind: Kind, doc: Doc) -> str:
    """The terms of a document, separated by spaces."""
    get = doc.get
    found = [w for field in kind.text for w in words(get(field) or "")]
    if not kind.within:
        return " ".join(found)
    if not found:
        return ""
    scopes = [scope(f, get(f)) for f in kind.within]
    terms = [s + f" {s}".join(found) for s in scopes]
    if kind.facets:
        part = get(kind.partition or "")
        held = [(f, v) for f in kind.facets for v in ((get(f) or ()) if f in kind.lists else (get(f),))]
        terms += [facet(part, field, value) for field, value in dict.fromkeys(held)]
    return " ".join(terms)


SCOPES = 50
"""A search in more of them reads documents: for FTS5, each of them is one more word that is searched for."""


@lru_cache(4096)
def scope(field: str, value: Scalar) -> str:
    """``SCOPE`` characters for a value of a field; the same for values that compare equal."""
    return _digest(f"{field} {_plain(value)!r}")


@lru_cache(4096)
def facet(part: Scalar, field: str, value: Scalar) -> str:
    """As many for a value of a field in a partition."""
    return _digest(f"{_plain(part)!r} {field} {_plain(value)!r}")


def _plain(value: Scalar) -> Scalar:
    """The same for values that compare equal, and for no others."""
    if isinstance(value, bool) or (isinstance(value, float) and value.is_integer()):
        return int(value)
    return value


def _digest(text: str) -> str:
    return blake2b(text.encode(), digest_size=SCOPE // 2).hexdigest()


@dataclass(frozen=True, slots=True)
class Lookup:
    """``expression`` for FTS5; ``rest`` are the conditions that it does not decide."""

    expression: str
    rest: Sequence[Condition]


def lookup(kind: Kind, query: Query) -> Lookup | None:
    """How the index answers a query with words; None if it names no scope or too many, and the index is of no use.

    The expression consists of words, digests and our own operators: no text of a user reaches it.
    """
    within = next((c for c in query.where if c[0] in kind.within and len(c[1]) <= SCOPES), None)
    if kind.within and within is None:
        return None
    scopes = [scope(within[0], value) for value in within[1]] if within else [""]
    decided = [within] if within else []
    parts = [_any_word(query.any_word, scopes)] if query.any_word else []
    parts += [_either(w, scopes) for w in dict.fromkeys(words(query.words))]
    mine = next((c for c in query.where if c[0] == kind.partition and len(c[1]) == 1), None)
    if mine is not None and kind.facets and not query.any_word:  # whose ranks they would change
        for condition in query.where:
            field, wanted = condition
            if field in kind.facets and 0 < len(wanted) <= SCOPES and not (field in kind.lists and None in wanted):
                parts.append("(" + " OR ".join([f'"{facet(mine[1][0], field, v)}"' for v in wanted]) + ")")
                decided += [condition, mine]
    return Lookup(" AND ".join(parts), [c for c in query.where if not any(c is d for d in decided)])


def _either(word: str, scopes: Sequence[str]) -> str:
    """In any of the scopes, of which there may be none."""
    return "(" + " OR ".join([f'"{s}{word}"*' for s in scopes]) + ")"


def _any_word(text: str, scopes: Sequence[str]) -> str:
    return "(" + " OR ".join([_either(w, scopes) for w in dict.fromkeys(words(text))]) + ")"


def hits(kind: Kind, doc: Doc, wanted: str) -> int:
    """How many of the wanted words (separated by spaces) begin a word of the document, each counted once."""
    held = "".join([_spaced(doc.get(field) or "") for field in kind.text])
    return sum(f" {w}" in held for w in wanted.split())


def _spaced(text: str) -> str:
    """The words of a text with a space before each, and maybe more spaces."""
    if text.isascii():  # the same as below, in a tenth of the time
        return f" {text.translate(_ASCII)}"
    return "".join([f" {w}" for w in words(text)])
