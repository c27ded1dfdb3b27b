"""How many tokens a call took whose provider did not say: the length of its texts, divided by four; or none.

Images and documents are counted by rules of thumb: no two services count them alike.
"""

from __future__ import annotations

from collections.abc import Sequence

from backchat.domain.message import Reasoning, Text, ToolCall, ToolResult
from backchat.errors import ProviderError
from backchat.ports.providers import FileData, ImageData, ModelRequest, PromptPart

CHARACTERS = 4
"""Characters of text that make a token, as the services themselves say for English."""
IMAGE = 1000
"""Tokens of an image, whatever its size. One of a megapixel is about 1,330 for Claude (width times height by 750,
https://docs.claude.com/en/docs/build-with-claude/vision), 765 for GPT-4o
(https://platform.openai.com/docs/guides/images-vision), and four tiles of 258 for Gemini
(https://ai.google.dev/gemini-api/docs/image-understanding)."""
PAGE = 1500
"""Tokens of a page of a document that is shown as it is: the least of what Claude takes for the text of one
(https://docs.claude.com/en/docs/build-with-claude/pdf-support); Gemini says 258
(https://ai.google.dev/gemini-api/docs/document-processing)."""


def costs_nothing(error: BaseException) -> bool:
    """Whether a call that ended with this, and of which nothing had come, was never made as far as money goes.

    It was if the service was at work on it, or may have been: also where this side gave it up or broke.
    """
    return isinstance(error, ProviderError) and not error.at_work


def tokens_of(characters: int) -> int:
    """Tokens of so much text, rounded up."""
    return -(-characters // CHARACTERS)


def tokens_asked(request: ModelRequest) -> int:
    """Tokens of what a model is asked: instructions, messages, calls and results; tools are not counted.

    What was put into the prompt as citations counts. It is rounded once, for the whole request.
    """
    characters = len(request.system) + len(request.summary) + sum([len(c.text) for c in request.citations])
    parts = [p for m in request.messages for p in m.parts]
    return tokens_of(characters + sum([_length(p) for p in parts])) + sum([_seen(p) for p in parts])


def _length(part: PromptPart) -> int:
    match part:
        case Text(text) | Reasoning(text):
            return len(text)
        case ToolCall():
            return len(part.arguments)
        case ToolResult():
            return len(part.content)
    return 0


def _seen(part: PromptPart) -> int:
    """Tokens of what is no text; a document of which nobody knows how many pages it has is taken for one page."""
    match part:
        case ImageData():
            return IMAGE
        case FileData(pages=pages):
            return PAGE * (pages or 1)
    return 0


def tokens_said(texts: Sequence[str]) -> int:
    """Tokens of what a model has said: text, reasoning, arguments of calls; rounded once, for all of them."""
    return tokens_of(sum(map(len, texts)))
