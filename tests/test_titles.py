"""Titles that a model makes: after the first exchange, in the background, never over one that a user chose."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from decimal import Decimal
from typing import Any

import orjson
import pytest

from backchat.domain.limits import Titling
from backchat.domain.message import Image, Text, ToolCall, Usage
from backchat.domain.run import ReasoningDelta
from backchat.domain.usage import Credits, Payer
from backchat.domain.workspace import personal_workspace
from backchat.errors import ConfigError, NotFound, ProviderError
from backchat.ports.providers import Abilities, ImageData, UsageReport
from backchat.ports.storage import Change, Query, Record
from backchat.services import jobs, news
from backchat.services.calls import Calls
from backchat.services.ledger import Ledger
from backchat.services.stored import conversation_of, conversation_put
from backchat.services.titles import TOPIC, Titles, cleaned
from backchat.services.usage_records import usage_between
from backchat.testing.memory_store import MemoryStore
from backchat.testing.provider import WEATHER, ScriptedProvider, Step
from nodes import ANN, BOB, Node, SlowStore, calls_over, node

ASKED = "Why is the sky blue,\nand the sunset red?"
FIRST = "Why is the sky blue, and the sunset red?"
TOOL = {"type": "function", "function": {"name": WEATHER.name, "parameters": WEATHER.parameters}}


class Watched(SlowStore):
    """Counts its readers; ``first`` is written before the next title is, as by somebody who was faster."""

    def __init__(self) -> None:
        super().__init__()
        self.reads = 0
        self.first: Callable[[Record], Change] | None = None

    async def get(self, kind: str, id: str) -> Record | None:
        self.reads += 1
        return await super().get(kind, id)

    async def find(self, query: Query) -> Sequence[Record]:
        self.reads += 1
        return await super().find(query)

    async def apply(self, changes: Sequence[Change]) -> None:
        first, change = self.first, changes[0]
        if first is not None and len(changes) == 2 and change.kind == "conversation" and changes[1].kind == "job":
            self.first = None
            record = await MemoryStore.get(self, "conversation", getattr(change, "id", ""))
            assert record is not None
            await MemoryStore.apply(self, [first(record)])
        await super().apply(changes)


class Talk(Node):
    namer: ScriptedProvider

    async def title_of(self, id: str) -> str:
        return (await self.conversations.open(ANN, id)).title

    async def ask(self, text: str = ASKED, **more: Any) -> str:
        """Say it, and wait for the reply; the id of the conversation."""
        run = await self.say(text, **more)
        await self.runs.result(ANN, run.id)
        return run.conversation

    async def named(self, text: str = ASKED, **more: Any) -> str:
        """And for the title."""
        id = await self.ask(text, **more)
        assert await self.jobs.settled([f"title {id}"], 5)
        return id


@asynccontextmanager
async def talk(
    *turn: Step, store: SlowStore | None = None, model: str | None = None, speaker: ScriptedProvider | None = None
) -> AsyncIterator[Talk]:
    namer = ScriptedProvider(turn or ["Colours of", " the sky"], name="namer")
    titles = Titling(provider="namer", model=model)
    made = Talk(store or SlowStore(), speaker or ScriptedProvider(["It ", "scatters."]), namer, titles=titles)
    made.namer = namer
    try:
        yield made
    finally:
        await made.runs.drain(0)
        await made.jobs.__aexit__()


async def until(true: Callable[[], bool]) -> None:
    for _ in range(1000):
        if true():
            return
        await asyncio.sleep(0)
    raise AssertionError("it never came true")


async def test_the_first_exchange_gives_the_title() -> None:
    async with talk(ReasoningDelta("Hm."), "Colours of", " the sky", UsageReport(Usage(9, 4)), model="tiny") as here:
        id = await here.ask()
        before = await here.conversations.open(ANN, id)
        assert await here.jobs.settled([f"title {id}"], 5)
        after = await here.conversations.open(ANN, id)
        assert after.title == "Colours of the sky"
        assert replace(after, title=before.title, version=before.version) == before
        (asked,) = here.namer.requests
        assert asked.model == "tiny"
        (part,) = asked.messages[0].parts
        assert isinstance(part, Text)
        assert orjson.loads(part.text) == [
            {"role": "user", "text": ASKED},
            {"role": "assistant", "text": "It scatters."},
        ]
        assert "six words" in asked.system


async def test_the_title_is_booked_on_the_user_who_asked() -> None:
    async with talk("Blue sky", UsageReport(Usage(9, 4)), model="tiny") as here:
        id = await here.named()
        (run,) = await here.store.find(Query(kind="run"))
        (call,) = [u async for u in usage_between(here.store) if u.purpose == "title"]
        payer = Payer(user="ann", workspace=personal_workspace("ann"), conversation=id, run=run.id)
        assert (call.payer, call.provider, call.model, call.usage) == (payer, "namer", "tiny", Usage(9, 4))


async def test_the_first_words_stay_when_the_credit_is_spent() -> None:
    async with talk() as here:
        providers = here.engine.providers
        spent = Credits(per_workspace=Decimal(0))
        ledger = Ledger(here.store, providers, spent, now=here.now, new_id=lambda: "u")
        calls = Calls(here.store, ledger)
        titles = Titles(here.store, here.conversations, providers, calls, here.jobs, Titling(provider="namer"))
        here.jobs.handle(TOPIC, titles, at_once=1)
        assert await here.title_of(await here.named()) == FIRST
        assert here.namer.requests == []


async def test_later_exchanges_do_not() -> None:
    async with talk() as here:
        id = await here.named()
        await here.conversations.rename(ANN, id, FIRST)
        await here.named("And at night?", conversation=id)
        assert await here.title_of(id) == FIRST
        assert len(here.namer.requests) == 1


async def test_a_long_beginning_is_cut() -> None:
    async with talk(speaker=ScriptedProvider(["bla " * 5000])) as here:
        await here.named("Well, " * 5000)
        (part,) = here.namer.requests[0].messages[0].parts
        assert isinstance(part, Text)
        assert 1000 < len(part.text) < 5000


async def test_a_reply_that_fails_or_says_nothing_gives_none() -> None:
    for speaker in (ScriptedProvider(["It "], name="x"), ScriptedProvider([ReasoningDelta("Hm.")])):
        if speaker.name == "x":
            speaker = ScriptedProvider(["It ", ProviderError("cut off")])
        async with talk(speaker=speaker) as here:
            run = await here.say(ASKED)
            await here.read(run)
            assert await here.store.count(Query(kind="job")) == 0
            assert await here.title_of(run.conversation) == FIRST
        assert here.namer.requests == []


async def test_without_a_provider_for_titles_the_first_words_stay() -> None:
    provider = ScriptedProvider()
    async with node(SlowStore(), provider) as here:
        run = await here.say(ASKED)
        await here.runs.result(ANN, run.id)
        assert await here.services.titles.title(ANN, run.conversation, 5) == FIRST
        assert len(provider.requests) == 1


async def test_a_model_that_does_not_do_what_it_is_told() -> None:
    echo = ScriptedProvider(name="echo", abilities=Abilities(instructions=False))
    with pytest.raises(ConfigError, match=r"titles\.provider: echo"):
        async with node(SlowStore(), ScriptedProvider(), echo, titles=Titling(provider="echo")):
            pass


async def test_tools_come_before_the_title() -> None:
    call = ToolCall("c1", WEATHER.name, '{"city": "Paris"}')
    async with talk(speaker=ScriptedProvider([call], ["It rains."])) as here:
        run = await here.say(ASKED, tools=[TOOL], takes_tools=True)
        await here.runs.result(ANN, run.id)
        async with asyncio.timeout(5):  # it waits for the client, and nobody waits for that
            assert await here.services.titles.title(ANN, run.conversation, 60) == FIRST
        going = await here.turns.answer(ANN, run.conversation, run.id, [("c1", "rain")])
        await here.runs.result(ANN, going.id)
        assert await here.services.titles.title(ANN, run.conversation, 5) == "Colours of the sky"


async def test_a_title_that_a_user_chose_stays() -> None:
    during, gate = asyncio.Event(), asyncio.Event()
    async with talk(gate, "Sky", speaker=ScriptedProvider([during, "It scatters."])) as here:
        run = await here.say(ASKED)
        await here.conversations.rename(ANN, run.conversation, "Mine")  # while the reply is made
        during.set()
        await here.runs.result(ANN, run.id)
        gate.set()
        assert await here.jobs.settled([f"title {run.conversation}"], 5)
        assert await here.title_of(run.conversation) == "Mine"
        gate.clear()
        id = await here.ask()
        await until(lambda: here.namer.open == 1)
        await here.conversations.rename(ANN, id, "Mine too")  # while the title is
        gate.set()
        assert await here.jobs.settled([f"title {id}"], 5)
        assert await here.title_of(id) == "Mine too"


async def test_a_lost_race_does_not_ask_the_model_again() -> None:
    store = Watched()
    store.first = lambda record: conversation_put(replace(conversation_of(record), pinned=True))
    async with talk(store=store) as here:
        id = await here.named()
        found = await here.conversations.open(ANN, id)
        assert (found.title, found.pinned) == ("Colours of the sky", True)
        assert len(here.namer.requests) == 1


async def test_a_rename_in_the_last_moment_stays() -> None:
    store = Watched()
    store.first = lambda record: conversation_put(replace(conversation_of(record), title="Mine"))
    async with talk(store=store) as here:
        assert await here.title_of(await here.named()) == "Mine"


@pytest.mark.parametrize("turn", [[ProviderError("no")], ["Sky", ProviderError("no")], ["sky " * 500], [' "". ', "\n"]])
async def test_the_first_words_stay_when_the_model_fails(turn: Sequence[Step]) -> None:
    async with talk(*turn) as here:
        id = await here.named()
        assert await here.title_of(id) == FIRST
        assert await here.store.count(Query(kind="job")) == 0
        assert len(here.namer.requests) == 1


async def test_the_first_words_stay_when_the_model_takes_too_long() -> None:
    async with talk("Sky", asyncio.Event()) as here:
        providers = here.engine.providers
        titles = Titles(
            here.store,
            here.conversations,
            providers,
            calls_over(here.store, providers),
            here.jobs,
            Titling(provider="namer"),
            limit=0.02,
        )
        here.jobs.handle(TOPIC, titles, at_once=1)
        async with asyncio.timeout(5):
            assert await here.title_of(await here.named()) == FIRST
        assert (here.namer.open, len(here.namer.requests)) == (0, 1)


async def test_what_is_deleted_meanwhile_stays_deleted() -> None:
    gate = asyncio.Event()
    async with talk(gate, "Sky") as here:
        id = await here.ask()
        await until(lambda: here.namer.open == 1)
        await here.conversations.discard(ANN, id)
        gate.set()
        assert await here.jobs.settled([f"title {id}"], 5)
        assert await here.store.count(Query(kind="conversation")) == 0


async def test_the_job_holds_nothing_of_what_was_said() -> None:
    async with talk(asyncio.Event()) as here:
        id = await here.ask()
        (job,) = await here.store.find(Query(kind="job"))
        assert job.doc["owner"] == "ann"
        assert job.doc["payload"].keys() == {"conversation", "input", "answer"}
        assert not any(word in orjson.dumps(job.doc).decode() for word in ("sky", "scatters"))
        await here.conversations.discard(ANN, id)


async def test_whoever_asks_waits_for_reply_and_title_without_asking_the_store(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (jobs, news):
        monkeypatch.setattr(module, "POLL", 0)
    reply, name, store = asyncio.Event(), asyncio.Event(), Watched()
    async with talk(name, "Sky", speaker=ScriptedProvider([reply, "It scatters."]), store=store) as here:
        run = await here.say(ASKED)
        asking = asyncio.create_task(here.services.titles.title(ANN, run.conversation, 30))
        await until(lambda: bool(here.runs.live[run.id].log._waiting))
        await _still(store)
        assert not asking.done()
        reply.set()
        await until(lambda: here.namer.open == 1)
        await _still(store)
        assert not asking.done()
        name.set()
        async with asyncio.timeout(5):
            assert await asking == "Sky"
        assert await here.services.titles.title(ANN, run.conversation, 0) == "Sky"


async def _still(store: Watched) -> None:
    """Nobody reads the store any more, once everybody is where they wait."""
    for _ in range(50):
        await asyncio.sleep(0)
    reads = store.reads
    for _ in range(200):
        await asyncio.sleep(0)
    assert store.reads == reads


async def test_whoever_does_not_want_to_wait_gets_the_first_words() -> None:
    reply, name = asyncio.Event(), asyncio.Event()
    async with talk(name, "Sky", speaker=ScriptedProvider([reply, "It scatters."])) as here:
        run = await here.say(ASKED)
        assert await here.services.titles.title(ANN, run.conversation, 0.01) == FIRST
        reply.set()
        await here.runs.result(ANN, run.id)
        assert await here.services.titles.title(ANN, run.conversation, 0.01) == FIRST
        name.set()
        assert await here.services.titles.title(ANN, run.conversation, 5) == "Sky"


async def test_who_may_ask_and_for_what() -> None:
    gate = asyncio.Event()
    async with talk(gate, "Sky") as here:
        id = await here.ask()
        for who, of in ((BOB, id), (ANN, "nothing")):
            with pytest.raises(NotFound):
                await here.services.titles.title(who, of, 5)
        empty = await here.conversations.create(ANN, channel="web")
        assert await here.services.titles.title(ANN, empty.id, 5) is None
        asking = asyncio.create_task(here.services.titles.title(ANN, id, 30))
        await until(lambda: here.namer.open == 1)
        await here.conversations.discard(ANN, id)
        gate.set()
        with pytest.raises(NotFound):
            await asking


async def test_another_process_makes_it() -> None:
    gate, store = asyncio.Event(), SlowStore()
    async with talk(gate, "Sky", store=store) as here, talk(store=store) as there:
        id = await here.ask()
        asking = asyncio.create_task(there.services.titles.title(ANN, id, 30))
        await until(lambda: here.namer.open == 1)
        gate.set()
        async with asyncio.timeout(5):
            assert await asking == "Sky"
        assert there.namer.requests == []


async def test_a_message_without_words() -> None:
    async with talk() as here:
        id = await here.named("", images=[ImageData("image/png", b"png")])
        (said, _) = await here.conversations.whole(ANN, id)
        assert isinstance(said.parts[1], Image)
        assert await here.title_of(id) == "Colours of the sky"


@pytest.mark.parametrize(
    ("said", "title"),
    [
        ("Blue sky", "Blue sky"),
        ('  "Blue sky."  ', "Blue sky"),
        ("\u201eBlauer Himmel\u201c.", "Blauer Himmel"),
        ("\u00ab Ciel bleu \u00bb", "Ciel bleu"),
        ("\u300c\u9752\u3044\u7a7a\u300d\u3002", "\u9752\u3044\u7a7a"),
        ("**Blue sky**", "Blue sky"),
        ("# Blue sky", "Blue sky"),
        ("\n\n Blue \t sky \nHere is why: ...", "Blue sky"),
        ("Blue\x00 \x1b[31msky\ud800", "Blue [31msky"),
        ('"Why" and "how"', '"Why" and "how"'),
        ("The boys' C# questions", "The boys' C# questions"),
        ("Learning C#", "Learning C#"),
        ("And so on...", "And so on..."),
        ("Is it blue?", "Is it blue?"),
        ("\U0001f468\u200d\U0001f469\u200d\U0001f467 Family", "\U0001f468\u200d\U0001f469\u200d\U0001f467 Family"),
        ("sky " * 30, "sky " * 19 + "sky\u2026"),
        ("...", "..."),
        ('"".', ""),
        ("", ""),
    ],
)
def test_an_answer_as_a_title(said: str, title: str) -> None:
    assert cleaned(said) == title
    assert len(title) <= 80
