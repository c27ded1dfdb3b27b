"""Recordings hold no keys, no prompts and no settings; and are recognised all the same."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backchat.domain.message import Reasoning, Seal, Text, ToolCall, ToolResult
from backchat.domain.run import ReasoningDelta, ReasoningSealed, StatusNote, TextDelta
from backchat.errors import ProviderError, ProviderRejected
from backchat.ports.providers import Citation, Finish, ModelRequest, PromptMessage, ProviderEvent
from backchat.testing.provider import WEATHER, ask, collect, said
from backchat_openai.provider import open_openai
from backchat_openai.settings import OPENAI, SettingsSchema
from backchat_replay.scrubbing import Heard, scrubbed, scrubbed_events
from openai_upstream import serve, text
from replay_desk import files, record, recording, replay

KEYS = ["sk-proj-0123456789", "AIzaSyA0123456789", "Bearer abc.def", "eyJhbGci.eyJzdWIi.c2ln", "bsk_abcdefgh1"]


def written(path: Path) -> str:
    return "".join([file.name + file.read_text() for file in files(path)])


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("cut", [1, 3, 100])
async def test_a_key_in_an_answer_is_not_recorded_however_it_is_cut(tmp_path: Path, key: str, cut: int) -> None:
    words = f"Use {key} or {key}, and go on."
    pieces = [words[n : n + cut] for n in range(0, len(words), cut)]
    arguments = json.dumps({"city": key, key: [key, 1]})
    answer = [
        StatusNote(f"with {key}"),
        *[ReasoningDelta(p) for p in pieces],
        *[TextDelta(p) for p in pieces],
        ToolCall("c", "get_weather", arguments),
    ]
    await record(tmp_path, ask("hi", WEATHER), [*answer, ProviderError(f"bad {key}")], answer)
    assert key not in written(tmp_path)
    assert written(tmp_path).count("[key]") == 2 * 8 + 1
    with pytest.raises(ProviderError, match=r"^bad \[key\]$"):
        await replay(tmp_path, ask("hi", WEATHER))


WORDS = [
    "SELECT * FROM t ORDER BY key_column",
    "PRIMARY KEY (pk_orders_2024_01)",
    "from huggingface_hub import hf_hub_download",
    "a key-holder, bearer of news and Bearer bonds.",
    "sk-shaped, rk_notes_table, xai-inspired",
    "the Bearer authentication scheme",
]


@pytest.mark.parametrize("words", WORDS)
async def test_words_that_only_begin_like_keys_are_recorded_as_they_were_said(tmp_path: Path, words: str) -> None:
    call = ToolCall("c", "get_weather", json.dumps({"city": words, "key_created_at": "key_column"}))
    await record(tmp_path, ask("hi", WEATHER), [words, call])
    events = await replay(tmp_path, ask("hi", WEATHER))
    assert said(events) == words
    assert [e.arguments for e in events if isinstance(e, ToolCall)] == [call.arguments]


async def test_what_is_left_of_an_answer_is_in_the_pieces_that_it_was_in(tmp_path: Path) -> None:
    await record(tmp_path, ask("hi"), ["My key is sk-", "abc", "defgh", "1 or", " so."])
    events = await replay(tmp_path, ask("hi"))
    assert [e.text for e in events if isinstance(e, TextDelta)] == ["My key is [key]", " or", " so."]


async def test_text_is_one_text_though_the_model_thinks_between(tmp_path: Path) -> None:
    await record(tmp_path, ask("hi"), ["a sk-abc", ReasoningDelta("hm"), "defgh1 b"])
    assert said(await replay(tmp_path, ask("hi"))) == "a [key] b"


async def test_thinking_is_one_text_up_to_its_seal(tmp_path: Path) -> None:
    seal = ReasoningSealed(Seal("x", "y"))
    thought = [ReasoningDelta("a sk-"), ReasoningDelta("abcd"), seal, ReasoningDelta("efgh1 b")]
    await record(tmp_path, ask("hi"), [*thought, "c"])
    events = await replay(tmp_path, ask("hi"))
    assert events[:4] == thought, "neither of the two is a key"


async def test_a_conversation_with_keys_in_it_goes_on_from_what_was_recorded(tmp_path: Path) -> None:
    """The recorded one had the key in its answer; the one that is played has what stands in its place."""

    def request(said: Callable[[str], str]) -> ModelRequest:
        arguments = json.dumps({"city": said("sk-abcdefgh1")})
        answer = (Reasoning(said("hm, sk-abcdefgh1")), Text(said("So sk-abcdefgh1.")), ToolCall("c", "f", arguments))
        return ModelRequest(
            summary=said("They had AIzaSyA0123456789."),
            citations=[Citation("notes", said("Bearer abc.def"))],
            messages=[
                *ask("mine is sk-abcdefgh1").messages,
                PromptMessage("assistant", answer),
                PromptMessage("tool", (ToolResult("c", said("sk-abcdefgh1 is bad")),)),
            ],
        )

    await record(tmp_path, request(str), ["fine"])
    assert request(str) != request(scrubbed)
    assert said(await replay(tmp_path, request(scrubbed))) == "fine"


async def test_nothing_of_a_prompt_or_of_settings_is_in_a_recording(tmp_path: Path) -> None:
    secret = "mine-alone-0123456789"
    async with serve() as upstream:
        upstream.play(*text("fine"))
        section = {
            "model": "m-1",
            "base_url": upstream.base_url,
            "api_key": secret,
            "headers": {"X-Mine": "header-word"},
        }
        request = ModelRequest(
            system="instructed-word", messages=[PromptMessage("user", (Text("asked-word"),))], caller="called-word"
        )
        async with open_openai(SettingsSchema(OPENAI).load(section)) as inner, recording(tmp_path, inner) as provider:
            assert said(await collect(provider, request)) == "fine"
    found = written(tmp_path)
    assert "fine" in found
    for word in (secret, "header-word", "instructed-word", "asked-word", "called-word", upstream.base_url):
        assert word not in found


async def test_a_refusal_repeats_nothing_of_the_request(tmp_path: Path) -> None:
    await record(tmp_path, ask("the recorded words"), ["fine"])
    request = ModelRequest(system="instructed", messages=ask("the asked words").messages, model="named-model")
    with pytest.raises(ProviderRejected) as caught:
        await replay(tmp_path, request)
    for word in ("recorded words", "asked words", "instructed", "named-model"):
        assert word not in str(caught.value)


PIECES = st.lists(
    st.sampled_from(
        ["sk-", "abcdefgh", "-", " ", "Bearer", "AIza", "0123456789", "eyJ", "a", ".", "[key]", "key_", "\n"]
    ),
    max_size=12,
)


@given(PIECES)
def test_pieces_are_scrubbed_as_the_text_that_they_make(pieces: list[str]) -> None:
    events: list[ProviderEvent] = [*map(TextDelta, pieces), Finish("stop")]
    heard = scrubbed_events([Heard(0.25, event) for event in events])
    texts = [h.event.text for h in heard if isinstance(h.event, TextDelta)]
    assert "".join(texts) == scrubbed("".join(pieces))
    assert all(texts)
    assert sum([h.after for h in heard]) == 0.25 * len(events), "it takes the time that it took"


@given(PIECES)
def test_what_was_scrubbed_is_recognised(pieces: list[str]) -> None:
    """Else a conversation that was played could not go on."""
    once = scrubbed("".join(pieces))
    assert scrubbed(once) == once
