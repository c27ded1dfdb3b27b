"""The extraction port: from the bytes of a file to its text.

What it describes runs in a process of its own, with limits on time and memory: a file may be hostile.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Page:
    """A page, slide or sheet of a document. ``number`` from 1; None where the format has none."""

    text: str
    number: int | None = None


Extract = Callable[[bytes, str], Sequence[Page]]
"""Gets the bytes and the file name. Raises ``Unreadable`` with a sentence for the file's owner; may crash or hang."""


class Unreadable(Exception):
    """The file cannot be read as what its name says; the message is a sentence for its owner."""


@dataclass(frozen=True, slots=True)
class Extractor:
    """Offer text of files by the ends of their names.

    suffixes  lower case, with the dot
    target    where the function is, ``package.module:function``; an ``Extract``, imported in the other process only
    extra     packaging extra of backchat to install when the import fails; one with a ``[`` is a whole requirement
    """

    name: str
    suffixes: tuple[str, ...]
    target: str
    extra: str | None = None
