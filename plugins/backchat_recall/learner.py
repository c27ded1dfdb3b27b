"""The learner itself: its settings, and who does the work."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from marshmallow import RAISE, Schema, post_load, validate

from backchat.ports.learning import Learned, Lesson, Unlearned
from backchat.web.fields import Whole
from backchat_recall.asking import Asking
from backchat_recall.rule import learn_by_rule


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    facts: int = 20


class SettingsSchema(Schema):
    class Meta:
        unknown = RAISE

    facts = Whole(
        load_default=20,
        validate=validate.Range(min=1, max=100),
        metadata={"description": "How many facts are learned from one turn at most."},
    )

    @post_load
    def freeze(self, data: Mapping[str, Any], **_: object) -> Settings:
        return Settings(**data)


class Recall:
    """Asks the model where it follows instructions (``asking``); else keeps to a rule for English (``rule``)."""

    def __init__(self, settings: Settings) -> None:
        self._most = settings.facts

    async def learn(self, lesson: Lesson) -> Sequence[Learned | Unlearned]:
        if not lesson.said.strip():
            return []
        if lesson.ask is None:
            return await learn_by_rule(lesson, self._most)
        return await Asking(lesson, lesson.ask, self._most).learn()


@asynccontextmanager
async def open_recall(settings: Settings) -> AsyncIterator[Recall]:
    yield Recall(settings)
