"""How much is made up: some of it in every run of the tests, all of it in ``make soak``."""

from __future__ import annotations

import os


def many(everything: int) -> int:
    """So many, or a sixteenth of them."""
    return everything if os.environ.get("BACKCHAT_SOAK") else everything // 16
