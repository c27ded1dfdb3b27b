"""Every learner keeps the contract of the port."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from backchat.testing.learning import LearnerContract
from backchat_recall.learner import Recall, SettingsSchema, open_recall


class TestRecall(LearnerContract):
    @pytest.fixture
    async def learner(self) -> AsyncIterator[Recall]:
        async with open_recall(SettingsSchema().load({})) as learner:
            yield learner
