"""The command ``backchat``: one file for each subject."""

from __future__ import annotations

from backchat.cli.group import main

__all__ = ["main"]
