"""What a memory says: what it may say, and how it comes to say something else."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from backchat.domain.memory import Former, Memory
from backchat.errors import InvalidInput

MOST_CONTENT = 8000
MOST_HISTORY = 100
MOST_SOURCES = 100


def superseded(memory: Memory, content: str, now: datetime, source: str | None = None) -> Memory:
    """The memory with a new content, the old one in its history; the same content changes nothing but the sources."""
    sources = memory.sources
    if source is not None and source not in sources:
        sources = (*sources, source)[-MOST_SOURCES:]
    if content == memory.content:
        return replace(memory, sources=sources, updated_at=now)
    history = (*memory.history, Former(memory.content, now))[-MOST_HISTORY:]
    return replace(memory, content=content, history=history, sources=sources, updated_at=now)


def checked(content: str) -> str:
    """The content of a memory, without blanks around it. Raises InvalidInput."""
    content = content.strip()
    if not content:
        raise InvalidInput("a memory needs some text", field="body.content")
    if len(content) > MOST_CONTENT:
        raise InvalidInput(f"a memory has at most {MOST_CONTENT} characters", field="body.content")
    try:
        content.encode()
    except UnicodeEncodeError:
        raise InvalidInput("the text holds half a character", field="body.content") from None
    return content
