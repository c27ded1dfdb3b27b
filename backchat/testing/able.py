"""Whether a store under test has an ability."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

import pytest

from backchat.ports.storage import RecordStore

A = TypeVar("A")
PATIENCE = 20.0
"""Seconds after which a test gives up."""


def able(store: RecordStore, ability: Callable[..., A]) -> A:
    """The store as one that has the ability, a protocol; skips the test if it has not."""
    protocol = cast(type[A], ability)
    if not isinstance(store, protocol):
        pytest.skip(f"this store is not {protocol.__name__}: it lacks the methods of that protocol")
    return store
