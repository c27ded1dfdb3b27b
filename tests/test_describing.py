"""Images put into words by a model."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from backchat.domain.message import Usage
from backchat.domain.run import ReasoningDelta
from backchat.domain.usage import Payer
from backchat.errors import ProviderError, ProviderTimeout
from backchat.ports.providers import Abilities, ImageData, UsageReport
from backchat.services.describing import describer
from backchat.services.kinds import KINDS
from backchat.services.providers import Configured, Providers
from backchat.services.reading import Describe
from backchat.services.usage_records import usage_between
from backchat.testing.memory_store import MemoryStore
from backchat.testing.provider import ScriptedProvider, Step
from documents_made import png
from nodes import calls_over

IMAGE = ImageData("image/png", png())
PAYER = Payer(user="ann", workspace="w")


def sees(*turn: Step, limit: float = 5) -> tuple[ScriptedProvider, Describe]:
    provider = ScriptedProvider(turn, abilities=Abilities(vision=True))
    providers = Providers({"local": Configured("local", "scripted", provider)}, "local")
    describe = describer(providers, calls_over(MemoryStore(KINDS), providers), limit=limit)
    assert describe is not None
    return provider, describe


async def test_the_text_of_the_answer_is_the_description() -> None:
    provider = ScriptedProvider([ReasoningDelta("I look."), "A ", "cat.", UsageReport(Usage(900, 5))])
    providers, store = Providers({"local": Configured("local", "scripted", provider)}, "local"), MemoryStore(KINDS)
    describe = describer(providers, calls_over(store, providers))
    assert describe is not None
    assert await describe(IMAGE, PAYER) == "A cat."
    (call,) = [record async for record in usage_between(store)]
    assert (call.payer, call.purpose, call.usage) == (PAYER, "description", Usage(900, 5))


@pytest.mark.parametrize("abilities", [Abilities(vision=False), Abilities(vision=True, instructions=False)])
def test_a_model_that_cannot_is_not_asked(abilities: Abilities) -> None:
    provider = ScriptedProvider(abilities=abilities)
    providers = Providers({"local": Configured("local", "scripted", provider)}, "local")
    assert describer(providers, calls_over(MemoryStore(KINDS), providers)) is None


async def test_who_describes_is_who_is_configured_by_then() -> None:
    blind, sees = ScriptedProvider(abilities=Abilities(vision=False)), ScriptedProvider(["A cat."])
    providers = Providers({"blind": Configured("blind", "scripted", blind)}, "blind")
    calls = calls_over(MemoryStore(KINDS), providers)
    assert describer(providers, calls) is None
    providers.become(Providers({**providers.configured, "sees": Configured("sees", "scripted", sees)}, "blind"))
    describe = describer(providers, calls)
    assert describe is not None
    assert await describe(IMAGE, PAYER) == "A cat."


async def test_a_description_that_takes_too_long() -> None:
    provider, describe = sees("A ", asyncio.Event(), limit=0.05)
    async with asyncio.timeout(5):
        with pytest.raises(ProviderTimeout, match="too long to describe"):
            await describe(IMAGE, PAYER)
    assert provider.open == 0


@pytest.mark.parametrize("turn", [["x" * 32_001], ["words " * 100] * 100])
async def test_a_description_without_an_end(turn: Sequence[Step]) -> None:
    provider, describe = sees(*turn)
    with pytest.raises(ProviderError, match="did not end"):
        await describe(IMAGE, PAYER)
    assert provider.open == 0
