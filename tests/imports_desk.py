"""An import service over a store, and a product whose export is whatever a test says."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any, BinaryIO

import ijson
import orjson

from backchat.domain.conversation import Conversation
from backchat.domain.identity import Identity
from backchat.domain.limits import ImportLimits, Retention
from backchat.domain.message import Message, Text
from backchat.errors import InvalidInput
from backchat.ports.importing import Shape, SourceConversation, SourceMessage, Unreadable
from backchat.ports.storage import Query, RecordStore
from backchat.services.access import Access, by_table
from backchat.services.import_records import Import
from backchat.services.imports import Imports
from backchat.services.stored import conversation_of, message_of

ANN, BOB = Identity(user="ann"), Identity(user="bob")
BEGIN = datetime(2025, 3, 1, 12, tzinfo=UTC)
Item = SourceConversation | Unreadable


class Product:
    """Its export is an array of objects; each says which of ``items`` it is, and may be padded."""

    def __init__(self, name: str = "product") -> None:
        self.name = name
        self.items: list[Item] = []

    def recognises(self, shape: Shape) -> bool:
        return shape.is_array and self.name in shape.keys

    def read(self, file: BinaryIO) -> Iterator[Item]:
        try:
            for entry in ijson.items(file, "item"):
                yield self.items[entry[self.name]]
        except ijson.JSONError:
            raise InvalidInput("the file breaks off") from None

    def export(self, *items: Item, padding: int = 0) -> bytes:
        numbers = range(len(self.items), len(self.items) + len(items))
        self.items += items
        return orjson.dumps([{self.name: n, "padding": "x" * padding} for n in numbers])


def message(id: str, parent: str | None = None, text: str = "", **more: Any) -> SourceMessage:
    more = {"role": "user", "parts": (Text(text or f"text of {id}"),), **more}
    return SourceMessage(id=id, parent=parent, **more)


def talk(id: str | None = "one", *messages: SourceMessage, **more: Any) -> SourceConversation:
    """A conversation; of a question and an answer, if nothing is said of its messages."""
    said = messages or (message("q", created_at=BEGIN), message("a", "q", role="assistant"))
    return SourceConversation(id=id, messages=said, **{"title": f"Talk {id}", **more})


class Desk:
    """The service of one process. Its clock goes on by itself."""

    def __init__(
        self,
        store: RecordStore,
        *,
        worker: str = "this",
        limits: ImportLimits | None = None,
        retention: Retention | None = None,
        importers: Sequence[Any] = (),
    ) -> None:
        self.store, self.product = store, Product()
        self.time = datetime(2026, 1, 1, tzinfo=UTC)
        ids = count(1)
        self.imports = Imports(
            store,
            Access(store, by_table, self.now),
            importers or (self.product,),
            limits or ImportLimits(),
            retention or Retention(),
            worker,
            now=self.now,
            new_id=lambda: f"{worker}-{next(ids):06d}",
        )

    def now(self) -> datetime:
        self.time += timedelta(milliseconds=1)
        return self.time

    async def take(self, data: bytes, who: Identity = ANN, name: str = "export.json") -> Import:
        """Import a file, to its end."""
        begun = await self.imports.begin(who, io.BytesIO(data), name=name)
        return await self.imports.ended(who, begun.id, 60)

    async def bring(self, *items: Item, who: Identity = ANN) -> Import:
        return await self.take(self.product.export(*items), who)

    async def bring_from(self, product: Product, *items: Item) -> Import:
        return await self.take(product.export(*items))

    async def conversations(self, who: Identity = ANN) -> list[Conversation]:
        """By title."""
        query = Query(kind="conversation", where=(("owner", (who.user,)),), order=("title",), limit=10_000)
        return [conversation_of(r) for r in await self.store.find(query)]

    async def only(self, who: Identity = ANN) -> Conversation:
        (found,) = await self.conversations(who)
        return found

    async def messages(self, conversation: Conversation) -> list[Message]:
        """By seq."""
        where = (("conversation", (conversation.id,)),)
        query = Query(kind="message", where=where, order=("seq",), limit=100_000)
        return [message_of(r) for r in await self.store.find(query)]

    async def counts(self) -> tuple[int, int]:
        """How many conversations and messages there are."""
        return await self.store.count(Query(kind="conversation")), await self.store.count(Query(kind="message"))


def summary(result: Import) -> tuple[str, int, int, int]:
    return result.status, result.imported, result.skipped, result.failed
