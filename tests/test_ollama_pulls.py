"""Models that the server does not have: the command that gets them, or a pull that people can follow."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import replace

import pytest

from backchat.domain.run import StatusNote
from backchat.errors import ProviderError, ProviderRejected, ProviderThrottled, ProviderTimeout
from backchat.ports.providers import Finish, ProviderEvent
from backchat.testing.provider import ask, collect, said
from backchat_ollama import pulls
from backchat_ollama.provider import OllamaProvider, open_ollama
from ollama_trials import KEY, fail, healthy, settings
from ollama_upstream import Step, Upstream, progress, serve
from openai_upstream import Cut, Hang


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with serve() as upstream:
        upstream.lacking.add("m-1")
        yield upstream
        assert upstream.problems == []


@pytest.fixture
async def provider(upstream: Upstream) -> AsyncIterator[OllamaProvider]:
    async with open_ollama(settings(upstream, pull=True, read_timeout=0.5)) as provider:
        yield provider


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every change is a note."""
    monkeypatch.setattr(pulls, "PACE", 0.0)


def noted(events: Sequence[ProviderEvent]) -> list[str]:
    return [e.text for e in events if isinstance(e, StatusNote)]


@pytest.mark.parametrize("model", ["m-1", "a b; rm", KEY])
async def test_without_the_option_the_command_is_told(upstream: Upstream, model: str) -> None:
    upstream.lacking.add(model)
    async with open_ollama(settings(upstream)) as provider:
        with pytest.raises(ProviderRejected) as caught:
            await collect(provider, replace(ask("hi"), model=model))
    command = {"m-1": "ollama pull m-1", "a b; rm": "ollama pull 'a b; rm'", KEY: "ollama pull '[key]'"}[model]
    assert str(caught.value) == f"the model service does not have this model; where it runs: {command}"
    assert upstream.pulled == []


async def test_a_model_that_a_request_names_is_not_pulled(provider: OllamaProvider, upstream: Upstream) -> None:
    """Users may name any, and each takes gigabytes of somebody's disk."""
    upstream.lacking.add("m-2")
    with pytest.raises(ProviderRejected, match="ollama pull m-2"):
        await collect(provider, replace(ask("hi"), model="m-2"))
    assert upstream.pulled == []


async def test_a_wrong_address_pulls_nothing(provider: OllamaProvider, upstream: Upstream) -> None:
    upstream.lacking.clear()
    upstream.play(b"404 page not found", status=404, headers={"Content-Type": "text/plain"})
    with pytest.raises(ProviderRejected, match="status 404"):
        await collect(provider, ask("hi"))
    assert upstream.pulled == []


@pytest.mark.usefixtures("hasty")
async def test_the_model_is_pulled_and_then_answers(provider: OllamaProvider, upstream: Upstream) -> None:
    manifest, begun, done, smaller, verifying, success = progress()
    gates = [asyncio.Event() for _ in range(4)]
    upstream.play_pull(
        manifest, gates[0], begun, gates[1], done, gates[2], smaller, verifying, gates[3], success
    )  # each waits until the note on the one before it is seen
    events: list[ProviderEvent] = []
    async with aclosing(provider.stream(ask("two words"))) as stream:
        async for event in stream:
            events.append(event)
            if isinstance(event, StatusNote):
                gates[len(events) - 1].set()
    assert noted(events) == [
        "pulling m-1: pulling manifest",
        "pulling m-1: 0%",
        "pulling m-1: 100%",
        "pulling m-1: verifying sha256 digest",
    ]
    assert said(events) == "two words"
    assert events[-1] == Finish("stop")
    assert upstream.pulled == [{"model": "m-1", "stream": True}]
    assert len(upstream.bodies) == 2
    await healthy(provider, upstream)


async def test_notes_keep_a_pace(provider: OllamaProvider, upstream: Upstream, monkeypatch: pytest.MonkeyPatch) -> None:
    """Here no second passes: of what comes after the first note, nothing is shown."""
    monkeypatch.setattr(pulls, "monotonic", lambda: 100.0)
    gates = [asyncio.Event() for _ in range(5)]
    steps: list[Step] = []
    for n, gate in enumerate(gates):
        steps += [{"status": f"step {n}"}, gate]
    upstream.play_pull(*steps, {"status": "success"})
    asked = asyncio.create_task(collect(provider, ask("hi")))
    for n, gate in enumerate(gates):
        while (pull := provider._pulls._under_way.get("m-1")) is None or pull.note != f"step {n}":  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0)
        for _ in range(5):
            await asyncio.sleep(0)  # for the reader to have its turn
        gate.set()
    assert noted(await asked) == ["pulling m-1: step 0"]


def test_percents_are_of_all_layers_and_never_fewer() -> None:
    pull = pulls._Pull()
    seen = [("a", 200, None), ("a", 200, 101), ("b", 200, 0), ("b", 200, 150), ("b", 200, 200), ("a", 200, 250)]
    told = [{"digest": digest, "total": total, "completed": completed} for digest, total, completed in seen]
    assert [pulls._progress(each, pull) for each in told] == ["0%", "50%", "50%", "62%", "75%", "100%"]
    assert pulls._progress({"digest": "c", "total": 0}, pull) == ""


@pytest.mark.usefixtures("hasty")
async def test_while_nothing_changes_the_note_is_given_again(
    provider: OllamaProvider, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pulls, "SILENCE", 0.01)
    done = asyncio.Event()
    upstream.play_pull({"status": "verifying"}, done, {"status": "success"})
    async with aclosing(provider.stream(ask("hi"))) as stream:
        for _ in range(3):
            assert await anext(stream) == StatusNote("pulling m-1: verifying")
        done.set()
        assert said([event async for event in stream]) == "hi"


async def test_two_that_need_the_same_model_share_a_pull(provider: OllamaProvider, upstream: Upstream) -> None:
    go_on = asyncio.Event()
    upstream.play_pull({"status": "pulling manifest"}, go_on, {"status": "success"})
    streams = [provider.stream(ask(f"number {n}")) for n in range(2)]
    for stream in streams:
        assert await anext(stream) == StatusNote("pulling m-1: pulling manifest")
    go_on.set()
    answers = await asyncio.gather(*(_rest(stream) for stream in streams))
    assert answers == ["number 0", "number 1"]
    assert len(upstream.pulled) == 1


async def test_one_that_leaves_does_not_end_the_pull_of_another(provider: OllamaProvider, upstream: Upstream) -> None:
    go_on = asyncio.Event()
    upstream.play_pull({"status": "pulling manifest"}, go_on, {"status": "success"})
    leaves, stays = (provider.stream(ask(f"number {n}")) for n in range(2))
    for stream in (leaves, stays):
        await anext(stream)
    await leaves.aclose()
    go_on.set()
    assert await _rest(stays) == "number 1"
    assert len(upstream.pulled) == 1


async def test_a_pull_ends_when_nobody_waits_for_it(upstream: Upstream) -> None:
    upstream.play_pull({"status": "pulling manifest"}, Hang)
    async with open_ollama(settings(upstream, pull=True)) as provider, asyncio.timeout(20):
        stream = provider.stream(ask("hi"))
        await anext(stream)
        await stream.aclose()
        await upstream.left.wait()
        assert said(await collect(provider, ask("again"))) == "again"
    assert len(upstream.pulled) == 2


@pytest.mark.parametrize(
    ("steps", "status", "kind", "told"),
    [
        ([{"error": f"pull model manifest: no {KEY}"}], 200, ProviderError, "pull model manifest: no [key]"),
        ([{"status": "pulling manifest"}, {"error": "no space left"}], 200, ProviderError, "no space left"),
        ([{"error": "who are you"}], 401, ProviderError, "credentials"),
        ([{"error": "slow down"}], 429, ProviderThrottled, "limiting"),
        ([{"status": "pulling manifest"}, b'{"sta', Cut], 200, ProviderError, "broke"),
        ([{"status": "pulling manifest"}], 200, ProviderError, "before it was finished"),
        ([{"status": "pulling manifest"}, Hang], 200, ProviderTimeout, "in time"),
        ([Hang], 200, ProviderTimeout, "in time"),
        ([b"<html>"], 200, ProviderError, "not its protocol"),
        ([b"[]\n"], 200, ProviderError, "not its protocol"),
        ([b'{"status": 7}\n'], 200, ProviderError, "not its protocol"),
    ],
)
async def test_a_pull_that_fails(
    provider: OllamaProvider, upstream: Upstream, steps: list[Step], status: int, kind: type[ProviderError], told: str
) -> None:
    upstream.play_pull(*steps, status=status)
    events, error = await fail(provider)
    assert said(events) == ""
    assert isinstance(error, kind)
    assert told in str(error)
    assert not error.at_work, "no model was asked anything"
    upstream.lacking.clear()
    await healthy(provider, upstream)


async def test_all_who_wait_are_told_of_a_failure(provider: OllamaProvider, upstream: Upstream) -> None:
    go_on = asyncio.Event()
    upstream.play_pull({"status": "pulling manifest"}, go_on, {"error": "no space left"})
    streams = [provider.stream(ask("hi")) for _ in range(2)]
    for stream in streams:
        await anext(stream)
    go_on.set()
    failures = await asyncio.gather(*(_rest(stream) for stream in streams), return_exceptions=True)
    assert ["no space left" in str(f) for f in failures if isinstance(f, ProviderError)] == [True, True]
    assert len(upstream.pulled) == 1


async def test_a_model_that_is_not_there_after_its_pull(provider: OllamaProvider, upstream: Upstream) -> None:
    upstream.lacking.clear()
    for _ in range(2):
        upstream.play({"error": "model 'm-1' not found"}, status=404)
    _, error = await fail(provider)
    assert "does not have the model that it has pulled" in str(error)
    assert len(upstream.pulled) == 1


async def _rest(stream: AsyncGenerator[ProviderEvent, None]) -> str:
    return said([event async for event in stream])
