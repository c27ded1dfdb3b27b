"""Which documents and images reach a model as they are, how often they are read, and what they are taken to cost."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest

from backchat.domain.document import Document
from backchat.domain.identity import Identity
from backchat.domain.message import File, Message, Text
from backchat.domain.run import Run, StatusNote
from backchat.errors import ProviderError, ProviderRejected
from backchat.ports.agents import AgentTurn
from backchat.ports.providers import Abilities, FileData, ImageData, ModelRequest, PromptMessage
from backchat.ports.storage import Delete, Query, Record
from backchat.services import blobs
from backchat.services.document_records import document_put
from backchat.services.estimates import IMAGE, PAGE, tokens_asked
from backchat.testing.provider import ScriptedProvider, Step
from backchat.testing.tool import ScriptedTool
from backchat_importers.backchat import Backchat
from imports_desk import Desk, summary
from nodes import ANN, BOB, Node, SlowStore, node
from tools_made import call, tell

PDF = "application/pdf"
DATA = b"%PDF-1.7\n of ann"
READS = Abilities(files=frozenset({PDF}))
NAMED = Text("\n[file: plan.pdf]")
TOO_LONG = ProviderRejected("the model service rejected the request (status 400)")


class Reads(SlowStore):
    """Counts the pages of bytes that are read of documents."""

    def __init__(self) -> None:
        super().__init__()
        self.pages = 0

    async def find(self, query: Query) -> Sequence[Record]:
        self.pages += query.kind == blobs.BLOB_CHUNK.name
        return await super().find(query)


def reader(*turns: Sequence[Step], name: str = "scripted", abilities: Abilities = READS) -> ScriptedProvider:
    return ScriptedProvider(*(turns or (["ok"],)), name=name, abilities=abilities)


async def lay(one: Node, data: bytes = DATA, *, owner: Identity = ANN, id: str = "d1", **more: Any) -> File:
    """A document in the store, as reading it leaves it; ``more`` are fields of it."""
    now, sha = datetime(2026, 1, 1, tzinfo=UTC), await blobs.digest(data)
    fields: dict[str, Any] = {"filename": "plan.pdf", "mime": PDF, "status": "indexed", **more}
    document = Document(id=id, owner=owner.user, size=len(data), sha256=sha, created_at=now, updated_at=now, **fields)
    await one.store.apply([document_put(document), *await blobs.kept(one.store, owner.user, sha, data)])
    return File(id, document.filename)


async def thread(one: Node, who: Identity = ANN, **more: Any) -> str:
    return (await one.conversations.create(who, channel="web", **more)).id


async def ask(one: Node, conversation: str, *files: File, **more: Any) -> tuple[Run, Message]:
    """What came of it, once it is there."""
    run = await one.say("Sum up", conversation=conversation, files=files, **more)
    ended, answer = await one.runs.result(ANN, run.id)
    assert answer is not None
    return ended, answer


def files(request: ModelRequest) -> list[str]:
    """The names of the documents that it shows as they are."""
    return [p.name for m in request.messages for p in m.parts if type(p) is FileData]


def parts(request: ModelRequest) -> tuple[object, ...]:
    return request.messages[0].parts


# ---- whose ----------------------------------------------------------------------------------------------------------

Place = Callable[[Node, str, str], Awaitable[File]]
"""Lays a document for a conversation and the assistant that answers in it."""


async def _elsewhere(one: Node, here: str, assistant: str) -> File:
    return await lay(one, conversation=await thread(one))


async def _of_another_assistant(one: Node, here: str, assistant: str) -> File:
    other = await one.services.assistants.create(ANN, name="other")
    return await lay(one, assistant=other.id)


async def _of_bob(one: Node, here: str, assistant: str) -> File:
    return await lay(one, owner=BOB, conversation=await thread(one, BOB))


@pytest.mark.parametrize(
    ("place", "shown"),
    [
        pytest.param(lambda one, here, _: lay(one, conversation=here), True, id="of the conversation"),
        pytest.param(lambda one, _, assistant: lay(one, assistant=assistant), True, id="of its assistant"),
        pytest.param(_elsewhere, False, id="of another conversation"),
        pytest.param(_of_another_assistant, False, id="of another assistant"),
        pytest.param(_of_bob, False, id="of somebody else"),
        pytest.param(lambda one, here, _: lay(one, owner=BOB, conversation=here), False, id="owned by somebody else"),
        pytest.param(lambda one, _, a: lay(one, owner=BOB, assistant=a), False, id="owned by somebody else, assistant"),
    ],
)
async def test_a_message_shows_the_documents_of_its_own_place_only(place: Place, shown: bool) -> None:
    """Whatever id it names."""
    provider = reader()
    async with node(SlowStore(), provider) as one:
        assistant = (await one.services.assistants.create(ANN, name="mine")).id
        here = await thread(one, assistant=assistant)
        file = await place(one, here, assistant)
        await ask(one, here, file, assistant=assistant)
        document = FileData("plan.pdf", PDF, DATA) if shown else NAMED
        assert parts(provider.requests[0]) == (Text("Sum up"), document)


async def test_a_document_of_an_assistant_is_not_shown_in_a_turn_without_it() -> None:
    provider = reader()
    async with node(SlowStore(), provider) as one:
        assistant = (await one.services.assistants.create(ANN, name="mine")).id
        await ask(one, await thread(one), await lay(one, assistant=assistant))
        assert files(provider.requests[0]) == []


@pytest.mark.parametrize("owner", [ANN, BOB])
async def test_an_import_gets_at_no_document(owner: Identity) -> None:
    """It may name any, and the name is kept: whoever exports it again gets what was imported."""
    provider, time = reader(), "2025-01-01T00:00:00Z"
    named = {"type": "file", "document": "d1", "name": "my.pdf"}
    said = {"id": "m1", "role": "user", "status": "complete", "created_at": time, "parts": [named]}
    head = {"id": "0197a3c2-7c1f-7e00-8000-9a8b7c6d5e01", "created_at": time, "updated_at": time}
    file = {"format": "backchat-conversation", "version": 1, "conversation": head, "messages": [said]}
    async with node(SlowStore(), provider) as one:
        await lay(one, owner=owner, conversation=await thread(one, owner))
        desk = Desk(one.store, importers=[Backchat()])
        begun = await desk.take(orjson.dumps(file))
        assert summary(begun) == ("done", 1, 0, 0)
        await ask(one, head["id"])
        assert parts(provider.requests[0]) == (Text("\n[file: my.pdf]"),)
        exported = await one.services.exports.portable(ANN, head["id"])
        assert exported["messages"][0]["parts"] == [named]


# ---- what -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "more", "shown"),
    [
        (DATA, {}, True),
        (b"\n" * 1000 + DATA, {}, True),
        (b"\n" * 1024 + DATA, {}, False),
        (b"<html>not found</html>", {}, False),
        (DATA, {"status": "failed"}, True),  # a scan: the server found no text in it
        (DATA, {"status": "processing"}, False),
        (DATA, {"mime": "text/plain"}, False),
    ],
)
async def test_a_document_is_shown_once_it_was_read_and_is_what_its_type_says(
    data: bytes, more: Mapping[str, Any], shown: bool
) -> None:
    """A service refuses the whole conversation for a file that it cannot read."""
    provider = reader()
    async with node(SlowStore(), provider) as one:
        here = await thread(one)
        await ask(one, here, await lay(one, data, conversation=here, **more))
        document = FileData("plan.pdf", PDF, data) if shown else NAMED
        assert parts(provider.requests[0]) == (Text("Sum up"), document)


async def test_a_document_whose_bytes_are_gone_does_not_end_the_conversation() -> None:
    provider = reader()
    async with node(SlowStore(), provider) as one:
        here = await thread(one)
        file = await lay(one, conversation=here)
        (blob,) = await one.store.find(Query(kind=blobs.BLOB.name, limit=2))
        await one.store.apply([Delete(blobs.BLOB.name, blob.id, blob.version)])
        await ask(one, here, file)
        assert parts(provider.requests[0]) == (Text("Sum up"), NAMED)


# ---- refused --------------------------------------------------------------------------------------------------------


async def test_a_document_that_the_service_refuses_does_not_end_the_conversation() -> None:
    provider = reader([TOO_LONG], ["as the passages say"], [TOO_LONG], ["more"])
    async with node(SlowStore(), provider) as one:
        here = await thread(one)
        first, answer = await ask(one, here, await lay(one, conversation=here))
        assert (first.status, answer.text) == ("completed", "as the passages say")
        notes = [e.text for _, e in await one.read(first) if isinstance(e, StatusNote)]
        assert notes == ["scripted refused the request; asking again without the documents"]
        _, again = await ask(one, here)
        assert again.text == "more"
        assert [files(r) for r in provider.requests] == [["plan.pdf"], [], ["plan.pdf"], []]
        assert parts(provider.requests[1]) == (Text("Sum up"), NAMED)
        assert len(await one.booked()) == 2  # what was refused costs nothing


@pytest.mark.parametrize(
    ("turns", "asked"),
    [
        ([[TOO_LONG], [TOO_LONG]], 2),
        ([[ProviderRejected("withheld", at_work=True)]], 1),
        ([["half", TOO_LONG]], 1),
    ],
)
async def test_what_is_refused_for_something_else_stays_refused(turns: Sequence[Sequence[Step]], asked: int) -> None:
    provider = reader(*turns)
    async with node(SlowStore(), provider) as one:
        here = await thread(one)
        with pytest.raises(ProviderRejected):
            await ask(one, here, await lay(one, conversation=here))
        assert len(provider.requests) == asked


async def test_without_documents_there_is_nothing_to_leave_out() -> None:
    provider = reader([TOO_LONG])
    async with node(SlowStore(), provider) as one:
        with pytest.raises(ProviderRejected):
            await ask(one, await thread(one))
        assert len(provider.requests) == 1


async def test_what_was_refused_is_left_out_for_the_rest_of_the_reply() -> None:
    provider = reader([TOO_LONG], [call("c1", "look")], ["done"])
    async with node(SlowStore(), provider, tools=[ScriptedTool("look", tell)]) as one:
        here = await thread(one)
        await ask(one, here, await lay(one, conversation=here), agent="none")
        assert [files(r) for r in provider.requests] == [["plan.pdf"], [], []]


async def test_the_next_provider_may_read_what_this_one_refused() -> None:
    first = reader([TOO_LONG], [ProviderError("down")])
    second = reader(["ok"], name="second")
    async with node(SlowStore(), first, second) as one:
        here = await thread(one)
        _, answer = await ask(one, here, await lay(one, conversation=here))
        assert answer.provider == "second"
        assert [files(r) for p in (first, second) for r in p.requests] == [["plan.pdf"], [], ["plan.pdf"]]


# ---- agents ---------------------------------------------------------------------------------------------------------


class Asks:
    """An agent that asks with what it was given, once."""

    async def answer(self, turn: AgentTurn) -> None:
        async with aclosing(turn.ask(turn.messages)) as events:
            async for _ in events:
                pass


async def test_a_fallback_of_an_agent_is_shown_what_it_reads() -> None:
    first, blind = reader([ProviderError("down")]), reader(["ok"], name="blind", abilities=Abilities())
    async with node(SlowStore(), first, blind, agents={"asks": Asks()}) as one:
        here = await thread(one)
        await ask(one, here, await lay(one, conversation=here), agent="asks")
        assert files(first.requests[0]) == ["plan.pdf"]
        assert parts(blind.requests[0]) == (Text("Sum up"), NAMED)


async def test_an_agent_goes_on_without_a_document_that_is_refused() -> None:
    provider = reader([TOO_LONG], ["ok"])
    async with node(SlowStore(), provider, agents={"asks": Asks()}) as one:
        here = await thread(one)
        _, answer = await ask(one, here, await lay(one, conversation=here), agent="asks")
        assert answer.text == "ok"
        assert [files(r) for r in provider.requests] == [["plan.pdf"], []]


# ---- how often ------------------------------------------------------------------------------------------------------


async def test_the_rounds_of_a_reply_read_a_document_once() -> None:
    store, provider = Reads(), reader([call("c1", "look")], [call("c2", "look")], ["done"])
    async with node(store, provider, tools=[ScriptedTool("look", tell)]) as one:
        here = await thread(one)
        await ask(
            one,
            here,
            await lay(one, conversation=here),
            await lay(one, b"no PDF", id="d2", conversation=here),
            agent="none",
        )
        assert [files(r) for r in provider.requests] == [["plan.pdf"]] * 3
        assert store.pages == 2
        await ask(one, here, agent="none")
        assert store.pages == 4  # nothing is held between replies


async def test_a_document_that_is_deleted_between_two_rounds_is_not_shown_any_more() -> None:
    async def delete(arguments: Mapping[str, Any]) -> str:
        await one.services.documents.discard(ANN, "d1")
        return "gone"

    provider = reader([call("c1", "look")], ["done"])
    async with node(SlowStore(), provider, tools=[ScriptedTool("look", delete)]) as one:
        here = await thread(one)
        await ask(one, here, await lay(one, conversation=here), agent="none")
        assert [files(r) for r in provider.requests] == [["plan.pdf"], []]


async def test_the_newest_documents_are_shown_as_far_as_they_are_not_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backchat.services.prompts.MOST_FILES", 2 * len(DATA))
    provider = reader()
    async with node(SlowStore(), provider) as one:
        here = await thread(one)
        for n in range(3):
            await ask(one, here, await lay(one, DATA, id=f"d{n}", filename=f"{n}.pdf", conversation=here))
        assert [files(r) for r in provider.requests] == [["0.pdf"], ["0.pdf", "1.pdf"], ["1.pdf", "2.pdf"]]


# ---- what it costs --------------------------------------------------------------------------------------------------


def test_images_and_pages_are_estimated() -> None:
    image, unknown = ImageData("image/png", b"x" * 5000), FileData("a.pdf", PDF, b"x" * 5000)
    long = FileData("b.pdf", PDF, b"x", 7)
    for shown, tokens in ((image, IMAGE), (unknown, PAGE), (long, 7 * PAGE)):
        request = ModelRequest(messages=[PromptMessage("user", (Text("abcd"), shown))])
        assert tokens_asked(request) == 1 + tokens


async def test_a_call_that_breaks_off_is_booked_with_what_it_was_shown() -> None:
    provider = reader(["half", ProviderError("cut")])
    async with node(SlowStore(), provider) as one:
        here = await thread(one)
        file = await lay(one, conversation=here, pages=3)
        image = ImageData("image/png", b"\x89PNG\r\n\x1a\n")
        with pytest.raises(ProviderError):
            await ask(one, here, file, images=[image])
        (booked,) = await one.booked()
        assert booked.usage.input_tokens == 2 + IMAGE + 3 * PAGE  # eight characters of text
