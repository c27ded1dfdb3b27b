"""Images put into words by a model."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from backchat.domain.run import ReasoningDelta
from backchat.errors import ProviderError, ProviderTimeout
from backchat.ports.providers import Abilities, ImageData
from backchat.services.describing import Describe, describer
from backchat.services.providers import Configured, Providers
from backchat.testing.provider import ScriptedProvider, Step
from documents_made import png

IMAGE = ImageData("image/png", png())


def sees(*turn: Step, limit: float = 5) -> tuple[ScriptedProvider, Describe]:
    provider = ScriptedProvider(turn, abilities=Abilities(vision=True))
    describe = describer(Providers({"local": Configured("local", "scripted", provider)}, "local"), limit=limit)
    assert describe is not None
    return provider, describe


async def test_the_text_of_the_answer_is_the_description() -> None:
    _, describe = sees(ReasoningDelta("I look."), "A ", "cat.")
    assert await describe(IMAGE) == "A cat."


@pytest.mark.parametrize("abilities", [Abilities(vision=False), Abilities(vision=True, instructions=False)])
def test_a_model_that_cannot_is_not_asked(abilities: Abilities) -> None:
    provider = ScriptedProvider(abilities=abilities)
    assert describer(Providers({"local": Configured("local", "scripted", provider)}, "local")) is None


async def test_a_description_that_takes_too_long() -> None:
    provider, describe = sees("A ", asyncio.Event(), limit=0.05)
    async with asyncio.timeout(5):
        with pytest.raises(ProviderTimeout, match="too long to describe"):
            await describe(IMAGE)
    assert provider.open == 0


@pytest.mark.parametrize("turn", [["x" * 32_001], ["words " * 100] * 100])
async def test_a_description_without_an_end(turn: Sequence[Step]) -> None:
    provider, describe = sees(*turn)
    with pytest.raises(ProviderError, match="did not end"):
        await describe(IMAGE)
    assert provider.open == 0
