"""What a caller says, as the verbs of ``backchat.services.turns`` take it."""

from __future__ import annotations

import hashlib
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from backchat.domain.assistant import Assistant, definitions_of
from backchat.domain.identity import Identity
from backchat.domain.message import File
from backchat.domain.recipe import Effort, MemoryMode, Recipe
from backchat.domain.settings import PLAIN_SAMPLING, ModelSettings, Sampling
from backchat.errors import InvalidInput, NotConfigured, NoVision
from backchat.ports.providers import ImageData
from backchat.services.providers import Configured, Providers
from backchat.services.toolbox import BUILT_IN, Toolbox


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
    """What a user says. Where it says None of how to answer, the settings of the conversation hold.

    conversation  id of the one to continue; None starts a new one on ``channel``, with ``assistant`` if given
    provider      word for a configured provider; None, also in the settings: the server's default
    model         a model of that provider; None: the one it is configured with
    system        instructions instead of the assistant's; None: the assistant's, if the conversation has one
    sampling      how the model chooses its words;  ``parameters`` are put on top of those in it
    agent         who makes the reply, with the server's tools: ``none`` is the server's own loop
    web           with the server's tools that look things up in the web, if it has any
    strategy      name of the memory strategy; None: the assistant's, else the server's default
    manner        instructions on top of those
    tools         function tools in their wire form instead of the assistant's; None: the assistant's
    takes_tools   the caller runs the tools that the model calls; without that it is offered none
    confirms      the caller can ask a user whether a call of the server's tools is allowed; without that it is offered
                  none of those that must be
    files         documents of the conversation that came with the message
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
    sampling: Sampling | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    agent: str | None = None
    web: bool = False
    strategy: str | None = None
    tools: Sequence[Mapping[str, Any]] | None = None
    takes_tools: bool = False
    confirms: bool = False
    reasoning: Effort | None = None
    json_output: bool = False
    memory: MemoryMode = "off"
    cite: bool = False
    images: Sequence[ImageData] = ()
    files: Sequence[File] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)
    channel: str = "web"
    busy: Literal["wait", "refuse", "replace"] = "wait"
    once: Once | None = None


def settled(providers: Providers, say: Say, settings: ModelSettings) -> Say:
    """What is said, with the conversation's settings where it leaves them open. A model goes with its provider."""
    model = say.model
    if model is None and (say.provider is None or _same(providers, say.provider, settings.provider)):
        model = settings.model
    sampling = settings.sampling if say.sampling is None else say.sampling
    if say.parameters:
        sampling = replace(sampling, parameters={**sampling.parameters, **say.parameters})
    return replace(
        say,
        provider=settings.provider if say.provider is None else say.provider,
        model=model,
        system=settings.system or None if say.system is None else say.system,
        sampling=sampling,
        agent=settings.agent if say.agent is None else say.agent,
        strategy=settings.memory if say.strategy is None else say.strategy,
    )


def _same(providers: Providers, word: str, other: str | None) -> bool:
    """Whether both are words for one provider; None is the default's."""
    return providers.find(word) is providers.find(providers.default if other is None else other)


def candidates(providers: Providers, agents: Container[str], say: Say) -> Sequence[Configured]:
    """Who is asked, in order, for what is said as ``settled``.

    Raises NotConfigured, and what ``_refuse`` does for the first of them.
    """
    if say.agent not in (None, BUILT_IN) and say.agent not in agents:
        raise NotConfigured(f"the agent {say.agent!r} is not configured on this server")
    chosen = providers.choose(say.provider)
    _refuse(chosen, say)
    others = [c for c in providers.candidates(chosen) if c is not chosen]
    return [chosen, *(c for c in others if _can(c, say))]


def _can(fallback: Configured, say: Say) -> bool:
    """Whether it is worth asking: it would refuse what its model cannot do."""
    able = fallback.provider.abilities
    return (
        all(able.sees(image.mime) for image in say.images)
        and (able.reasoning or say.reasoning is None)
        and (able.json_output or not say.json_output)
    )


def _refuse(chosen: Configured, say: Say) -> None:
    """Raises NoVision or InvalidInput for what the model, or the agent, cannot do."""
    able = chosen.provider.abilities
    if say.images and not able.vision:
        raise NoVision(f"the model of provider {chosen.name!r} cannot see images")
    if unseen := [image.mime for image in say.images if not able.sees(image.mime)]:
        raise NoVision(f"the model of provider {chosen.name!r} cannot see images of the type {unseen[0]}")
    if say.reasoning is not None and not able.reasoning:
        raise InvalidInput(f"the model of provider {chosen.name!r} cannot show its thinking", field="body.thinking")
    if say.json_output and not able.json_output:
        problem = f"the model of provider {chosen.name!r} cannot be held to JSON"
        raise InvalidInput(problem, field="body.json_output")
    if say.tools and say.takes_tools:
        if not able.tools:
            raise InvalidInput(f"the model of provider {chosen.name!r} cannot call tools", field="body.tools")
        if _by_agent(say):
            raise InvalidInput(f"the agent {say.agent!r} works with the server's tools only", field="body.tools")


def _by_agent(say: Say) -> bool:
    return say.agent not in (None, BUILT_IN)


def recipe(say: Say, asked: Sequence[Configured], assistant: Assistant | None, toolbox: Toolbox) -> Recipe:
    """What the reply is asked with, of what is said as ``settled``.

    Left out are an assistant's tools for a model that cannot call any, or where an agent answers; and the server's for
    such a model. Where tools are offered, no fallback is asked that cannot call any. A JSON object is asked for only
    where the answer is not made with tools of the client's or with the web: words and calls come between.
    """
    system = say.system if say.system is not None else (assistant.system if assistant else None)
    tools = say.tools if say.tools is not None else (assistant.tools if assistant else ())
    able = asked[0].provider.abilities.tools
    offered = definitions_of(tuple(tools)) if say.takes_tools and able and not _by_agent(say) else ()
    own = toolbox.names(agent=say.agent, web=say.web) if able else ()
    own = tuple([name for name in own if say.confirms or not toolbox.waits(name)])
    return Recipe(
        providers=tuple([c.name for c in asked if c.provider.abilities.tools or not (offered or own)]),
        model=say.model,
        system="\n\n".join([text for text in (system, say.manner) if text]),
        tools=offered,
        reasoning=say.reasoning,
        json_output=say.json_output and not offered and not (say.web and _of_web(own, toolbox)),
        memory=say.memory if assistant else "off",
        assistant=assistant.id if assistant else None,
        cite=say.cite,
        sampling=say.sampling or PLAIN_SAMPLING,
        agent=say.agent or BUILT_IN,
        server_tools=own,
        strategy=say.strategy or (assistant.memory if assistant else None),
    )


def _of_web(names: Sequence[str], toolbox: Toolbox) -> bool:
    return any(tool.web for tool in toolbox.definitions(names))


def notes(say: Say, recipe: Recipe, toolbox: Toolbox) -> Sequence[str]:
    """Lines for the reader of the stream, before the answer: what was wished for and is not to be had."""
    if not say.web or _of_web(recipe.server_tools, toolbox):
        return ()
    if not toolbox.searches:
        return ["Web search is not set up on this server; answering without it."]
    return ["Web search cannot be used for this answer; answering without it."]
