"""What the replies of a conversation are asked with, unless a message says otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How a model chooses its words; None is the model's own. ``parameters`` are the provider's, by its names."""

    temperature: float | None = None
    max_tokens: int | None = None
    top_p: float | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)


PLAIN_SAMPLING = Sampling()


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSettings:
    """The settings of a conversation.

    provider  name of a configured provider; None: the server's default
    model     one of its models; None: the one it is configured with
    system    instructions for the model
    memory    name of the memory strategy for its prompts; None: the assistant's, else the server's default
    agent     who makes the replies: ``none`` is the server's own loop, others are plugins. Either works with the
              server's tools; None: the loop, without them
    """

    provider: str | None = None
    model: str | None = None
    system: str = ""
    sampling: Sampling = PLAIN_SAMPLING
    agent: str | None = None
    memory: str | None = None
