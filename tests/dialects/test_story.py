"""One story over every dialect: start, say, stream, list, read, delete. A dialect joins by giving a driver."""

from __future__ import annotations

import pytest

from backchat.plugins import Plugins
from backchat.testing.server import Box
from drivers import APART, DRIVERS


def test_every_dialect_is_in_the_story() -> None:
    assert set(DRIVERS) == set(Plugins(from_entry_points=True).dialects) - APART


@pytest.mark.parametrize("name", DRIVERS)
async def test_the_story(box: Box, name: str) -> None:
    dialect, ann = DRIVERS[name], await box.key()
    other, _ = await dialect.say(box, ann, "Something else", None)
    id, first = await dialect.say(box, ann, "Tell me of the sea", None)
    assert "Tell me of the sea" in first
    same, second = await dialect.stream(box, ann, "And of the mountains", id)
    assert same == id
    assert "And of the mountains" in second
    assert await dialect.browse(box, ann) == [id, other]
    assert await dialect.read(box, ann, id) == [
        ("user", "Tell me of the sea"),
        ("assistant", first),
        ("user", "And of the mountains"),
        ("assistant", second),
    ]
    await dialect.delete(box, ann, id)
    assert await dialect.browse(box, ann) == [other]
