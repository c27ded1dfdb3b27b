"""A conversation belongs to no dialect: written in one, it is read in every other and goes on in any."""

from __future__ import annotations

from itertools import permutations

import pytest

from backchat.testing.conformance.drivers import DRIVERS
from backchat.testing.plugin import Serve
from backchat.testing.provider import ScriptedProvider

PAIRS = list(permutations(DRIVERS, 2))


@pytest.mark.asyncio
@pytest.mark.parametrize(("first", "second"), PAIRS, ids=["-".join(pair) for pair in PAIRS])
async def test_written_here_read_there_and_continued_elsewhere(serve: Serve, first: str, second: str) -> None:
    third = [name for name in DRIVERS if name not in (first, second)][PAIRS.index((first, second)) % 2]
    provider = ScriptedProvider(["one"], ["two"], ["three"], ["four"])
    config = {"providers": {"scripted": {"use": "scripted"}}, "dialects": sorted(DRIVERS)}
    box = await serve(config, [provider])
    a, b, c, ann = DRIVERS[first], DRIVERS[second], DRIVERS[third], await box.key()
    other, _ = await a.say(box, ann, "something else", None)
    id, _ = await a.stream(box, ann, "said first", None)
    assert await b.browse(box, ann) == [id, other]
    written = [("user", "said first"), ("assistant", "two")]
    assert await b.read(box, ann, id) == written
    assert await c.say(box, ann, "said next", id) == (id, "three")
    assert await b.stream(box, ann, "said last", id) == (id, "four")
    whole = [*written, ("user", "said next"), ("assistant", "three"), ("user", "said last"), ("assistant", "four")]
    for driver in (a, b, c):
        assert await driver.read(box, ann, id) == whole
        assert await driver.browse(box, ann) == [id, other]
    seen = ["".join(getattr(p, "text", "") for p in m.parts) for m in provider.requests[-1].messages]
    assert seen == [text for _, text in whole[:-1]], "the model saw all of it"
    await c.delete(box, ann, other)
    for driver in (a, b):
        assert await driver.browse(box, ann) == [id]
