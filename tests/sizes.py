"""How much is made up: some of it in every run of the tests, all of it in ``make soak``."""

from __future__ import annotations

import os

SOAK = bool(os.environ.get("BACKCHAT_SOAK"))


def many(everything: int) -> int:
    """So many, or a sixteenth of them."""
    return everything if SOAK else everything // 16
