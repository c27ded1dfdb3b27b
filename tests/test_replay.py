"""``record`` and ``replay``: what was said is said again, whatever it was; and what can go wrong."""

from __future__ import annotations

import asyncio
import json
import stat
from collections.abc import Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from marshmallow import ValidationError
from structlog.testing import capture_logs

from backchat.domain.message import Seal, ToolCall, Usage
from backchat.domain.run import ReasoningDelta, ReasoningSealed, StatusNote, TextDelta
from backchat.errors import (
    ConfigError,
    ProviderCredentials,
    ProviderError,
    ProviderRejected,
    ProviderThrottled,
    ProviderTimeout,
)
from backchat.ports.providers import (
    Abilities,
    Finish,
    ModelRequest,
    PromptMessage,
    ProviderEvent,
    ToolDefinition,
    UsageReport,
)
from backchat.testing.provider import WEATHER, ScriptedProvider, ask, collect, said
from backchat_replay import recorder
from backchat_replay.settings import RecordSchema, ReplaySchema
from replay_desk import files, record, recording, replay, replaying

EVERYTHING: Sequence[ProviderEvent] = (
    StatusNote("loading"),
    ReasoningDelta("hm, "),
    ReasoningDelta("so \ud83d be it"),
    ReasoningSealed(Seal("anthropic", "sk-abcdefgh=")),
    ReasoningSealed(Seal("anthropic", "redacted")),
    TextDelta("It \u2028 is\x00 "),
    UsageReport(Usage(5, 1)),
    TextDelta("\U0001f30a\r\nsunny"),
    ToolCall("c1", "get_weather", '{"city":  "Paris"}', Seal("google", "sig")),
    ToolCall("c2", "get_weather", "{broken"),
    UsageReport(Usage(5, 9, 2, 3, 1)),
    Finish("tool_calls"),
)


# ---- what is said again


async def test_every_event_comes_again_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "recordings"
    inner = ScriptedProvider(EVERYTHING)
    async with recording(path, inner) as provider:
        assert await collect(provider, ask("hi", WEATHER)) == list(EVERYTHING)
    assert await replay(path, ask("hi", WEATHER)) == list(EVERYTHING)


async def test_a_recording_is_whole_and_private(tmp_path: Path) -> None:
    path = tmp_path / "recordings"
    await record(path, ask("hi"), ["a", "b"])
    [file] = files(path)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.stat().st_mode) == 0o700
    assert [set(json.loads(line)) - {"after"} for line in file.read_bytes().splitlines()[1:]] == [
        {"text"},
        {"text"},
        {"finish"},
    ]


async def test_it_is_there_once_the_end_is_seen(tmp_path: Path) -> None:
    async with (
        recording(tmp_path, ScriptedProvider(["a"])) as provider,
        aclosing(provider.stream(ask("hi"))) as events,
    ):
        async for event in events:
            assert len(files(tmp_path)) == isinstance(event, Finish)
            if isinstance(event, Finish):
                break
    assert said(await replay(tmp_path, ask("hi"))) == "a"


async def test_an_answer_that_is_not_heard_to_its_end_is_not_recorded(tmp_path: Path) -> None:
    inner = ScriptedProvider(["a", asyncio.Event()])
    async with recording(tmp_path, inner) as provider:
        stream = provider.stream(ask("hi"))
        assert await anext(stream) == TextDelta("a")
        await stream.aclose()
    assert inner.open == 0
    assert files(tmp_path) == []


@pytest.mark.parametrize(
    "failure",
    [
        ProviderError("boom"),
        ProviderError("no line", at_work=False),
        ProviderTimeout("slow"),
        ProviderRejected("no"),
        ProviderThrottled("later", retry_after=7),
        ProviderRejected("no such order", field="openrouter.sort"),
        ProviderCredentials("who"),
    ],
)
async def test_a_failure_comes_again_after_what_came_before_it(tmp_path: Path, failure: ProviderError) -> None:
    await record(tmp_path, ask("hi"), ["so ", "far", failure])
    async with replaying(tmp_path) as provider:
        stream = provider.stream(ask("hi"))
        assert [await anext(stream), await anext(stream)] == [TextDelta("so "), TextDelta("far")]
        with pytest.raises(ProviderError) as caught:
            await anext(stream)
    again = caught.value
    assert (type(again), str(again)) == (type(failure), str(failure))
    assert (again.at_work, again.retry_after, again.field) == (failure.at_work, failure.retry_after, failure.field)


async def test_equal_requests_are_played_in_order_and_the_last_again(tmp_path: Path) -> None:
    await record(tmp_path, ask("hi"), ["one"], [ProviderThrottled("later")], ["two"])
    async with replaying(tmp_path) as provider:
        assert said(await collect(provider, ask("hi"))) == "one"
        with pytest.raises(ProviderThrottled):
            await collect(provider, ask("hi"))
        assert [said(await collect(provider, ask("hi"))) for _ in range(3)] == ["two"] * 3


async def test_streams_at_the_same_time_take_one_each(tmp_path: Path) -> None:
    await record(tmp_path, ask("hi"), ["one"], ["two"], ["three"])
    async with replaying(tmp_path) as provider:
        answers = await asyncio.gather(*(collect(provider, ask("hi")) for _ in range(3)))
    assert sorted(map(said, answers)) == ["one", "three", "two"]


async def test_what_is_recorded_meanwhile_is_found(tmp_path: Path) -> None:
    async with replaying(tmp_path) as provider:
        with pytest.raises(ProviderRejected):
            await collect(provider, ask("hi"))
        await record(tmp_path, ask("hi"), ["one"], ["two"])
        assert said(await collect(provider, ask("hi"))) == "one"


async def test_the_recorded_time_is_kept_if_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([10.0, 11.0, 13.5, 14.0])  # asked, a, b, the failure
    monkeypatch.setattr(recorder, "monotonic", lambda: next(times))
    await record(tmp_path, ask("hi"), ["a", "b", ProviderError("boom")])
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    with pytest.raises(ProviderError):
        await replay(tmp_path, ask("hi"))
    assert slept == []
    with pytest.raises(ProviderError):
        await replay(tmp_path, ask("hi"), timing=True)
    assert slept == [1.0, 2.5, 0.5]


# ---- what it is


async def test_recording_changes_nothing_else(tmp_path: Path) -> None:
    inner = ScriptedProvider(model="big-1", listed=["big-1", "big-2"], abilities=Abilities(vision=False))
    async with recording(tmp_path, inner) as provider:
        assert (provider.model, provider.abilities) == (inner.model, inner.abilities)
        assert await provider.models() == ["big-1", "big-2"]


async def test_the_model_is_the_recorded_one_unless_it_has_a_name(tmp_path: Path) -> None:
    await record(tmp_path, replace(ask("hi"), model="big-2"), ["two"], model="big-1")
    await record(tmp_path, ask("hi"), ["one"], model="big-1")
    async with replaying(tmp_path) as provider:
        assert provider.model == "big-1"
        assert await provider.models() == ["big-1", "big-2"]
        assert said(await collect(provider, replace(ask("hi"), model="big-1"))) == "one"
        assert said(await collect(provider, replace(ask("hi"), model="big-2"))) == "two"
    async with replaying(tmp_path, model="demo") as provider:
        assert await provider.models() == ["demo", "big-1", "big-2"]
        assert said(await collect(provider, replace(ask("hi"), model="demo"))) == "one"


async def test_models_are_listed_by_age(tmp_path: Path) -> None:
    names = [f"m-{n}" for n in range(8)]
    for name in names:
        await record(tmp_path, replace(ask("hi"), model=name), ["a"], model="own")
    async with replaying(tmp_path) as provider:
        assert await provider.models() == ["own", *names]


async def test_abilities_are_those_of_the_section(tmp_path: Path) -> None:
    section = {"vision": False, "tools": False, "reasoning": False, "json_output": False, "instructions": False}
    async with replaying(tmp_path, **section, files=["application/pdf"]) as provider:
        assert provider.abilities == Abilities(
            vision=False, tools=False, reasoning=False, json_output=False, instructions=False,
            files=frozenset(["application/pdf"]),
        )  # fmt: skip
        with pytest.raises(ProviderRejected, match="tools"):
            await collect(provider, ask("hi", WEATHER))


async def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="path: there is no such directory"):
        async with replaying(tmp_path / "nowhere"):
            pass
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(ConfigError, match="path: the directory cannot be made"):
        async with recording(file, ScriptedProvider()):
            pass


@pytest.mark.parametrize("schema", [RecordSchema(), ReplaySchema()])
@pytest.mark.parametrize("section", [{}, {"path": ""}, {"path": "x", "api_key": "k"}])
def test_sections_that_are_wrong(schema: Any, section: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        schema.load(section)


# ---- what can go wrong


async def test_an_answer_goes_on_if_it_cannot_be_written(tmp_path: Path) -> None:
    path = tmp_path / "recordings"
    async with recording(path, ScriptedProvider(["a"])) as provider:
        path.rmdir()
        with capture_logs() as logs:
            assert said(await collect(provider, ask("my words"))) == "a"
    assert [(e["event"], e["log_level"]) for e in logs] == [("record.not_written", "error")]
    assert "my words" not in str(logs)


def _cut(data: bytes) -> bytes:
    return b"".join(data.splitlines(keepends=True)[:-1])


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(_cut, id="no end"),
        pytest.param(lambda d: d[:-3], id="half a line"),
        pytest.param(lambda d: d + b'{"after": 0, "text": "more"}\n', id="more after the end"),
        pytest.param(lambda d: d + b'{"after": 0, "finish": "stop"}\n', id="two ends"),
        pytest.param(lambda d: d.replace(b'"text"', b'"tixt"'), id="an unknown line"),
        pytest.param(lambda d: d.replace(b'"stop"', b'"stap"'), id="an unknown end"),
        pytest.param(lambda d: d.replace(b'"version": 1', b'"version": 2'), id="another version"),
        pytest.param(lambda d: b"", id="nothing"),
        pytest.param(lambda d: b"\xff\x00", id="no text"),
        pytest.param(lambda d: b"[" * 100_000, id="deep"),
    ],
)
async def test_a_damaged_recording_is_told_and_not_played(tmp_path: Path, damage: Any) -> None:
    await record(tmp_path, ask("hi"), ["a"])
    [file] = files(tmp_path)
    file.write_bytes(damage(file.read_bytes()))
    with capture_logs() as logs, pytest.raises(ProviderError, match=f"the recording {file.name} is damaged") as caught:
        await replay(tmp_path, ask("hi"), model="m")
    assert not caught.value.at_work
    assert [(e["event"], e["recording"]) for e in logs] == [("replay.damaged", file.name)]


async def test_a_damaged_recording_does_not_hide_others(tmp_path: Path) -> None:
    await record(tmp_path, ask("hi"), ["a"])
    (tmp_path / f"{'0' * 32}.{0:020d}.x.jsonl").write_bytes(b"{}\n")
    (tmp_path / "notes.txt").write_text("mine")
    async with AsyncExitStack() as stack:
        provider = await stack.enter_async_context(replaying(tmp_path))
        assert provider.model == "scripted-1"
        assert said(await collect(provider, ask("hi"))) == "a"


async def test_a_definition_with_texts_that_are_no_json_objects(tmp_path: Path) -> None:
    """Arguments and schemas come from models and strangers."""
    odd = ToolDefinition("f", "\ud83d", {"enum": [1e999, None, ["sk-abcdefgh"]], "properties": {}})
    call = ToolCall("c", "f", "[" * 100_000)
    request = ModelRequest(messages=[PromptMessage("assistant", (call,))], tools=[odd])
    await record(tmp_path, request, ["fine"])
    assert said(await replay(tmp_path, request)) == "fine"
