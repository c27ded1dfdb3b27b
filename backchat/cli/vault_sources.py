"""What there is to push in files of any product: conversations as pushes to the vault."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from io import BytesIO
from typing import Any, BinaryIO

from backchat.cli.vault_bodies import MARK, VaultBodies
from backchat.cli.vault_messages import active_path, messages_of
from backchat.domain.limits import ImportLimits
from backchat.domain.vault import TAG_MAX, TAGS_MAX, TITLE_MAX, VaultMessage
from backchat.errors import InvalidInput
from backchat.ports.importing import Importer, SourceConversation, SourceMessage, Unreadable
from backchat.services.import_files import Meter, entries
from backchat.services.storable import whole

NO_LIMITS = ImportLimits(max_size=sys.maxsize, max_conversation=sys.maxsize)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What the caller says of the conversations; None: what the file says.

    tags are added to those of the file;  chat, title and base are for one conversation only
    """

    platform: str | None = None
    category: str | None = None
    tags: Sequence[str] = ()
    topic: str | None = None
    title: str | None = None
    model: str | None = None
    chat: str | None = None
    base: int | None = None

    @property
    def of_one(self) -> list[str]:
        """The options that only make sense for one conversation."""
        given = {"--chat": self.chat, "--title": self.title, "--base": self.base}
        return [option for option, value in given.items() if value is not None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """A conversation to be pushed. ``label`` and ``source`` are for people; ``details`` are those that are given."""

    label: str
    source: str
    chat: str
    messages: Sequence[VaultMessage] = field(repr=False)
    platform: str | None
    base: int | None
    details: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Passed:
    """What is not pushed, and why; ``label`` is empty if it is the source. ``failed``: it should have been."""

    label: str
    source: str
    reason: str
    failed: bool = True


@dataclass(slots=True)
class Source:
    """A file, or what is ``given`` in memory. ``meter`` says how far it is read."""

    name: str
    given: bytes | None = field(default=None, repr=False)
    meter: Meter = field(default_factory=lambda: Meter(NO_LIMITS))

    @property
    def size(self) -> int:
        """In bytes; 0 if that is not known."""
        if self.given is not None:
            return len(self.given)
        try:
            return os.stat(self.name).st_size
        except OSError:
            return 0

    @contextmanager
    def _opened(self) -> Iterator[BinaryIO]:
        """Pipes are kept in memory: a zip is read from its end."""
        if self.given is not None:
            yield BytesIO(self.given)
            return
        with open(self.name, "rb") as file:
            yield file if file.seekable() else BytesIO(file.read())

    def read(self, importers: Sequence[Importer], wish: Wish, now: datetime) -> Iterator[Outgoing | Passed]:
        """Everything that is in it; blocks. What cannot be read is told at its place, and never raised."""
        own, empty = VaultBodies(), True
        try:
            with self._opened() as file:
                if not file.read(1):
                    raise InvalidInput("is empty")
                for entry in entries(file, [own, *importers], self.meter):
                    empty = False
                    if isinstance(entry.found, Unreadable):
                        yield Passed(entry.found.title or "", self.name, entry.found.reason)
                    else:
                        platform = None if entry.importer in (own, None) else entry.importer.name
                        yield self._outgoing(entry.found, platform, wish, now)
            if empty:
                yield Passed("", self.name, "has no conversations in it")
        except InvalidInput as error:
            yield Passed("", self.name, str(error))
        except IsADirectoryError:
            yield Passed("", self.name, "is a directory without .json files")
        except OSError as error:
            yield Passed("", self.name, f"cannot be read: {error.strerror}")

    def _outgoing(
        self, source: SourceConversation, product: str | None, wish: Wish, now: datetime
    ) -> Outgoing | Passed:
        known = _known(source)
        mark: Mapping[str, Any] = {"platform": product} if known is None else known
        chat = wish.chat if wish.chat is not None else mark.get("chatId") or source.id
        label = wish.title or source.title or chat or "untitled"
        path = active_path(source, now)
        messages = messages_of(path, from_vault=known is not None)
        if not messages:
            return Passed(label, self.name, "has no messages", failed=False)
        if chat is None:
            return Passed(label, self.name, "has no id of its own: push it alone, with --chat")
        given = (source.title or "", source.tags) if known is not None else _fitting(source.title or "", source.tags)
        details = {"title": given[0], "tags": list(given[1]), "model": _model(source, path)}
        details = {name: value for name, value in details.items() if value} | _told(mark)
        return Outgoing(
            label=label,
            source=self.name,
            chat=whole(chat),
            messages=messages,
            platform=wish.platform if wish.platform is not None else mark.get("platform"),
            base=wish.base if wish.base is not None else mark.get("baseVersion"),
            details=details | _wished(wish, details),
        )


def sources_at(path: str) -> list[Source]:
    """The file, or those of a directory, such as ``pull --out`` writes; itself if it has none, which reading it says.

    Raises OSError.
    """
    inside = sorted([each.name for each in os.scandir(path) if _is_json(each)]) if os.path.isdir(path) else []
    return [Source(os.path.join(path, name)) for name in inside] or [Source(path)]


def _is_json(each: os.DirEntry[str]) -> bool:
    return each.name.lower().endswith(".json") and not each.name.startswith(".") and each.is_file()


def _known(source: SourceConversation) -> Mapping[str, Any] | None:
    """What the conversation is in a vault, if it comes from one; see ``vault_bodies``. Others may call things so."""
    mark = source.metadata.get(MARK)
    if not isinstance(mark, dict):
        return None
    tags, base = mark.get("tags") or [], mark.get("baseVersion")
    if not isinstance(tags, list) or (base is not None and type(base) is not int):
        return None
    texts = [mark.get(name) for name in ("chatId", "platform", "title", "category", "topic", "model")]
    return mark if all(text is None or isinstance(text, str) for text in [*texts, *tags]) else None


def _told(mark: Mapping[str, Any]) -> dict[str, Any]:
    return {name: mark[name] for name in ("title", "category", "topic", "model", "tags") if name in mark}


def _wished(wish: Wish, details: Mapping[str, Any]) -> dict[str, Any]:
    texts = {"title": wish.title, "category": wish.category, "topic": wish.topic, "model": wish.model}
    wished: dict[str, Any] = {name: text for name, text in texts.items() if text is not None}
    if wish.tags:
        wished["tags"] = list(dict.fromkeys([*(details.get("tags") or ()), *wish.tags]))
    return wished


def _fitting(title: str, tags: Sequence[str]) -> tuple[str, Sequence[str]]:
    """What another product has more of than the vault takes is cut, or left out."""
    title = " ".join(whole(title).replace("\0", " ").split())
    if len(title) > TITLE_MAX:
        title = f"{title[: TITLE_MAX - 1]}\N{HORIZONTAL ELLIPSIS}"
    found = [tag for tag in map(str.strip, map(whole, tags)) if 0 < len(tag) <= TAG_MAX and "\0" not in tag]
    return title, list(dict.fromkeys(found))[:TAGS_MAX]


def _model(source: SourceConversation, path: Sequence[SourceMessage]) -> str | None:
    """The one that answered last, else the one that was set."""
    answered = next((m.model for m in reversed(path) if m.role == "assistant" and m.model), None)
    set = source.options.get("model")
    return answered or (set if isinstance(set, str) and set else None) or source.settings.model
