"""A plugin that takes part in everything, and keeps all that it is given."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import fields, is_dataclass
from typing import Any, BinaryIO

from marshmallow import RAISE, Schema

from backchat.domain.identity import Identity
from backchat.domain.tool import ToolDefinition
from backchat.hookspecs import hookimpl
from backchat.ports.agents import AgentBackend, AgentTurn
from backchat.ports.auth import AuthenticatorBackend, Credentials
from backchat.ports.component import Component
from backchat.ports.embedding import EmbedderBackend
from backchat.ports.extraction import Extractor
from backchat.ports.importing import Importer, Shape, SourceConversation, Unreadable
from backchat.ports.learning import Learned, LearnerBackend, Lesson, Unlearned
from backchat.ports.memory import Ask, History, MemoryBackend, Shown, Summary
from backchat.ports.providers import ProviderBackend
from backchat.ports.storage import Change, Kind, OnCommit, StorageBackend
from backchat.ports.tools import ToolBackend
from backchat.ports.transcription import Audio, TranscriberBackend, Transcript
from backchat.testing.memory_store import MemoryStore
from backchat.testing.provider import ScriptedProvider

NAME = "spy"
ALL_DIALECTS = ("chat", "threads", "convos", "workspaces", "vault")
CONFIG: Mapping[str, Any] = {
    "storage": {"use": NAME},
    "providers": {"scripted": {"use": "scripted"}},
    "memory": {"use": NAME},
    "learning": {"use": NAME},
    "embedders": {NAME: {"use": NAME}},
    "transcription": {"use": NAME},
    "auth": [{"use": NAME}, {"use": "apikey"}],
    "tools": [NAME],
    "agents": [NAME],
    "dialects": list(ALL_DIALECTS),
}


class Spy:
    """``heard`` is what was given to each hook and to what it offers, by the hook's name, as text."""

    name = model = NAME
    dimensions, context = 2, 0
    definition = ToolDefinition("spy", "Nothing.", {"type": "object"})

    def __init__(self) -> None:
        self.heard: dict[str, list[str]] = {}
        self.provider = ScriptedProvider(["ok"])

    def hears(self, hook: str, *given: object) -> None:
        self.heard.setdefault(hook, []).append(repr(_all_of(given)))

    def holding(self, *words: str) -> set[str]:
        """The hooks that were given one of these words."""
        heard = {**self.heard, "backchat_providers": [repr(_all_of(self.provider.requests))]}
        return {hook for hook, given in heard.items() for text in given if any(word in text for word in words)}

    @asynccontextmanager
    async def _self(self, settings: object, *_: object) -> AsyncIterator[Spy]:
        yield self

    @asynccontextmanager
    async def _store(self, settings: object, kinds: Sequence[Kind], on_commit: OnCommit) -> AsyncIterator[MemoryStore]:
        yield _SpiedStore(kinds, on_commit, lambda *given: self.hears("backchat_storages", *given))

    @asynccontextmanager
    async def _tools(self, settings: object) -> AsyncIterator[Sequence[Spy]]:
        yield [self]

    def _offered(self, open: Any) -> list[Component[Any]]:
        return [Component(NAME, Schema(unknown=RAISE), open)]

    # ---- per request ------------------------------------------------------------------------------------------------

    @hookimpl
    def backchat_authorize(self, who: object, action: object, standing: object, thing: object) -> None:
        self.hears("backchat_authorize", who, action, standing, thing)

    async def identify(self, credentials: Credentials) -> Identity | None:
        self.hears("backchat_authenticators", credentials, credentials.token)
        return None

    async def select(self, history: History) -> Shown:
        latest = await history.latest(100)
        self.hears("backchat_memories", latest)
        return Shown(latest, due=True)

    async def review(self, history: History, ask: Ask) -> Summary | None:
        self.hears("backchat_memories", await history.latest(100))
        return None

    async def learn(self, lesson: Lesson) -> Sequence[Learned | Unlearned]:
        self.hears("backchat_learners", lesson)
        return [Learned(lesson.said)]

    async def embed(self, texts: Sequence[str], purpose: str) -> Sequence[bytes]:
        self.hears("backchat_embedders", texts)
        return [b"\0\0\x80?\0\0\0\0"] * len(texts)

    async def run(self, arguments: Mapping[str, Any]) -> str:
        self.hears("backchat_tools", arguments)
        return ""

    async def answer(self, turn: AgentTurn) -> None:
        self.hears("backchat_agents", turn.messages)
        async for _ in turn.ask(turn.messages):
            pass

    async def transcribe(self, audio: Audio) -> Transcript:
        self.hears("backchat_transcribers", audio)
        return Transcript("")

    def recognises(self, shape: Shape) -> bool:
        self.hears("backchat_importers", shape)
        return False

    def read(self, file: BinaryIO) -> Any:
        self.hears("backchat_importers", file)
        return iter(list[SourceConversation | Unreadable]())

    # ---- offered ----------------------------------------------------------------------------------------------------

    @hookimpl
    def backchat_storages(self) -> Sequence[StorageBackend]:
        return self._offered(self._store)

    @hookimpl
    def backchat_providers(self) -> Sequence[ProviderBackend]:
        return self.provider.backchat_providers()

    @hookimpl
    def backchat_memories(self) -> Sequence[MemoryBackend]:
        return self._offered(self._self)

    @hookimpl
    def backchat_learners(self) -> Sequence[LearnerBackend]:
        return self._offered(self._self)

    @hookimpl
    def backchat_embedders(self) -> Sequence[EmbedderBackend]:
        return self._offered(self._self)

    @hookimpl
    def backchat_authenticators(self) -> Sequence[AuthenticatorBackend]:
        return self._offered(self._self)

    @hookimpl
    def backchat_tools(self) -> Sequence[ToolBackend]:
        return self._offered(self._tools)

    @hookimpl
    def backchat_agents(self) -> Sequence[AgentBackend]:
        return self._offered(self._self)

    @hookimpl
    def backchat_transcribers(self) -> Sequence[TranscriberBackend]:
        return self._offered(self._self)

    @hookimpl
    def backchat_importers(self) -> Sequence[Importer]:
        return [self]

    @hookimpl
    def backchat_extractors(self) -> Sequence[Extractor]:
        return [Extractor(NAME, (".spy",), "vault_spy:extracted")]


def _all_of(value: object) -> object:
    """What is in it, also what its ``repr`` keeps back."""
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: _all_of(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, Mapping):
        return {name: _all_of(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_all_of(inner) for inner in value]
    return value


def extracted(data: bytes, name: str) -> Any:
    raise AssertionError("nobody has uploaded anything")


class _SpiedStore(MemoryStore):
    def __init__(self, kinds: Sequence[Kind], on_commit: OnCommit, hears: Callable[..., None]) -> None:
        super().__init__(kinds, on_commit)
        self._hears = hears

    async def get(self, kind: str, id: str) -> Any:
        self._hears(kind, id)
        return await super().get(kind, id)

    async def find(self, query: Any) -> Any:
        self._hears(query)
        return await super().find(query)

    async def count(self, query: Any) -> int:
        self._hears(query)
        return await super().count(query)

    async def values(self, query: Any, field: str) -> Any:
        self._hears(query, field)
        return await super().values(query, field)

    async def apply(self, changes: Sequence[Change]) -> None:
        self._hears(changes)
        await super().apply(changes)
