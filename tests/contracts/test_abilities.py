"""The abilities of the reference store; the kit tests those of the others."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import pytest
import pytest_asyncio

from backchat.ports.storage import RecordStore
from backchat.testing.memory_store import open_memory
from backchat.testing.records import KINDS, OpenKinds
from backchat.testing.storage_abilities import AbilityContract


class TestMemory(AbilityContract):
    @pytest.fixture
    def open_store(self) -> OpenKinds:
        return open_memory

    @pytest_asyncio.fixture
    async def store(self, open_store: OpenKinds) -> AsyncGenerator[RecordStore, None]:
        async with open_store(KINDS) as store:
            yield store
