"""The learning port: what is worth remembering of a user's words, and what becomes of what is remembered already."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from backchat.domain.memory import Recalled
from backchat.ports.component import Component

Ask = Callable[[str, str, Mapping[str, Any]], Awaitable[str]]
"""Ask the model: instructions, text, JSON schema of the wanted object. Answers its words, JSON or not.

Raises ``ProviderError``.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesson:
    """One turn to learn from.

    said      the user's own words of the turn and nothing else: no instructions, tool output, documents or memories
    similar   the remembered facts nearest to a text, best first: ``await similar(text, limit)``
    ask       asks the model that answered the turn; None if it does not follow instructions
    extraction_prompt, update_prompt   the assistant's own, instead of the learner's
    """

    said: str
    similar: Callable[[str, int], Awaitable[Sequence[Recalled]]]
    ask: Ask | None
    extraction_prompt: str | None = None
    update_prompt: str | None = None


@dataclass(frozen=True, slots=True)
class Learned:
    """A fact. ``replaces`` is the id of the memory that it supersedes; None adds one."""

    content: str
    replaces: str | None = None


@dataclass(frozen=True, slots=True)
class Unlearned:
    """A memory that no longer holds."""

    id: str


class Learner(Protocol):
    """Test one by subclassing ``backchat.testing.learning.LearnerContract``."""

    async def learn(self, lesson: Lesson) -> Sequence[Learned | Unlearned]:
        """What changes. Facts that are known already are left out. Raises ``ProviderError``."""
        ...


OpenLearner = Callable[[Any], AbstractAsyncContextManager[Learner]]
LearnerBackend = Component[OpenLearner]
