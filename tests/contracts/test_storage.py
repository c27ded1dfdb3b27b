"""The storage contract against the reference store; the kit holds it against the others."""

from __future__ import annotations

import pytest

from backchat.testing.memory_store import open_memory
from backchat.testing.records import OpenKinds
from backchat.testing.storage import StorageContract


class TestMemory(StorageContract):
    module = "backchat.testing.memory_store"

    @pytest.fixture
    def open_store(self) -> OpenKinds:
        return open_memory
