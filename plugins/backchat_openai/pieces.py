"""What the streams of both APIs are put together from."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from typing import Any

from orjson import JSONDecodeError, loads

from backchat.domain.message import Seal, ToolCall
from backchat.errors import ProviderError
from backchat.upstream.sse import LIMIT

_MOST_CALLS = 1000


@dataclass(slots=True)
class Call:
    id: str = ""
    name: str = ""
    arguments: list[str] = field(default_factory=list)
    size: int = 0
    seal: Seal | None = None


class Calls(dict[object, Call]):
    """The calls of one answer, by whatever their pieces have in common, in the order in which they began."""

    __slots__ = ()

    def add(self, call: Call, piece: str) -> None:
        call.arguments.append(piece)
        call.size += len(piece)
        if call.size > LIMIT or len(self) > _MOST_CALLS:
            raise ProviderError("the model service sent a tool call that is too long")

    def whole(self) -> list[ToolCall]:
        if not all(call.name for call in self.values()):
            raise garbled()
        return [
            ToolCall(call.id or f"call_{uuid.uuid4().hex}", call.name, "".join(call.arguments) or "{}", call.seal)
            for call in self.values()
        ]


def garbled() -> ProviderError:
    return ProviderError("the model service sent something that is not its protocol")


def decoded(data: bytes) -> Any:
    try:
        return loads(data)
    except JSONDecodeError:
        raise garbled() from None


def text_of(value: object) -> str:
    if type(value) is not str:
        raise garbled()
    return value
