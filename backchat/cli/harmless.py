"""Text of others, shown on a terminal: it must neither command it nor look like another text."""

from __future__ import annotations

import re

# Control characters, and those that turn the direction of text.
_COMMANDS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")


def one_line(text: str) -> str:
    """The text as one line, with U+FFFD for whatever would not be seen."""
    return "".join([c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text])


def lines(text: str) -> list[str]:
    """The lines of a text, with tabs, and a sign for each control character: what is there is seen."""
    return _COMMANDS.sub(lambda found: _sign(found[0]), text).split("\n")


def _sign(character: str) -> str:
    code = ord(character)
    if code < 0x20:
        return chr(0x2400 + code)
    return "\N{SYMBOL FOR DELETE}" if code == 0x7F else "\N{REPLACEMENT CHARACTER}"
