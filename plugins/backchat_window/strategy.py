"""A window over the end of a conversation, bounded in messages and, if wanted, in characters."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from marshmallow import RAISE, Schema, post_load, validate

from backchat.ports.memory import Ask, History, Shown, Summary
from backchat.ports.newest import newest
from backchat.web.fields import Whole


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    size: int = 20
    max_characters: int | None = None


class SettingsSchema(Schema):
    class Meta:
        unknown = RAISE

    size = Whole(
        load_default=20,
        validate=validate.Range(min=1, max=10_000),
        metadata={"description": "How many messages the model is shown at most, the one just said included."},
    )
    max_characters = Whole(
        load_default=None,
        allow_none=True,
        validate=validate.Range(min=1),
        metadata={"description": "How many characters of text they may have together; older messages give way."},
    )

    @post_load
    def freeze(self, data: Mapping[str, Any], **_: object) -> Settings:
        return Settings(**data)


class Window:
    """The newest messages within both bounds."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    async def select(self, history: History) -> Shown:
        return Shown(await newest(history, self._settings.size, self._settings.max_characters))

    async def review(self, history: History, ask: Ask) -> Summary | None:
        return None


@asynccontextmanager
async def open_window(settings: Settings) -> AsyncIterator[Window]:
    yield Window(settings)
