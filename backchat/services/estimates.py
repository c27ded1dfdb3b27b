"""How many tokens a call took whose provider did not say: the length of its texts, divided by four; or none."""

from __future__ import annotations

from collections.abc import Sequence

from backchat.domain.message import Reasoning, Text, ToolCall, ToolResult
from backchat.errors import ProviderError
from backchat.ports.providers import ModelRequest, PromptPart

CHARACTERS = 4
"""Characters of text that make a token, as the services themselves say for English."""


def costs_nothing(error: BaseException) -> bool:
    """Whether a call that ended with this, and of which nothing had come, was never made as far as money goes.

    It was if the service was at work on it, or may have been: also where this side gave it up or broke.
    """
    return isinstance(error, ProviderError) and not error.at_work


def tokens_of(characters: int) -> int:
    """Tokens of so much text, rounded up."""
    return -(-characters // CHARACTERS)


def tokens_asked(request: ModelRequest) -> int:
    """Tokens of what a model is asked: instructions, messages, calls and results; images and tools are not counted.

    What was put into the prompt as citations counts. It is rounded once, for the whole request.
    """
    characters = len(request.system) + len(request.summary) + sum([len(c.text) for c in request.citations])
    return tokens_of(characters + sum([_length(p) for m in request.messages for p in m.parts]))


def _length(part: PromptPart) -> int:
    match part:
        case Text(text) | Reasoning(text):
            return len(text)
        case ToolCall():
            return len(part.arguments)
        case ToolResult():
            return len(part.content)
    return 0


def tokens_said(texts: Sequence[str]) -> int:
    """Tokens of what a model has said: text, reasoning, arguments of calls; rounded once, for all of them."""
    return tokens_of(sum(map(len, texts)))
