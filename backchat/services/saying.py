"""What a caller says, as the verbs of ``backchat.services.turns`` take it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from backchat.domain.assistant import Assistant, definitions_of
from backchat.domain.identity import Identity
from backchat.domain.message import File
from backchat.domain.recipe import Effort, MemoryMode, Recipe
from backchat.errors import InvalidInput, NoVision
from backchat.ports.providers import ImageData
from backchat.services.providers import Configured, Providers


@dataclass(frozen=True, slots=True)
class Once:
    """An Idempotency-Key and a digest of the request it came with. Equal keys of one user start one run."""

    key: str
    fingerprint: str

    def id(self, who: Identity) -> str:
        """Where the key is kept."""
        return hashlib.sha256(f"{who.user}\0{self.key}".encode()).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Say:
    """What a user says.

    conversation  id of the one to continue; None starts a new one on ``channel``, with ``assistant`` if given
    provider      word for a configured provider; None: the server's default
    model         a model of that provider; None: the one it is configured with
    system        instructions instead of the assistant's; None: the assistant's, if the conversation has one
    manner        instructions on top of those
    tools         function tools in their wire form instead of the assistant's; None: the assistant's
    takes_tools   the caller runs the tools that the model calls; without that it is offered none
    files         documents of the conversation that came with the message
    notes         lines for the reader of the stream, before the answer
    options       kept with the run;  ``metadata`` with the message
    busy          what to do while a reply is running: wait for it, refuse, or replace it
    """

    text: str
    conversation: str | None = None
    assistant: str | None = None
    provider: str | None = None
    model: str | None = None
    system: str | None = None
    manner: str = ""
    tools: Sequence[Mapping[str, Any]] | None = None
    takes_tools: bool = False
    reasoning: Effort | None = None
    json_output: bool = False
    memory: MemoryMode = "off"
    cite: bool = False
    images: Sequence[ImageData] = ()
    files: Sequence[File] = ()
    notes: Sequence[str] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)
    channel: str = "web"
    busy: Literal["wait", "refuse", "replace"] = "wait"
    once: Once | None = None


def candidates(providers: Providers, say: Say) -> Sequence[Configured]:
    """Who is asked, in order. Raises NotConfigured, and what ``_refuse`` does for the first of them."""
    chosen = providers.choose(say.provider)
    _refuse(chosen, say)
    others = [c for c in providers.candidates(chosen) if c is not chosen]
    return [chosen, *(c for c in others if c.provider.abilities.vision or not say.images)]


def _refuse(chosen: Configured, say: Say) -> None:
    """Raises NoVision or InvalidInput for what the model cannot do."""
    able = chosen.provider.abilities
    if say.images and not able.vision:
        raise NoVision(f"the model of provider {chosen.name!r} cannot see images")
    if say.reasoning is not None and not able.reasoning:
        raise InvalidInput(f"the model of provider {chosen.name!r} cannot show its thinking", field="body.thinking")
    if say.tools and say.takes_tools and not able.tools:
        raise InvalidInput(f"the model of provider {chosen.name!r} cannot call tools", field="body.tools")


def recipe(say: Say, asked: Sequence[Configured], assistant: Assistant | None) -> Recipe:
    """What the reply is asked with. An assistant's tools are left out for a model that cannot call any."""
    system = say.system if say.system is not None else (assistant.system if assistant else None)
    tools = say.tools if say.tools is not None else (assistant.tools if assistant else ())
    offered = say.takes_tools and asked[0].provider.abilities.tools
    return Recipe(
        providers=tuple([c.name for c in asked]),
        model=say.model,
        system="\n\n".join([text for text in (system, say.manner) if text]),
        tools=definitions_of(tuple(tools)) if offered else (),
        reasoning=say.reasoning,
        json_output=say.json_output,
        memory=say.memory if assistant else "off",
        assistant=assistant.id if assistant else None,
        cite=say.cite,
    )
