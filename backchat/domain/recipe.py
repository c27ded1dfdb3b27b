"""What a reply is asked with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from backchat.domain.settings import PLAIN_SAMPLING, Sampling
from backchat.domain.tool import ToolDefinition

MemoryMode = Literal["off", "read", "write"]
Effort = Literal["low", "medium", "high"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Everything that shapes a reply besides the conversation; kept with its run, which may go on after a restart.

    providers   names of the configured providers to ask, in order; the later ones are fallbacks
    model       a model of the first provider; None: the one each is configured with
    system      instructions for the model
    tools       tools that the client runs: when the model calls one, the run waits for the client's outputs
    memory      off; read: what is remembered is shown to the model; write: and the user's words are learned from
    assistant   whose documents and memories ground the reply; None: it is not grounded
    cite        ask the model to mark what it took from memories and passages, as ``[n]``
    sampling    how the model chooses its words
    agent       who makes the reply: ``none`` is the server's own loop
    server_tools  names of the server's tools that the model may call
    strategy    name of the memory strategy that chooses what the model is shown; None: the server's default
    """

    providers: tuple[str, ...]
    model: str | None = None
    system: str = ""
    tools: tuple[ToolDefinition, ...] = ()
    reasoning: Effort | None = None
    json_output: bool = False
    memory: MemoryMode = "off"
    assistant: str | None = None
    cite: bool = False
    sampling: Sampling = PLAIN_SAMPLING
    agent: str = "none"
    server_tools: tuple[str, ...] = ()
    strategy: str | None = None

    @property
    def own_tools(self) -> Sequence[str]:
        """The server's among the tools that are offered: of two with one name, it is the client's."""
        clients = [tool.name for tool in self.tools]
        return [name for name in self.server_tools if name not in clients]
