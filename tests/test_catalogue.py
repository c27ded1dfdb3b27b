"""The catalogue of models: what providers list, with what the packaged table knows of it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from typing import Any, Literal

import orjson
import pytest

from backchat.domain.model import ModelInfo
from backchat.errors import NotFound, ProviderThrottled
from backchat.ports.providers import Abilities
from backchat.services.catalogue import Catalogue, ModelFilter
from backchat.services.embedders import Embedders
from backchat.services.modeltable import model_table
from backchat.services.providers import Configured, Providers
from backchat.testing.provider import ScriptedProvider


class Clock:
    def __init__(self) -> None:
        self.now = datetime(2030, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def forward(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


class Embeds:
    def __init__(self, model: str, dimensions: int, context: int) -> None:
        self.model, self.dimensions, self.context = model, dimensions, context

    async def embed(self, texts: Sequence[str], purpose: Literal["query", "document"]) -> Sequence[bytes]:
        raise AssertionError("a list embeds nothing")


def listing(*listed: Any, model: str = "m", **abilities: Any) -> ScriptedProvider:
    return ScriptedProvider(model=model, listed=listed, abilities=replace(Abilities(), **abilities))


def catalogue(
    *providers: tuple[str, str, ScriptedProvider],
    clock: Clock | None = None,
    embedders: dict[str, Embeds] | None = None,
    **named: float,
) -> Catalogue:
    configured = {name: Configured(name, use, provider) for name, use, provider in providers}
    return Catalogue(
        Providers(configured, next(iter(configured), "")), Embedders(embedders or {}), now=clock or Clock(), **named
    )


def names(models: Sequence[ModelInfo]) -> list[str]:
    return [f"{m.provider}:{m.name}" for m in models]


async def test_lists_every_provider_its_configured_model_first() -> None:
    async with catalogue(
        ("mine", "openai", listing("z-1", "gpt-4o", "a-1", model="gpt-4o")),
        ("echo", "echo", listing("echo-1", model="echo-1")),
        embedders={"small": Embeds("potion", 256, 0)},
    ) as shown:
        assert names(await shown.models()) == ["mine:gpt-4o", "mine:a-1", "mine:z-1", "echo:echo-1", "small:potion"]
        assert shown.providers() == ("mine", "echo")
        assert shown.embedding_providers() == ("small",)
        assert (*shown.image_models(), *shown.video_models()) == ()


async def test_says_what_the_table_knows() -> None:
    async with catalogue(("mine", "openai", listing("gpt-4o", "my-own"))) as shown:
        known, unknown = await shown.model("gpt-4o"), await shown.model("my-own")
    assert (known.context, known.output) == (128_000, 16_384)
    assert (known.price, known.cached_price, known.output_price) == (2.5, 1.25, 10)
    assert (known.tools, known.vision, known.reasoning) == (True, True, False)
    assert known.as_of == model_table().as_of
    assert unknown == ModelInfo(name="my-own", provider="mine", tools=True, vision=True, reasoning=True)


@pytest.mark.parametrize(
    ("use", "name", "row", "priced"),
    [
        ("openai", "GPT-4o", "openai/gpt-4o", True),
        ("openai", "deepseek-chat", "deepseek/deepseek-chat", False),  # elsewhere, behind the same protocol
        ("groq", "openai/gpt-oss-120b", "groq/openai/gpt-oss-120b", True),
        ("google", "models/gemini-2.5-pro", "gemini/gemini-2.5-pro", True),
        ("claude", "claude-sonnet-4-5", "anthropic/claude-sonnet-4-5", True),
        ("openrouter", "openai/gpt-4o", "openai/gpt-4o", True),
        ("openrouter", "openai/gpt-4o:free", "openai/gpt-4o", False),
        ("openrouter", "google/gemini-2.5-pro", "gemini/gemini-2.5-pro", True),
        ("openrouter", "anthropic/claude-sonnet-4.5", "anthropic/claude-sonnet-4-5", True),
        ("ollama", "llama3.1:8b", "ollama/llama3.1", False),
        ("mine", "gpt-4o", "openai/gpt-4o", False),
        ("mine", "openai/gpt-4o", "openai/gpt-4o", False),
        ("mine", "deepseek-r1", "deepseek/deepseek-r1", False),  # several hosts say something else
        ("mine", "x/y/z", None, False),
    ],
)
async def test_finds_a_model_under_the_names_it_goes_by(use: str, name: str, row: str | None, priced: bool) -> None:
    async with catalogue(("p", use, listing(name))) as shown:
        found = await shown.model(name)
    known = model_table().rows[row] if row is not None else {"context": 0}
    assert found.context == known["context"]
    assert (found.price, found.output_price) == ((known["price"], known["output_price"]) if priced else (None, None))


async def test_models_that_do_not_talk_are_left_out() -> None:
    offered = ["whisper-1", "gpt-image-1", "text-embedding-3-large", "tts-1", "omni-moderation-latest", "gpt-5-codex"]
    async with catalogue(
        ("mine", "openai", listing(*offered, "gpt-4o")),
        ("router", "openrouter", listing("openai/gpt-5-codex", model="openai/gpt-4o")),
        ("odd", "openai", listing(model="whisper-1")),
    ) as shown:
        found = await shown.models()
    # A configured model is shown whatever the table says, and a router has its own way to talk to one.
    assert names(found) == [
        "mine:m",
        "mine:gpt-4o",
        "router:openai/gpt-4o",
        "router:openai/gpt-5-codex",
        "odd:whisper-1",
    ]
    assert found[3].context == 272_000
    assert found[4].price is None


async def test_claims_no_more_than_the_provider_is_configured_for() -> None:
    async with catalogue(
        ("mine", "openai", listing("gpt-5", "my-own", tools=False, vision=False, reasoning=False)),
        ("other", "openai", listing("gpt-5", "gpt-4o", reasoning=False)),
    ) as shown:
        mine, other = (
            await shown.browse(ModelFilter(provider="mine")),
            await shown.browse(ModelFilter(provider="other")),
        )
    assert not any(m.tools or m.vision or m.reasoning for m in mine[0])
    assert [(m.name, m.tools, m.vision, m.reasoning) for m in other[0]] == [
        ("m", True, True, False),
        ("gpt-4o", True, True, False),
        ("gpt-5", True, True, False),
    ]


async def test_finds_by_name_without_regard_to_case() -> None:
    async with catalogue(
        ("One", "openai", listing("Vendor/Big", "one/m", model="m")), ("two", "openai", listing("gpt-4o", model="m"))
    ) as shown:
        for name, found in [
            ("vendor/big", "One:Vendor/Big"),
            ("M", "One:m"),
            ("two/m", "two:m"),
            ("TWO/GPT-4O", "two:gpt-4o"),
            ("one/m", "One:one/m"),  # a name goes before a provider and a name
            ("one/vendor/big", "One:Vendor/Big"),
        ]:
            assert names([await shown.model(name)]) == [found]
        for name in ("", "none", "/", "two/none", "m/", "m\x00", "vendor"):
            with pytest.raises(NotFound):
                await shown.model(name)


async def test_the_size_of_a_context_is_known_without_asking() -> None:
    asked = listing("gpt-4o")
    async with catalogue(("p", "openai", asked)) as shown:
        assert await shown.context("p", "gpt-4o") == 128_000
        assert await shown.context("p", "my-own") == 0
        assert await shown.context("gone", "gpt-4o") == 0
    assert asked.listings == 0


async def test_embedding_models() -> None:
    async with catalogue(
        ("p", "openai", listing()), embedders={"a": Embeds("Potion", 256, 0), "b": Embeds("large", 3072, 8191)}
    ) as shown:
        everything = shown.embedding_models()
        assert [(m.name, m.provider, m.dimensions, m.context) for m in everything] == [
            ("Potion", "a", 256, 0),
            ("large", "b", 3072, 8191),
        ]
        assert shown.embedding_model("POTION") == everything[0]
        with pytest.raises(NotFound):
            shown.embedding_model("m")
        assert names((await shown.browse(ModelFilter(kind="embedding")))[0]) == ["a:Potion", "b:large"]
        assert names((await shown.browse(ModelFilter(kind="llm")))[0]) == ["p:m"]
        assert names(shown.browse_embedding_models(ModelFilter(min_dimensions=257))[0]) == ["b:large"]
        assert names(shown.browse_embedding_models(ModelFilter(max_dimensions=257))[0]) == ["a:Potion"]
        assert names(shown.browse_embedding_models(ModelFilter(provider="B"))[0]) == ["b:large"]


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (ModelFilter(kind="LLM"), ["gpt-4", "gpt-4o", "x"]),
        (ModelFilter(kind="realtime"), []),
        (ModelFilter(provider="P"), ["gpt-4", "gpt-4o", "x"]),
        (ModelFilter(provider="openai"), []),
        (ModelFilter(tools=True), ["gpt-4", "gpt-4o", "x"]),
        (ModelFilter(tools=False), []),
        (ModelFilter(min_context=8192), ["gpt-4", "gpt-4o"]),
        (ModelFilter(min_context=8193), ["gpt-4o"]),
        (ModelFilter(max_context=8192), ["gpt-4", "x"]),
        (ModelFilter(min_context=1, max_context=127_999), ["gpt-4"]),
        (ModelFilter(min_context=5, max_context=4), []),
    ],
)
async def test_filters(wanted: ModelFilter, found: list[str]) -> None:
    async with catalogue(("p", "openai", listing("gpt-4o", "x", model="gpt-4"))) as shown:
        models, total = await shown.browse(wanted)
    assert [m.name for m in models] == found
    assert total == len(found)


@pytest.mark.parametrize(
    ("skip", "limit", "first", "count"),
    [
        (0, 100, 0, 100),
        (-1, 9999, 0, 1000),
        (10, 5, 10, 5),
        (1195, 100, 1195, 5),
        (5000, 1, 0, 0),
        (0, 0, 0, 1),
        (0, -1, 0, 1),
        (10**30, 10**30, 0, 0),
        (-(10**30), -(10**30), 0, 1),
    ],
)
async def test_pages(skip: int, limit: int, first: int, count: int) -> None:
    async with catalogue(("p", "mine", listing(*(f"m{n:04}" for n in range(1200)), model="m0000"))) as shown:
        models, total = await shown.browse(ModelFilter(skip=skip, limit=limit))
    assert total == 1200
    assert [m.name for m in models] == [f"m{n:04}" for n in range(first, first + count)]


async def test_lists_at_the_same_time_share_one_question_and_its_answer_is_kept() -> None:
    gate, clock = asyncio.Event(), Clock()
    asked = listing(gate, "a", model="m")
    async with catalogue(("p", "openai", asked), clock=clock, keep_seconds=300) as shown:
        lists = [asyncio.create_task(shown.browse(ModelFilter())) for _ in range(20)]
        await asyncio.sleep(0)
        gate.set()
        assert {total for _, total in await asyncio.gather(*lists)} == {2}
        clock.forward(299)
        await shown.models()
        assert asked.listings == 1
        asked.listed = ["a", "b"]
        clock.forward(1)
        assert len(await shown.models()) == 3
        assert asked.listings == 2


async def test_one_that_leaves_does_not_take_the_answer_along() -> None:
    gate = asyncio.Event()
    asked = listing(gate, "a")
    async with catalogue(("p", "openai", asked)) as shown:
        leaves, stays = asyncio.create_task(shown.models()), asyncio.create_task(shown.models())
        await asyncio.sleep(0)
        leaves.cancel()
        await asyncio.wait([leaves])
        gate.set()
        assert names(await stays) == ["p:m", "p:a"]
        assert asked.listings == 1


async def test_a_provider_that_fails_shows_its_own_model_and_what_it_listed_before(
    capfd: pytest.CaptureFixture[str],
) -> None:
    clock = Clock()
    broken, fine = listing(ProviderThrottled("slow down, sk-secret")), listing("a")
    crashing = listing(ValueError("sk-secret"))
    async with catalogue(
        ("broken", "openai", broken), ("crash", "openai", crashing), ("fine", "openai", fine), clock=clock
    ) as shown:
        assert names(await shown.models()) == ["broken:m", "crash:m", "fine:m", "fine:a"]
        clock.forward(29)
        await shown.models()
        assert broken.listings == crashing.listings == 1
        broken.listed = ["back"]
        clock.forward(1)
        assert "broken:back" in names(await shown.models())
        assert fine.listings == 1
        broken.listed = [ProviderThrottled("again")]
        clock.forward(300)
        assert "broken:back" in names(await shown.models())
    lines = [orjson.loads(line) for line in capfd.readouterr().err.splitlines()]
    codes = [(line["provider"], line.get("code")) for line in lines if line["event"] == "models.not_listed"]
    assert codes.count(("broken", "provider_rate_limited")) == 2
    assert ("crash", None) in codes
    assert "sk-secret" not in str(lines)


async def test_a_provider_that_takes_a_moment_is_waited_for() -> None:
    gate = asyncio.Event()
    async with catalogue(("slow", "openai", listing(gate, "late"))) as shown:
        asyncio.get_running_loop().call_later(0.02, gate.set)
        assert names(await shown.models()) == ["slow:m", "slow:late"]


async def test_a_slow_provider_is_not_waited_for_and_not_asked_twice() -> None:
    gate = asyncio.Event()
    slow = listing(gate, "late")
    async with catalogue(("slow", "openai", slow), ("fine", "openai", listing("a")), patience=0.05) as shown:
        for _ in range(2):
            async with asyncio.timeout(1):
                assert names(await shown.models()) == ["slow:m", "fine:m", "fine:a"]
        gate.set()
        assert names(await shown.models()) == ["slow:m", "slow:late", "fine:m", "fine:a"]
        assert slow.listings == 1


async def test_closing_ends_the_question() -> None:
    slow = listing(asyncio.Event())
    async with catalogue(("slow", "openai", slow), patience=0.01) as shown:
        await shown.models()
        assert [t.get_name() for t in asyncio.all_tasks() if t.get_name().startswith("models of")] == ["models of slow"]
    assert not [t for t in asyncio.all_tasks() if t.get_name().startswith("models of")]


def test_the_packaged_table() -> None:
    raw = files("backchat.services").joinpath("models.json").read_bytes()
    assert len(raw) < 300_000
    table = orjson.loads(raw)
    assert "LiteLLM" in table["source"]
    assert table["version"]
    assert "Permission is hereby granted, free of charge" in table["licence"]
    assert "Berri AI" in table["licence"]
    fields = set(ModelInfo.__slots__) - {"name", "provider", "kind", "as_of"} | {"mode", "minute_price"}
    for key, row in table["models"].items():
        assert key == key.lower()
        assert key.count("/") >= 1
        assert set(row) <= fields, key
        assert all(value >= 0 for value in row.values() if isinstance(value, int | float))
