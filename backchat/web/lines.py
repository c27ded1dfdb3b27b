"""How long the lines of a request may be, wherever an app is served."""

from __future__ import annotations

LONGEST_LINE = 64 << 10
"""Bytes of a request's address: 5,000 characters of four bytes, as a query string writes them, and what is around.

aiohttp refuses what is longer before any handler is asked, with a 400 of its own.
"""
