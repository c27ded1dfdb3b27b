"""What the streams of both APIs are put together from."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field

from backchat.domain.message import Seal, ToolCall
from backchat.errors import ProviderError
from backchat.upstream.pieces import Held, garbled

_MOST_CALLS = 1000


@dataclass(slots=True)
class Call:
    id: str = ""
    name: str = ""
    arguments: list[str] = field(default_factory=list)
    size: int = 0
    seal: Seal | None = None


class Calls(dict[object, Call]):
    """The calls of one answer, by whatever their pieces have in common, in the order in which they began.

    ``tools``: what tools are called here that are called otherwise there.
    """

    __slots__ = ("_held", "_tools")

    def __init__(self, held: Held, tools: Mapping[str, str]) -> None:
        super().__init__()
        self._held, self._tools = held, tools

    def named(self, call: Call, id: str, name: str) -> None:
        """Raises ProviderError, as ``add`` does, for more than can be kept."""
        self._held.add(len(id) - len(call.id) + len(name) - len(call.name))
        call.id, call.name = id, name
        if len(self) > _MOST_CALLS:
            raise ProviderError("the model service sent too many tool calls")

    def add(self, call: Call, piece: str) -> None:
        call.arguments.append(piece)
        call.size += len(piece)
        self._held.add(len(piece))

    def replace(self, call: Call, arguments: str) -> None:
        """What came of the arguments were pieces of this."""
        self._held.add(-call.size)
        call.arguments, call.size = [], 0
        self.add(call, arguments)

    def whole(self) -> list[ToolCall]:
        if not all(call.name for call in self.values()):
            raise garbled()
        return [
            ToolCall(
                call.id or f"call_{uuid.uuid4().hex}",
                self._tools.get(call.name, call.name),
                "".join(call.arguments) or "{}",
                call.seal,
            )
            for call in self.values()
        ]
