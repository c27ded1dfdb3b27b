"""What a word is."""

from __future__ import annotations

import sys

import pytest

from backchat.ports.words import words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("Hello, World!", ["hello", "world"]),
        ("snake_case kebab-case don't", ["snake", "case", "kebab", "case", "don", "t"]),
        ("a1 2b 3.5", ["a1", "2b", "3", "5"]),
        ("Café CAFE\u0301 naïve", ["cafe", "cafe", "naive"]),
        ("Straße STRASSE", ["strasse", "strasse"]),
        ("İSTANBUL ıI", ["istanbul", "ıi"]),
        ("ﬁne x² ½", ["fine", "x2", "1", "2"]),
        ("Ὀδυσσεύς ΣΊΣΥΦΟΣ", ["οδυσσευσ", "σισυφοσ"]),
        ("東京タワー2号", ["東", "京", "タ", "ワ", "ー", "2", "号"]),
        ("ｶﾞ", ["カ"]),
        ("한국어 русский ёж", ["한국어", "русскии", "еж"]),
        ("𝒳𝒴 \U0001f600 🇫🇷", ["xy"]),
        ("a\x00b\u2028c\u200dd\ud800e", ["a", "b", "c", "d", "e"]),
        ('"*%-_()^:{}+\\', []),
    ],
)
def test_words(text: str, expected: list[str]) -> None:
    assert words(text) == expected


def test_a_word_is_its_own_word_whatever_it_was_cut_from() -> None:
    """So that a word that was found, searched for, finds it; and a store may write words with spaces between."""
    for start in range(0, sys.maxunicode + 1, 1_000):
        found = words(" ".join([f"a{chr(code)}b" for code in range(start, start + 1_000) if code <= sys.maxunicode]))
        joined = " ".join(found)
        assert words(joined) == found, hex(start)
        assert joined == joined.casefold(), hex(start)
        assert all(c.isalnum() or c == " " or not c.isascii() for c in joined), hex(start)
