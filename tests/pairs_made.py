"""What a conversation comes to, whatever the protocol says it in, and one side of a pair of model services."""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, ClassVar, Protocol

from backchat.ports.providers import LLMProvider

PNG = b"\x89PNG\r\n\x1a\n\x00\xff an image"
PDF = b"%PDF-1.7\n\xfe a document"
PDF_NAME = "report.pdf"
Entry = tuple[str, ...]
"""``(user, text)``, ``(assistant, text)``, ``(image, base64)``, ``(document, base64)``, ``(thought, text, seal)``,
``(call, name, arguments)``, ``(result, name, arguments, content)``: the call is told with its result."""
USERS = ("user", "image", "document")


@dataclass(frozen=True, slots=True)
class Turn:
    """What a model shall say, after some thinking: text, then calls as (tool, arguments).

    told   it comes to its end; else it breaks off after the text, or where there is none, after the thinking
    """

    text: str = ""
    calls: Sequence[tuple[str, Mapping[str, Any]]] = ()
    told: bool = True


class Upstream(Protocol):
    """What the servers of the tests have in common."""

    bodies: list[dict[str, Any]]
    problems: list[str]

    def play(self, *steps: Any, status: int = 200) -> None: ...


class Side(ABC):
    """A provider and the server that it asks. All that its model thinks has the side's letter in it."""

    reads_documents: ClassVar[bool] = True
    ids: ClassVar[str] = "call_{}"
    """Of the calls of one answer, which come again in the next one."""

    def __init__(self, letter: str, upstream: Upstream, provider: LLMProvider) -> None:
        self.letter, self.upstream, self.provider = letter, upstream, provider
        self._thoughts = 0

    def play(self, turn: Turn) -> list[Entry]:
        """Have the model say this next; what it comes to, with the thinking that its service wants back."""
        self._thoughts += 1
        number = f"{self.letter}{self._thoughts:03d}"
        return self.script(turn, f"thought{number}", f"seal{number}")

    @abstractmethod
    def script(self, turn: Turn, thought: str, seal: str) -> list[Entry]: ...

    @abstractmethod
    def read(self, body: Mapping[str, Any]) -> list[Entry]:
        """What a request says, without instructions."""

    def given_back(self, entries: list[Entry]) -> list[Entry]:
        """What the service is shown again of a conversation in which all thinking is its own."""
        return entries

    def document(self) -> list[Entry]:
        """What is shown of the document."""
        return [("document", b64(PDF))] if self.reads_documents else [("user", f"\n[file: {PDF_NAME}]")]

    def id(self, n: int) -> str:
        return self.ids.format(n)


class Results:
    """Puts results beside their calls, by the ids that a request uses, of which ``taken`` are well-formed."""

    def __init__(self, taken: str) -> None:
        self._taken = re.compile(taken, re.ASCII)
        self._calls: dict[str, tuple[str, str]] = {}

    def call(self, id: str, name: str, arguments: Any) -> Entry:
        assert self._taken.fullmatch(id), f"an id that the service does not take: {id}"
        assert id not in self._calls, "a call without a result"
        self._calls[id] = name, plain(arguments)
        return ("call", *self._calls[id])

    def result(self, id: str, content: str) -> Entry:
        return ("result", *self._calls.pop(id), content)


def b64(data: bytes) -> str:
    return b64encode(data).decode()


def plain(arguments: Any) -> str:
    """Arguments, as JSON text or as what it says, in one spelling."""
    return json.dumps(json.loads(arguments) if isinstance(arguments, str) else arguments, sort_keys=True)


def called(turn: Turn) -> list[Entry]:
    return [("call", name, plain(arguments)) for name, arguments in turn.calls]


def spoken(text: str) -> list[Entry]:
    return [("assistant", text)] if text else []


def canonical(entries: Iterable[Entry]) -> list[Entry]:
    """Neighbouring texts of one side as one; of what a user shows at a time, the text comes first: not all protocols
    have a place for it between images.
    """
    made: list[Entry] = []
    for kind, group in groupby(entries, lambda e: "user" if e[0] in USERS else e[0]):
        found = list(group)
        if kind not in ("user", "assistant"):
            made += found
            continue
        if text := "".join([e[1] for e in found if e[0] == kind]):
            made.append((kind, text))
        made += sorted([e for e in found if e[0] != kind], reverse=True)
    return made
