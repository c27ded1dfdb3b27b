"""The part of the store that only reads: of now, or of one moment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from backchat.ports.checks import check_field, check_order, check_query, known_kind
from backchat.ports.storage import Query, Record, Scalar
from backchat_mongo.layout import Layout
from backchat_mongo.reading import Reading


class Answering:
    """``layouts`` by kind."""

    def __init__(self, layouts: Mapping[str, Layout], reading: Reading) -> None:
        self.layouts = layouts
        self._kinds = {name: layout.kind for name, layout in layouts.items()}
        self._reading = reading

    async def get(self, kind: str, id: str) -> Record | None:
        return await self._reading.get(self._layout(kind), id)

    async def find(self, query: Query) -> Sequence[Record]:
        layout = self._layout(query.kind)
        check_query(layout.kind, query)
        page = await self._reading.find(layout, query)
        check_order(query, page)
        return page

    async def count(self, query: Query) -> int:
        layout = self._layout(query.kind)
        check_query(layout.kind, query)
        return await self._reading.count(layout, query)

    async def values(self, query: Query, field: str) -> Sequence[Scalar]:
        layout = self._layout(query.kind)
        check_query(layout.kind, query)
        check_field(layout.kind, field)
        return await self._reading.values(layout, query, field)

    def _layout(self, name: str) -> Layout:
        known_kind(self._kinds, name)
        return self.layouts[name]
