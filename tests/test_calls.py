"""Single calls of a model: what is said, how they end, and what is booked of them in each of their ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from backchat.domain.message import Text, ToolCall, Usage
from backchat.domain.run import ReasoningDelta
from backchat.domain.usage import Credits, Payer, Price, UsageRecord
from backchat.errors import (
    InsufficientCredits,
    ProviderCredentials,
    ProviderError,
    ProviderRejected,
    ProviderThrottled,
    ProviderTimeout,
)
from backchat.ports.providers import ModelRequest, PromptMessage, ProviderEvent, UsageReport
from backchat.services.calls import Calls
from backchat.services.estimates import tokens_asked, tokens_said
from backchat.services.ledger import Ledger
from backchat.services.providers import Configured, Providers
from backchat.services.usage_records import usage_between
from backchat.testing.provider import ScriptedProvider, Step
from guarded import Paced, asks, guarded, settled
from leaping import leaping
from nodes import SlowStore

PAYER = Payer(user="ann", workspace="w", conversation="c", run="r")
REQUEST = ModelRequest(messages=[PromptMessage("user", (Text("What is the title of this?"),))], system="Be brief.")
ASKED = tokens_asked(REQUEST)


@dataclass
class Desk:
    store: SlowStore
    provider: Any
    ledger: Ledger

    async def text(self, *, limit: float = 5, most: int = 100, request: ModelRequest = REQUEST, **more: Any) -> str:
        asked = Configured("local", "scripted", self.provider)
        purpose = more.get("purpose", "title")
        return await Calls(self.store, self.ledger).text(PAYER, purpose, asked, request, limit=limit, most=most)

    async def booked(self) -> list[UsageRecord]:
        return [record async for record in usage_between(self.store)]

    async def only(self) -> tuple[int, int, bool]:
        """Tokens in and out of the one record there is, and whether they are an estimate."""
        (record,) = await self.booked()
        return record.usage.input_tokens, record.usage.output_tokens, record.estimated


def desk(*turn: Step, provider: ScriptedProvider | None = None, **credits: Any) -> Desk:
    provider, store, ids = provider or ScriptedProvider(turn), SlowStore(), iter(range(100))
    return Desk(
        store,
        provider,
        Ledger(
            store,
            Providers({"local": Configured("local", "scripted", provider)}, "local"),
            Credits(prices={"local/scripted-1": Price(input=Decimal(1), output=Decimal(2))}, **credits),
            now=lambda: datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=next(ids)),
            new_id=lambda: f"u{next(ids)}",
        ),
    )


async def test_the_text_is_what_was_said_and_the_call_is_booked() -> None:
    here = desk(ReasoningDelta("Hm."), "Blue", " sky", UsageReport(Usage(7, 1)), UsageReport(Usage(9, 4, 3, 2)))
    assert await here.text() == "Blue sky"
    assert here.provider.requests == [replace(REQUEST, caller="ann", background=True)]
    (record,) = await here.booked()
    assert (record.payer, record.purpose, record.provider, record.model) == (PAYER, "title", "local", "scripted-1")
    assert (record.usage, record.estimated, record.cost) == (Usage(9, 4, 3, 2), False, Decimal("0.000017"))


async def test_the_model_that_was_asked_for_is_booked() -> None:
    here = desk("ok")
    await here.text(request=ModelRequest(messages=REQUEST.messages, model="other"), purpose="memory")
    (record,) = await here.booked()
    assert (record.model, record.purpose, record.input_price) == ("other", "memory", None)


async def test_what_is_not_reported_is_estimated() -> None:
    call = ToolCall("c", "weather", '{"city": "Paris"}')
    here = desk(ReasoningDelta("I think so."), "Blue", " sky", call)
    assert await here.text() == "Blue sky"
    output = tokens_said(["I think so.", "Blue", " sky", "weather", '{"city": "Paris"}'])
    assert await here.only() == (ASKED, output, True)


async def test_a_record_is_there_before_the_model_is_asked() -> None:
    seen: list[tuple[int, int, bool]] = []

    class Looks(ScriptedProvider):
        async def stream(self, request: ModelRequest) -> AsyncGenerator[ProviderEvent, None]:
            seen.append(await here.only())
            async for event in super().stream(request):
                yield event

    here = desk(provider=Looks(["Sky", UsageReport(Usage(5, 2))]))
    assert await here.text() == "Sky"
    assert seen == [(ASKED, 0, True)]
    assert await here.only() == (5, 2, False)


@pytest.mark.parametrize(
    "error",
    [
        *(ProviderRejected("no"), ProviderThrottled("no", retry_after=9), ProviderCredentials("no")),
        *(ProviderError("no connection", at_work=False), ProviderTimeout("no connection", at_work=False)),
    ],
)
async def test_nothing_is_left_of_a_call_that_was_refused(error: ProviderError) -> None:
    here = desk(error)
    with pytest.raises(type(error)) as caught:
        await here.text()
    assert caught.value is error
    assert await here.booked() == []
    assert await here.ledger.total("workspace", "w") == 0


@pytest.mark.parametrize(
    ("turn", "booked"),
    [
        (["Blue sky", ProviderError("cut off")], (ASKED, tokens_said(["Blue sky"]), True)),
        ([ReasoningDelta("Let me think."), ProviderError("")], (ASKED, tokens_said(["Let me think."]), True)),
        (["Blue", UsageReport(Usage(50, 90, 20)), ProviderError("")], (50, 90, True)),
        ([UsageReport(Usage(50, 1)), "Blue sky " * 9, ProviderError("")], (50, tokens_said(["Blue sky " * 9]), True)),
        ([UsageReport(Usage(50, 0)), ProviderError("")], (50, 0, True)),
        ([ProviderTimeout("")], (ASKED, 0, True)),
        ([ProviderError("")], (ASKED, 0, True)),
        (["Blue sky", ProviderThrottled("")], (ASKED, tokens_said(["Blue sky"]), True)),
        ([RuntimeError("a provider that breaks its port")], (ASKED, 0, True)),
    ],
)
async def test_what_a_call_that_failed_is_booked_with(turn: Sequence[Step], booked: tuple[int, int, bool]) -> None:
    here = desk(*turn)
    with pytest.raises((ProviderError, RuntimeError)) as caught:
        await here.text()
    assert caught.value is turn[-1]
    assert await here.only() == booked


async def test_what_was_reported_of_a_call_that_failed_is_kept() -> None:
    here = desk(UsageReport(Usage(50, 9, 20, 5)), ProviderError("cut off"))
    with pytest.raises(ProviderError):
        await here.text()
    (record,) = await here.booked()
    assert record.usage == Usage(50, 9, 20, 5)


@pytest.mark.parametrize(
    ("purpose", "words"),
    [
        ("title", "took too long to make a title"),
        ("memory", "took too long to say what to remember"),
        ("description", "took too long to describe the image"),
        ("translation", "took too long to translate"),
    ],
)
async def test_a_call_that_takes_too_long(purpose: str, words: str) -> None:
    here = desk("Blue sky", asyncio.Event())
    async with asyncio.timeout(5):
        with pytest.raises(ProviderTimeout, match=words):
            await here.text(limit=0.02, purpose=purpose)
    assert (here.provider.open, here.provider.closed) == (0, 1)
    assert await here.only() == (ASKED, tokens_said(["Blue sky"]), True)


@pytest.mark.parametrize(
    ("purpose", "words"),
    [
        ("title", "title did not end"),
        ("memory", "what to remember did not end"),
        ("description", "description of the image did not end"),
        ("translation", "translation did not end"),
    ],
)
async def test_a_call_without_an_end(purpose: str, words: str) -> None:
    here = desk(*["x" * 50] * 3, UsageReport(Usage(1, 1)))
    with pytest.raises(ProviderError, match=words):
        await here.text(most=149, purpose=purpose)
    assert (here.provider.open, here.provider.closed) == (0, 1)
    assert await here.only() == (ASKED, tokens_said(["x" * 150]), True)
    assert len(await here.text(most=150, purpose=purpose)) == 150


async def until_open(provider: ScriptedProvider) -> None:
    async with asyncio.timeout(5):
        while not provider.open:  # noqa: ASYNC110
            await asyncio.sleep(0)


async def test_a_call_that_is_cancelled() -> None:
    here = desk("Blue sky", asyncio.Event())
    asking = asyncio.create_task(here.text())
    await until_open(here.provider)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert here.provider.open == 0
    assert await here.only() == (ASKED, tokens_said(["Blue sky"]), True)


async def test_a_call_that_is_cancelled_while_its_end_is_stored() -> None:
    gate = asyncio.Event()
    here = desk(gate, "Blue sky", UsageReport(Usage(9, 4)))
    asking = asyncio.create_task(here.text())
    await until_open(here.provider)
    here.store.hold = asyncio.Event()
    gate.set()
    while here.provider.open:  # noqa: ASYNC110
        await asyncio.sleep(0)
    asking.cancel()
    await asyncio.sleep(0)
    here.store.hold.set()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert await here.only() == (9, 4, False)


async def test_a_call_that_is_cancelled_before_it_is_made() -> None:
    here = desk("Blue sky")
    here.store.hold = asyncio.Event()
    asking = asyncio.create_task(here.text())
    for _ in range(10):
        await asyncio.sleep(0)
    asking.cancel()
    here.store.hold.set()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert here.provider.requests == []
    assert await here.booked() == []


async def test_a_server_that_is_killed_leaves_the_least_it_must_cost() -> None:
    here = desk("Blue sky", asyncio.Event())
    asking = asyncio.create_task(here.text())
    await until_open(here.provider)
    here.store.broken = True  # nothing that it does from here on is stored
    asking.cancel()
    with pytest.raises((asyncio.CancelledError, OSError)):
        await asking
    assert await here.only() == (ASKED, 0, True)


async def test_a_call_whose_record_was_counted_meanwhile() -> None:
    gate = asyncio.Event()
    here = desk(gate, "Blue sky", UsageReport(Usage(9, 4)))
    asking = asyncio.create_task(here.text())
    await until_open(here.provider)
    await here.ledger.count()
    gate.set()
    assert await asking == "Blue sky"
    for _ in range(2):
        assert await here.ledger.total("workspace", "w") == Decimal("0.000017")
        await here.ledger.count()


async def test_without_credit_nobody_is_asked() -> None:
    here = desk("Blue sky", UsageReport(Usage(10, 0)), per_user=Decimal("0.00002"))
    for _ in range(2):
        await here.text()
    with pytest.raises(InsufficientCredits):
        await here.text()
    assert len(here.provider.requests) == len(await here.booked()) == 2


@leaping
async def test_nothing_is_booked_of_a_call_that_never_had_its_turn() -> None:
    provider = Paced([100, "Blue sky"])
    here = desk(provider=provider)
    here.provider = guard = guarded(provider, at_once=1)
    first = asks(guard, "bob")
    await settled()
    asking = asyncio.create_task(here.text())
    await settled()
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert (len(provider.requests), await here.booked()) == (1, [])
    assert await first == "Blue sky"


@leaping
async def test_waiting_for_a_turn_is_no_part_of_the_time_that_a_call_may_take() -> None:
    provider = Paced([100, "Blue sky"], [4, "Grey"], [6, "late"])
    here = desk(provider=provider)
    here.provider = guard = guarded(provider, at_once=1)
    first = asks(guard, "bob")
    await settled()
    assert await here.text(limit=5) == "Grey"
    with pytest.raises(ProviderTimeout):
        await here.text(limit=5)
    assert await first == "Blue sky"


@leaping
async def test_a_call_that_gives_way_is_booked_and_made_again() -> None:
    provider = Paced(["Blu", 100], [10, "reply"], ["Grey"])
    here = desk(provider=provider)
    here.provider = guard = guarded(provider, at_once=1)
    asking = asyncio.create_task(here.text(limit=60))
    await asyncio.sleep(1)
    assert await asks(guard, "bob") == "reply"
    assert await asking == "Grey"
    assert [u.usage.output_tokens for u in await here.booked()] == [tokens_said(["Blu"]), tokens_said(["Grey"])]


@leaping
async def test_a_translation_is_waited_for_and_does_not_give_way() -> None:
    provider = Paced([10, "Himmel"])
    here = desk(provider=provider)
    here.provider = guard = guarded(provider, at_once=1)
    asking = asyncio.create_task(here.text(limit=60, purpose="translation"))
    await settled()
    await asks(guard, "bob")
    assert (await asking, provider.asked_at) == ("Himmel", [0, 10])
