"""Documents whose text grounds replies, and passages of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

DocumentStatus = Literal["pending", "processing", "indexed", "failed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A file of an assistant, or of one conversation; exactly one of ``assistant`` and ``conversation`` is set.

    size        bytes;  ``sha256`` of them in hex
    problem     why it failed, for people
    summary     the first sentences of the text, None if it has none
    chunks, tokens, pages   how its text was cut; ``pages`` is None where a format has none
    """

    id: str
    owner: str
    filename: str
    mime: str
    size: int
    sha256: str
    created_at: datetime
    updated_at: datetime
    assistant: str | None = None
    conversation: str | None = None
    status: DocumentStatus = "pending"
    problem: str | None = None
    summary: str | None = None
    chunks: int = 0
    tokens: int = 0
    pages: int | None = None
    started_at: datetime | None = None
    completed_at: datetime | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    version: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """A piece of a document's text that retrieval found.

    page        number from 1, None where the format has no pages;  ``start`` and ``end`` are character positions in
                the document's whole text
    score       higher is better; comparable within one search only
    """

    document: str
    filename: str
    text: str
    score: float
    start: int
    end: int
    page: int | None = None

    @property
    def source(self) -> str:
        """File name and page, as a reply cites it."""
        return self.filename if self.page is None else f"{self.filename}, page {self.page}"
