"""The import port: from a file that another product wrote to conversations, one at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, BinaryIO, Protocol

from backchat.domain.message import MessageStatus, Part, Role, Usage
from backchat.domain.settings import ModelSettings
from backchat.errors import InvalidInput


class EntryTooLarge(InvalidInput):
    """So much was read of a file since the last entry that the one which is being read is larger than is allowed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceMessage:
    """A message as a file has it.

    id          what the file calls it; of several with the same one the first is the parent that others name
    parent      the id of the message that it answers or follows; None, or an id that is not there: a root
    created_at  aware; None: the moment after its parent's, or the conversation's
    """

    id: str
    role: Role
    parts: tuple[Part, ...]
    parent: str | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None
    status: MessageStatus = "complete"
    provider: str | None = None
    model: str | None = None
    usage: Usage | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceConversation:
    """A conversation as a file has it: its messages in the order of the file, which may be any.

    id          what the product that wrote the file calls it, and will call it in its next export; None: it has no name
    title       None or empty: it has none, and is called ``untitled``
    leaf        the message that the product showed last; None: the newest
    files       the bytes of the images among the parts, by ``Image.file``
    exact       it is one of backchat's own: ids and times are taken over as they are
    """

    id: str | None
    messages: Sequence[SourceMessage]
    title: str | None = None
    untitled: str = "Imported Chat"
    created_at: datetime | None = None
    updated_at: datetime | None = None
    leaf: str | None = None
    channel: str = "import"
    archived_at: datetime | None = None
    pinned: bool = False
    tags: tuple[str, ...] = ()
    completed: bool = False
    settings: ModelSettings = field(default_factory=ModelSettings)
    options: Mapping[str, Any] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)
    exact: bool = False


@dataclass(frozen=True, slots=True)
class Unreadable:
    """An entry of the file that is no conversation; ``reason`` is one sentence, and repeats no content."""

    title: str | None
    reason: str


@dataclass(frozen=True, slots=True)
class Shape:
    """What a file looks like, as far as it has been read: the keys of its object, or of the first entry of its array.

    ``whole``: there are no more keys. Of several JSON values after one another it is the first one's.
    """

    is_array: bool
    keys: frozenset[str]
    whole: bool = False


class Importer(Protocol):
    """Reads the files of one product. Test one by subclassing ``backchat.testing.importing.ImporterContract``."""

    @property
    def name(self) -> str:
        """Of the product; what is imported remembers it, so it never changes."""
        ...

    def recognises(self, shape: Shape) -> bool:
        """Whether a file of this shape is one of its own. Asked again while more keys become known."""
        ...

    def read(self, file: BinaryIO) -> Iterator[SourceConversation | Unreadable]:
        """The entries of a file in UTF-8 without a byte order mark, each read when it is asked for, in a thread.

        What cannot be read of an entry is an ``Unreadable`` in its place. A file that breaks off or is no JSON raises
        ``backchat.errors.InvalidInput`` there.

        ``read`` of the file raises EntryTooLarge, before it reads, and again whenever as much was read once more. Who
        lets it through ends there; who can, forgets the entry, reads on, and gives an ``Unreadable`` in its place.
        """
        ...
