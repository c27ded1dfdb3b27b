"""When two facts say the same, and which words of a text are worth looking for."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache

from backchat.ports.words import words

MOST_WORDS = 24
_LEAST_STEM = 4
_WORDS = re.compile("[a-z]+")

# What a question or a fact is framed with. A store finds words by their beginnings: "i" would find half of everything.
COMMON = frozenset(
    _WORDS.findall(
        "a about again all already also am an and any anything are as at be because been being but by can "
        "could d did do does doing don for from had has have having he her here hers him his how i if in into "
        "is it its just know ll m may me mine more most my myself no nor not now of off on once only or our "
        "ours out own please re really recall remember s said same say she should so some such t tell than "
        "that the their them then there these they think this those to too under up us user users ve very was "
        "we were what when where which while who whom whose why will with would you your yours "
    )
)
# Said of the user or left out without a change of meaning, in a fact about the user.
_EMPTY = frozenset(
    _WORDS.findall("a also am an are as at be do does i in is just m me my myself of on really s so the user very")
)
_PLUS = "+#"
_KEPT_LENGTH = 500


def normal(text: str) -> str:
    """Two texts with the same normal form are the same fact: case, width, spaces and punctuation play no part.

    Letters, digits and marks count, and what turns a word into another one: "C" is not "C++", 5 is not -5. A text
    without any of them stands for itself.
    """
    return _kept_normal(text) if len(text) <= _KEPT_LENGTH else _normal(text)


def _normal(text: str) -> str:
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    kept: list[str] = []
    for n, c in enumerate(folded):
        before = folded[n - 1] if n else " "
        word_before = before.isalnum() or before in _PLUS
        sign = c == "-" and not before.isalnum() and folded[n + 1 : n + 2].isdigit()
        point = c == "." and before.isdigit() and folded[n + 1 : n + 2].isdigit()
        counts = unicodedata.category(c)[0] in "LNM" or (c in _PLUS and word_before) or sign or point
        kept.append(c if counts else " ")
    return " ".join("".join(kept).split()) or " ".join(folded.split())


# One turn compares the same memories again and again.
_kept_normal = lru_cache(maxsize=2048)(_normal)


def digest(text: str) -> str:
    """Of the normal form; equal for the same fact."""
    return hashlib.sha256(normal(text).encode("utf-8", "surrogatepass")).hexdigest()


def stem(word: str) -> str:
    """A beginning that a word shares with its inflections: "lives", "living" and "lived" begin with "liv".

    Of English words only, and only as much as finding needs; other words are their own stem.
    """
    if not word.isascii() or not word.isalpha():
        return word
    for ending in ("ing", "ed", "es", "s", "e"):
        if word.endswith(ending) and not word.endswith("ss") and len(word) - len(ending) >= _LEAST_STEM - 1:
            return word[: -len(ending)]
    return word


def wanted(text: str) -> list[str]:
    """The words of a text to look for: each once, as stems, without common ones, ``MOST_WORDS`` of the last ones."""
    found = dict.fromkeys(stem(w) for w in words(text) if w not in COMMON and (len(w) > 1 or not w.isascii()))
    return list(found)[-MOST_WORDS:]


def share(looked_for: Sequence[str], content: str) -> float:
    """How many of the wanted words begin a word of the content, from 0 to 1."""
    if not looked_for:
        return 0.0
    held = words(content)
    return sum(any(h.startswith(w) for h in held) for w in looked_for) / len(looked_for)


def essence(text: str) -> tuple[str, ...]:
    """What a fact about the user says, in order: "I really like tea" and "The user likes tea" say the same."""
    plain = re.sub(r"n['\u2019]t\b", " not", text)
    said = [w for w in normal(plain).split() if w not in _EMPTY]
    if said and len(said[0]) >= _LEAST_STEM:
        said[0] = said[0].removesuffix("s")  # the verb; names further on end in s too
    return tuple(said)


def same_fact(one: str, other: str) -> bool:
    """Whether one says what the other says."""
    return normal(one) == normal(other) or (bool(essence(one)) and essence(one) == essence(other))
