"""Why something that is sealed does not open. No message says what is in it."""

from __future__ import annotations


class CannotOpen(Exception):
    """Base of these. The message is for people."""


class WrongKey(CannotOpen):
    """It is sealed under another key than this one."""


class Truncated(CannotOpen):
    """Its end is missing."""


class Swapped(CannotOpen):
    """It is whole, and sealed under this key, for another conversation."""


class Altered(CannotOpen):
    """Some of it is not as it was sealed, or not for this conversation."""
