"""What the sender of a file is told of an import that did not come to its end: never that all went well."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO

import orjson
import pytest

from backchat.domain.identity import Identity
from backchat.hookspecs import hookimpl
from backchat.ports.importing import Importer
from backchat.services.import_records import Import, ImportStatus
from backchat.services.import_work import Work
from backchat.services.imports import Imports
from backchat.testing.plugin import Serve
from convos_box import FREE, convos
from imports_desk import Item, Product, talk


class Halting(Product):
    """Gives out one item, and goes on when it is let."""

    def __init__(self) -> None:
        super().__init__("halting")
        self.gate = threading.Event()

    def read(self, file: BinaryIO) -> Iterator[Item]:
        for n, item in enumerate(super().read(file)):
            if n:
                assert self.gate.wait(20)
            yield item

    @hookimpl
    def backchat_importers(self) -> Sequence[Importer]:
        return [self]


@pytest.mark.parametrize(
    ("end", "status", "words"),
    [("cancelled", 409, "cancelled"), ("interrupted", 503, "importing the file again completes it")],
)
async def test_an_import_that_is_stopped(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, end: str, status: int, words: str
) -> None:
    product, begun = Halting(), asyncio.get_running_loop().create_future()
    begin, stop = Imports.begin, Work.end

    async def noted(self: Imports, who: Identity, file: BinaryIO, *, name: str) -> Import:
        made = await begin(self, who, file, name=name)
        begun.set_result(made.id)
        return made

    def let_go(self: Work, status: ImportStatus) -> None:
        stop(self, status)
        product.gate.set()

    monkeypatch.setattr(Imports, "begin", noted)
    monkeypatch.setattr(Work, "end", let_go)
    ann = await convos(await serve(FREE, [product]))
    sending = asyncio.create_task(ann.upload(product.export(*[talk(str(n)) for n in range(9)])))
    path = f"/api/convos/import/{await begun}"
    if end == "cancelled":
        await ann.ask("DELETE", path)
    else:
        await ann.box.services.imports.__aexit__()
    found, told = await sending
    assert found == status
    assert words in told["message"]
    assert told["imported"] < 9
    assert words in told["errors"][-1]["reason"]
    assert (await ann.ok("GET", path))["status"] == end


async def test_a_file_that_breaks_off(serve: Serve) -> None:
    ann = await convos(await serve(FREE))
    node: dict[str, Any] = {"id": "m", "parent": None, "children": []}
    message = {"id": "m", "author": {"role": "user"}, "content": {"content_type": "text", "parts": ["said"]}}
    chat = {"title": "Birds", "conversation_id": "c", "mapping": {"m": {**node, "message": message}}}
    broken = orjson.dumps([chat])[:-1] + b', {"title": "Fi'
    status, told = await ann.upload(broken)
    assert (status, told["message"], told["imported"]) == (422, "Only a part of the file was imported", 1)
    assert told["errors"][-1]["index"] == 1
    assert (await ann.upload(broken))[0] == 422, "it is here already, and still no whole file"
    assert await ann.listed() == ["Birds"]
