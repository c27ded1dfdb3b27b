"""Text of others, shown on a terminal: it must neither command it nor look like another text.

What is not seen, or turns the direction of what is, shows a sign in its place: control and format characters, blanks
other than a space, halves of characters, and what Unicode has given no meaning.
"""

from __future__ import annotations

_REPLACED = "\N{REPLACEMENT CHARACTER}"


def one_line(text: str) -> str:
    """The text as one line, with U+FFFD for whatever would not be seen."""
    return "".join([c if c.isprintable() else _REPLACED for c in text])


def lines(text: str) -> list[str]:
    """The lines of a text, with tabs, and a sign for whatever else would not be seen."""
    return ["".join([c if c.isprintable() or c == "\t" else _sign(c) for c in line]) for line in text.split("\n")]


def _sign(character: str) -> str:
    """Control characters have pictures of their own."""
    code = ord(character)
    if code < 0x20:
        return chr(0x2400 + code)
    return "\N{SYMBOL FOR DELETE}" if code == 0x7F else _REPLACED
