"""What streamed answers are put together from."""

from __future__ import annotations

from typing import Any

from orjson import JSONDecodeError, loads

from backchat.errors import ProviderError
from backchat.upstream.sse import LIMIT


def garbled() -> ProviderError:
    return ProviderError("the model service sent something that is not its protocol")


def decoded(data: bytes) -> Any:
    """The JSON of one event or line. Raises ProviderError for what is none."""
    try:
        return loads(data)
    except JSONDecodeError:
        raise garbled() from None


def text_of(value: object) -> str:
    """``value``, which is a text. Raises ProviderError for what is none."""
    if type(value) is not str:
        raise garbled()
    return value


def tokens(counts: Any, name: str) -> int:
    """The count of this name; 0 where the service has none, or something that is none."""
    value = counts.get(name) if type(counts) is dict else None
    return value if type(value) is int and value > 0 else 0


class Held:
    """How much of one answer is kept until it is whole: calls with their arguments, signatures, what comes sealed.

    Characters; raises ProviderError for more than ``LIMIT`` of them in all.
    """

    __slots__ = ("_size",)

    def __init__(self) -> None:
        self._size = 0

    def add(self, characters: int) -> None:
        self._size += characters
        if self._size > LIMIT:
            raise ProviderError("the model service sent tool calls, or sealed thinking, that are too long")
