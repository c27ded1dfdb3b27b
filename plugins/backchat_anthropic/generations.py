"""What a model takes, by its name: what Claude accepts has changed from one generation to the next.

Sources: https://platform.claude.com/docs/en/build-with-claude/thinking-troubleshooting (forms of thinking),
https://platform.claude.com/docs/en/about-claude/models/whats-new-claude-4-7 (sampling),
https://platform.claude.com/docs/en/build-with-claude/preserved-thinking (thinking bound to its conversation)
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from backchat_anthropic.settings import Settings

_NUMBER = re.compile(r"(?<![a-z0-9])\d{1,2}(?![0-9])")
_LAST_WITH_BUDGET = (4, 5)
_LAST_SAMPLED = (4, 6)
_FIRST_BOUND = (5, 1)
_UNNUMBERED = (5, 0)


@dataclass(frozen=True, slots=True)
class Generation:
    """thinking  how a model is asked to think
    sampled   it takes temperature, top_p and top_k;  either  but only one of the first two
    bound     it refuses its own thinking once anything before that has changed, unless it is told to pass it over
    """

    thinking: Literal["adaptive", "budget"]
    sampled: bool
    either: bool
    bound: bool


def generation(model: str, settings: Settings) -> Generation:
    """Of the model with this name; what is configured holds before what the name says.

    Claude without a number is one of the later ones (``claude-mythos-preview``). Models that are not called Claude are
    those of other services, which took over the protocol of Claude 3 and 4.
    """
    _, claude, rest = model.lower().rpartition("claude")
    version = _version(rest) if claude else (0, 0)
    thinking: Literal["adaptive", "budget"] = "adaptive" if version > _LAST_WITH_BUDGET else "budget"
    return Generation(
        thinking=thinking if settings.thinking == "auto" else settings.thinking,
        sampled=version <= _LAST_SAMPLED if settings.sampling == "auto" else settings.sampling == "always",
        either=bool(claude),
        bound=version >= _FIRST_BOUND,
    )


def _version(name: str) -> tuple[int, int]:
    """Of ``-sonnet-4-5-20250929``, ``-3.7-sonnet``, ``-opus-5``; a date is no part of it."""
    numbers = [int(n) for n in _NUMBER.findall(name)]
    return (numbers[0], numbers[1] if len(numbers) > 1 else 0) if numbers else _UNNUMBERED
