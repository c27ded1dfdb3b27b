"""backchat: a self-hosted conversation server."""

from __future__ import annotations

from backchat._version import __version__
from backchat.hookspecs import hookimpl

__all__ = ["__version__", "hookimpl"]
