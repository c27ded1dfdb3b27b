"""Closing this process to others of the same user."""

from __future__ import annotations

from contextlib import suppress
from functools import cache

_PR_SET_DUMPABLE = 4


@cache
def make_undumpable() -> None:
    """Keep other processes of this user from looking into this one, and the kernel from writing its memory down.

    Nobody but root can attach to it from now on, or read its environment. Linux only; elsewhere nothing happens.
    """
    with suppress(Exception):
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
