"""Server-sent events as they arrive, after the WHATWG HTML standard, section 9.2.6."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Event:
    """``id`` is the last id that was seen, also if it came with an earlier event."""

    id: str
    name: str
    data: str


class EventParser:
    """Feed it bytes as they come, cut anywhere; it gives back the events that are complete."""

    def __init__(self) -> None:
        self._rest = b""
        self._id = ""
        self._name = ""
        self._data: list[str] = []

    def feed(self, chunk: bytes) -> Iterator[Event]:
        text = self._rest + chunk
        # A CR at the end may be the first half of a CRLF: it waits for what comes next.
        held = b"\r" if text.endswith(b"\r") else b""
        lines = text.removesuffix(held).replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        self._rest = lines.pop() + held
        for line in lines:
            if line:
                self._field(line.decode("utf-8", "replace"))
                continue
            if self._data:
                yield Event(self._id, self._name or "message", "\n".join(self._data))
            self._name, self._data = "", []

    def _field(self, line: str) -> None:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            self._data.append(value)
        elif name == "event":
            self._name = value
        elif name == "id" and "\0" not in value:
            self._id = value
