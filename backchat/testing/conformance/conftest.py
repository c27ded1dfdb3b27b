"""The guards of backchat's own tests, around those of the kit."""

from __future__ import annotations

from backchat.testing.guards import blockbuster, no_leaked_tasks

__all__ = ["blockbuster", "no_leaked_tasks"]
