"""The contract of the storage port, and of the abilities that the store has."""

from __future__ import annotations

import pytest

from backchat.testing.records import OpenKinds
from backchat.testing.storage import DurableStorageContract
from backchat.testing.storage_abilities import DurableAbilityContract
from backchat.testing.storages import Storage


@pytest.mark.asyncio
class TestContract(DurableAbilityContract, DurableStorageContract):
    @pytest.fixture
    def open_store(self, storage: Storage) -> OpenKinds:
        self.module = storage.package
        return storage.open
