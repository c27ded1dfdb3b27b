"""Prompts as all services take them: large ones, names of tools, images of an answer."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

from backchat.domain.message import Reasoning, Seal, Text, ToolCall, ToolResult
from backchat.errors import ProviderRejected
from backchat.ports.providers import FileData, ImageData, LLMProvider, ModelRequest, PromptMessage, PromptPart
from backchat.testing.provider import ask, collect
from backchat.upstream.bodies import LARGE, made_of
from backchat.upstream.histories import carried, object_of
from backchat.upstream.names import ToolNames
from backchat.upstream.seals import has_seals, signer, without_seals
from backchat_anthropic import provider as anthropic_module
from backchat_anthropic.settings import SettingsSchema as AnthropicSchema
from backchat_google import provider as google_module
from backchat_google.settings import SettingsSchema as GoogleSchema
from backchat_ollama import provider as ollama_module
from backchat_ollama.settings import SettingsSchema as OllamaSchema
from backchat_openai import provider as openai_module
from backchat_openai.settings import OPENAI, SettingsSchema

SEAL = Seal("m", "x" * LARGE)
IMAGE, PDF = ImageData("image/png", b"1"), FileData("a.pdf", "application/pdf", b"2")


def user(*parts: PromptPart) -> PromptMessage:
    return PromptMessage("user", parts)


def assistant(*parts: PromptPart) -> PromptMessage:
    return PromptMessage("assistant", parts)


# ---- large ones


def thread_of(request: ModelRequest) -> int:
    return threading.get_ident()


@pytest.mark.parametrize(
    "part",
    [
        Text("x" * LARGE),
        ImageData("image/png", b"x" * LARGE),
        FileData("a", "application/pdf", b"x" * LARGE),
        ToolResult("c", "x" * LARGE),
        ToolCall("c", "f", "x" * LARGE),
        ToolCall("c", "f", "{}", SEAL),
        Reasoning("x" * LARGE),
        Reasoning("", SEAL),
    ],
    ids=lambda part: type(part).__name__,
)
async def test_a_large_prompt_is_made_beside_the_loop(part: PromptPart) -> None:
    small = [user(Text("hi")), assistant(Reasoning("hm"), ToolCall("c", "f", "{}"))]
    assert await made_of(ModelRequest(messages=small), thread_of) == threading.get_ident()
    assert await made_of(ModelRequest(messages=[*small, user(part)]), thread_of) != threading.get_ident()


Opening = Callable[[Any], AbstractAsyncContextManager[LLMProvider]]


@pytest.mark.parametrize(
    ("module", "opening", "settings", "name"),
    [
        (anthropic_module, anthropic_module.open_anthropic, AnthropicSchema().load({"model": "m"}), "encode"),
        (google_module, google_module.open_google, GoogleSchema().load({"model": "m"}), "encode"),
        (ollama_module, ollama_module.open_ollama, OllamaSchema().load({"model": "m", "vision": True}), "encode"),
        (openai_module, openai_module.open_openai, SettingsSchema(OPENAI).load({"model": "m"}), "dumped"),
    ],
    ids=["anthropic", "google", "ollama", "openai"],
)
async def test_every_provider_makes_a_large_one_there(
    monkeypatch: pytest.MonkeyPatch, module: Any, opening: Opening, settings: Any, name: str
) -> None:
    threads: list[int] = []

    def refuse(*_: object) -> bytes:
        threads.append(threading.get_ident())
        raise ProviderRejected("far enough")

    monkeypatch.setattr(module, name, refuse)
    large = ModelRequest(messages=[user(Text("look"), ImageData("image/png", b"x" * LARGE))])
    async with opening(settings) as provider:
        for request in (ask("hi"), large):
            with pytest.raises(ProviderRejected, match="far enough"):
                await collect(provider, request)
    small, other = threads
    assert small == threading.get_ident() != other


# ---- names of tools


@pytest.mark.parametrize(
    ("names", "name", "there"),
    [
        (ToolNames(64), "get_weather-2", "get_weather-2"),
        (ToolNames(64), "9", "9"),
        (ToolNames(64), "fs.read:x", "fs_read_x"),
        (ToolNames(64), "n" * 65, "n" * 64),
        (ToolNames(64), "n" * 64, "n" * 64),
        (ToolNames(64), "\u00e9t\u00e9 \n", "_t___"),
        (ToolNames(64), "", "_"),
        (ToolNames(9, ".:", worded=True), "fs.read:x", "fs.read:x"),
        (ToolNames(9, ".:", worded=True), "9lives", "_9lives"),
        (ToolNames(9, ".:", worded=True), "9lives of a cat", "_9lives_o"),
    ],
)
def test_names_are_made_to_fit(names: ToolNames, name: str, there: str) -> None:
    assert names.there(name) == there
    assert names.there(there) == there


def test_names_that_were_changed_are_found_again() -> None:
    assert ToolNames(8).changed(["a.b", "c", "toolong_by_far", "c"]) == {"a_b": "a.b", "toolong_": "toolong_by_far"}


def test_names_that_cannot_be_told_apart_are_refused() -> None:
    with pytest.raises(ProviderRejected, match="same to the model service"):
        ToolNames(8).changed(["a.b", "a:b"])


# ---- histories


def shown(messages: Sequence[PromptMessage]) -> list[tuple[str, tuple[PromptPart, ...]]]:
    return [(m.role, m.parts) for m in messages]


def test_what_an_answer_shows_goes_to_the_users_next_message() -> None:
    call, result = ToolCall("c", "f", "{}"), PromptMessage("tool", (ToolResult("c", "r"),))
    made = carried(
        [user(PDF), assistant(Text("here"), IMAGE), assistant(PDF, call), result, user(Text("and?")), user(IMAGE)]
    )
    assert shown(list(made)) == [
        ("user", (PDF,)),
        ("assistant", (Text("here"),)),
        ("assistant", (call,)),
        ("tool", result.parts),
        ("user", (IMAGE, PDF, Text("and?"))),
        ("user", (IMAGE,)),
    ]


def test_what_nobody_has_answered_comes_last() -> None:
    assert shown(list(carried([assistant(IMAGE), PromptMessage("system", (Text("s"),))]))) == [
        ("assistant", ()),
        ("system", (Text("s"),)),
        ("user", (IMAGE,)),
    ]


@pytest.mark.parametrize(
    ("arguments", "made"),
    [
        ('{"a": 1}', {"a": 1}),
        ("", {}),
        ("  ", {}),
        ("[1]", {"arguments": [1]}),
        ('{"a', {"arguments": '{"a'}),
        ('{"a": NaN}', {"arguments": '{"a": NaN}'}),
    ],
)
def test_arguments_become_an_object(arguments: str, made: dict[str, Any]) -> None:
    assert object_of(arguments) == made


# ---- seals


def test_a_prompt_without_seals() -> None:
    call = ToolCall("c", "f", "{}", SEAL)
    messages = [assistant(Reasoning("hm", SEAL), Reasoning("aloud"), Text("a"), call), user(Text("q"))]
    bare = without_seals(ModelRequest(messages=messages, system="s"))
    assert shown(bare.messages) == [
        ("assistant", (Reasoning("aloud"), Text("a"), ToolCall("c", "f", "{}"))),
        ("user", (Text("q"),)),
    ]
    assert bare.system == "s"


def test_whether_there_are_seals() -> None:
    for part in (Reasoning("", SEAL), ToolCall("c", "f", "{}", SEAL)):
        request = ModelRequest(messages=[user(Text("q")), assistant(part)])
        assert (has_seals(request, "m"), has_seals(request, "n")) == (True, False)
    assert not has_seals(ModelRequest(messages=[assistant(Reasoning("hm"), ToolCall("c", "f", "{}"))]), "m")


def test_who_signs() -> None:
    urls = ["http://h:8001/v1", "http://h:8002/v1", "http://h:8001/other", "http://g:8001/v1"]
    signers = [signer(url, model) for url in urls for model in ("a", "b")]
    assert len(set(signers)) == 8
    assert signer("http://h:8001/v1/", "a") == signers[0]
