"""Documents, at the service: kept, read in the background, deleted, copied, and none lost when a server dies."""

from __future__ import annotations

import asyncio
import struct
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any, Literal

import pytest

from backchat.domain.assistant import Assistant
from backchat.domain.conversation import Conversation
from backchat.domain.document import Document
from backchat.domain.identity import Identity
from backchat.domain.limits import DocumentLimits
from backchat.domain.usage import Payer
from backchat.domain.workspace import personal_workspace
from backchat.errors import DocumentsPending, InvalidInput, NotFound, NotOwned, ProviderError, TooLarge
from backchat.ports.extraction import Extractor
from backchat.ports.providers import ImageData
from backchat.ports.storage import Change, Delete, Put, Query
from backchat.services import document_scopes
from backchat.services.access import owned
from backchat.services.assistant_records import assistant_of, assistant_put
from backchat.services.belongings import erasure
from backchat.services.document_records import document_of, document_put, piece_of, vectors_of
from backchat.services.documents import Documents
from backchat.services.embedders import Embedders
from backchat.services.extraction import by_suffix
from backchat.services.jobs import Jobs
from backchat.services.kinds import KINDS
from backchat.services.reading import Describe
from backchat.services.retrieval import Retrieval
from backchat.services.retrying import retrying
from backchat.services.stored import conversation_of, conversation_put
from backchat.testing.memory_store import MemoryStore
from backchat_extract import backchat_extractors
from documents_made import docx, pdf, png

ANN, BOB = Identity(user="ann"), Identity(user="bob")
START = datetime(2026, 1, 31, 9, 30, tzinfo=UTC)
EXTRACTORS = by_suffix(
    [*backchat_extractors(), *(Extractor(n, (f".{n}",), f"documents_made:{n}") for n in ("hang", "crash"))]
)
HELD = ("document", "chunk", "vectors", "blob", "blob_chunk", "job")


class Letters:
    """An embedder whose vectors count three letters."""

    model, dimensions, context = "letters", 4, 0
    broken = False

    async def embed(self, texts: Sequence[str], purpose: Literal["query", "document"]) -> Sequence[bytes]:
        if self.broken:
            raise ProviderError("the embedding model did not answer")
        return [struct.pack("<4f", 0.5, 0.5, 0.5, 0.5 if "a" in t else -0.5) for t in texts]


@dataclass
class Parents:
    """Whose assistants and conversations there are, as the store has them."""

    store: Watched
    assistants: dict[str, Assistant] = field(default_factory=dict)
    away: bool = False

    async def assistant(self, who: Identity, id: str) -> Assistant:
        record = await self.store.get("assistant", id)
        return owned(who, assistant_of(record) if record else None, "assistant")

    async def conversation(self, who: Identity, id: str, action: str = "read", /) -> Conversation:
        record = await self.store.get("conversation", id)
        return owned(who, conversation_of(record) if record and not self.away else None, "conversation")


class Watched(MemoryStore):
    """Notes the status of every document that is written; ``before`` comes before a commit."""

    def __init__(self) -> None:
        super().__init__(KINDS)
        self.statuses: list[str] = []
        self.reached: dict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self.before: Callable[[Sequence[Change]], Awaitable[None]] | None = None

    async def apply(self, changes: Sequence[Change]) -> None:
        await asyncio.sleep(0)
        if self.before is not None:
            before, self.before = self.before, None
            await before(changes)
        await super().apply(changes)
        for status in [c.doc["status"] for c in changes if isinstance(c, Put) and c.kind == "document"]:
            self.statuses.append(status)
            self.reached[status].set()


@dataclass
class Desk:
    """One process of a server."""

    store: Watched
    documents: Documents
    jobs: Jobs
    parents: Parents
    embedder: Letters
    statuses: list[str]

    async def add(self, filename: str, data: bytes, who: Identity = ANN, **where: Any) -> Document:
        where = where or {"assistant": "helper"}
        return await self.documents.add(who, filename=filename, mime="", data=data, **where)

    async def read(self, filename: str, data: bytes, **where: Any) -> Document:
        document = await self.add(filename, data, **where)
        assert await self.jobs.settled([f"document {document.id}"], 30)
        return await self.documents.open(ANN, document.id)

    async def held(self) -> dict[str, int]:
        return {kind: n for kind in HELD if (n := await self.store.count(Query(kind=kind)))}


async def parents(store: Watched) -> Parents:
    made = {"created_at": START, "updated_at": START}
    assistants = [
        Assistant(id="helper", owner="ann", name="Helper", **made),  # type: ignore[arg-type]
        Assistant(id="other", owner="ann", name="Other", **made),  # type: ignore[arg-type]
        Assistant(id="bobs", owner="bob", name="Bob's", **made),  # type: ignore[arg-type]
    ]
    talk = Conversation(id="talk", owner="ann", title="", assistant="helper", **made)  # type: ignore[arg-type]
    if await store.get("conversation", "talk") is None:
        await MemoryStore.apply(store, [*map(assistant_put, assistants), conversation_put(talk)])
    return Parents(store, {a.id: a for a in assistants})


@asynccontextmanager
async def opened(
    store: Watched | None = None,
    worker: str = "w1",
    describe: Describe | None = None,
    describes: Callable[[], Describe | None] | None = None,
    **limits: Any,
) -> AsyncIterator[Desk]:
    store = store or Watched()
    ids, ticks, embedder, known = count(), count(), Letters(), await parents(store)

    def new_id() -> str:
        return f"{worker}-{next(ids):06d}"

    async with Jobs(store, worker, new_id) as jobs:
        verbs = Documents(
            store,
            jobs,
            Retrieval(store, Embedders({"letters": embedder}), DocumentLimits(**limits)),
            EXTRACTORS,
            DocumentLimits(**limits),
            assistant_of=known.assistant,
            conversation_of=known.conversation,
            required=lambda who, conversation, action: [],
            describe=describes or (lambda: describe),
            now=lambda: START + timedelta(seconds=next(ticks)),
            new_id=new_id,
        )
        yield Desk(store, verbs, jobs, known, embedder, store.statuses)


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    async with opened() as made:
        yield made


async def test_a_document_is_kept_read_and_indexed(desk: Desk) -> None:
    data = pdf("The falcon flies at dawn. " * 20, "The owl hears.")
    added = await desk.documents.add(
        ANN, filename="Birds.PDF", mime="application/pdf", data=data, assistant="helper", metadata={"a": 1}
    )
    assert (added.status, added.filename, added.mime, added.size) == (
        "pending",
        "Birds.PDF",
        "application/pdf",
        len(data),
    )
    await desk.documents.ready(ANN, assistant="helper", conversation=None)
    document = await desk.documents.open(ANN, added.id)
    assert desk.statuses == ["pending", "processing", "indexed"]
    assert document.created_at < (document.started_at or START) < (document.completed_at or START)
    assert (document.problem, document.pages, document.chunks, document.metadata) == (None, 2, 2, {"a": 1})
    assert (document.summary or "").startswith("The falcon flies at dawn. The falcon")
    assert document.tokens == -(-(20 * 26 - 1 + 2 + 14) // 4)
    pieces = [piece_of(r) for r in await desk.store.find(Query(kind="chunk"))]
    assert [(p.n, p.page, p.filename, p.owner, p.scope) for p in pieces] == [
        (0, 1, "Birds.PDF", "ann", "a:helper"),
        (1, 2, "Birds.PDF", "ann", "a:helper"),
    ]
    [vectors] = [vectors_of(r) for r in await desk.store.find(Query(kind="vectors"))]
    assert (vectors.document, vectors.count, vectors.dims) == (added.id, 2, 4)
    assert await desk.documents.content(ANN, added.id) == data
    assert await desk.held() == {"document": 1, "chunk": 2, "vectors": 1, "blob": 1, "blob_chunk": 1}
    found = await desk.documents.search(
        "ann", assistant=desk.parents.assistants["helper"], conversation="none", question="What does the owl do?"
    )
    assert (found[0].text, found[0].source) == ("The owl hears.", "Birds.PDF, page 2")


async def test_documents_of_a_conversation(desk: Desk) -> None:
    document = await desk.read("a.md", b"# Foxes\n\nThey dig.", conversation="talk")
    assert (document.status, document.conversation, document.assistant) == ("indexed", "talk", None)
    await desk.read("b.txt", b"Second.", conversation="talk")
    await desk.read("c.txt", b"Third.")
    assert [d.filename for d in await desk.documents.of(ANN, conversation="talk")] == ["a.md", "b.txt"]
    assert [d.filename for d in await desk.documents.of(ANN, assistant="helper")] == ["c.txt"]


async def test_bytes_come_back_whole_and_are_kept_once(desk: Desk) -> None:
    big = bytes(range(256)) * 4096 * 5 + b"end"
    first = await desk.add("a.mp4", big)
    second = await desk.add("b.mp4", big)
    third = await desk.add("c.mp4", big, who=BOB, assistant="bobs")
    assert first.sha256 == second.sha256 == third.sha256
    assert await desk.held() == {"document": 3, "blob": 2, "blob_chunk": 12}
    assert await desk.documents.content(ANN, second.id) == big
    await desk.documents.discard(ANN, first.id)
    assert await desk.documents.content(ANN, second.id) == big
    await desk.documents.discard(ANN, second.id)
    assert await desk.documents.content(BOB, third.id) == big
    await desk.documents.discard(BOB, third.id)
    assert await desk.held() == {}


async def test_the_same_bytes_added_and_deleted_at_once(desk: Desk) -> None:
    added = await asyncio.gather(*(desk.add(f"{n}.png", png()) for n in range(20)))
    assert await desk.held() == {"document": 20, "blob": 1, "blob_chunk": 1}
    await asyncio.gather(*(desk.documents.discard(ANN, d.id) for d in added), desk.add("last.png", png()))
    assert await desk.held() == {"document": 1, "blob": 1, "blob_chunk": 1}


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("../../etc/passwd.txt", "passwd.txt"),
        ("C:\\Users\\ann\\notes.txt", "notes.txt"),
        ("a\x00b\r\n\x1b[31m.txt", "ab[31m.txt"),
        ("  Größe 漢字 🦊.txt ", "Größe 漢字 🦊.txt"),
        ("x" * 400 + ".txt", "x" * 251 + ".txt"),
        ("evil\u202etxt.exe.txt", "eviltxt.exe.txt"),
        ("half\ud800.txt", "half.txt"),
    ],
)
async def test_names_are_made_safe(desk: Desk, given: str, kept: str) -> None:
    assert (await desk.read(given, b"Words.")).filename == kept


@pytest.mark.parametrize(
    ("filename", "data", "words"),
    [
        ("", b"x", "the file has no name"),
        ("../", b"x", "the file has no name"),
        ("a.txt", b"", "the file is empty"),
        ("a.exe", b"x", ".exe files are not read here: it takes "),
        ("README", b"x", "files without an ending are not read here"),
    ],
)
async def test_what_is_refused(desk: Desk, filename: str, data: bytes, words: str) -> None:
    with pytest.raises(InvalidInput, match=words.replace(".", r"\.")) as caught:
        await desk.add(filename, data)
    assert caught.value.field == "body.file"
    assert await desk.held() == {}


async def test_a_file_that_is_too_large() -> None:
    async with opened(max_size=1 << 20) as desk:
        await desk.add("a.png", b"x" * (1 << 20))
        with pytest.raises(TooLarge, match=r"\(1 MiB\)") as caught:
            await desk.add("a.png", b"x" * ((1 << 20) + 1))
        assert caught.value.field == "body.file"


async def test_others_see_nothing(desk: Desk) -> None:
    document = await desk.read("a.txt", b"Words.")
    for verb in (desk.documents.open, desk.documents.discard, desk.documents.content):
        with pytest.raises(NotOwned):
            await verb(BOB, document.id)
        with pytest.raises(NotFound):
            await verb(ANN, "nothing")
    for where in ({"assistant": "helper"}, {"conversation": "talk"}, {"assistant": "nothing"}):
        with pytest.raises(NotFound):
            await desk.add("a.txt", b"x", who=BOB, **where)
        with pytest.raises(NotFound):
            await desk.documents.of(BOB, **where)
    assert (await desk.held())["document"] == 1


@pytest.mark.parametrize("name", ["a.png", "b.JPG", "c.mp3", "d.mov", "e.tiff"])
async def test_media_are_kept_without_text(desk: Desk, name: str) -> None:
    document = await desk.add(name, png())
    assert (document.status, document.chunks, document.summary, document.problem) == ("indexed", 0, None, None)
    assert document.mime.partition("/")[0] in ("image", "audio", "video")
    await desk.documents.ready(ANN, assistant="helper", conversation=None)
    assert await desk.documents.open(ANN, document.id) == document


async def test_an_image_is_read_by_a_model_that_sees() -> None:
    seen: list[ImageData] = []
    payers: list[Payer] = []

    async def describe(image: ImageData, payer: Payer) -> str:
        seen.append(image)
        payers.append(payer)
        return "A sign. It says: WAY OUT."

    async with opened(describe=describe) as desk:
        document = await desk.read("sign.png", png())
        assert (document.status, document.summary, document.chunks) == ("indexed", "A sign. It says: WAY OUT.", 1)
        assert seen == [ImageData("image/png", png())]
        assert payers == [Payer(user="ann", workspace=personal_workspace("ann"))]
        # What is no image, or none that models take, is kept and not shown.
        assert (await desk.read("fake.png", b"nothing")).status == "indexed"
        assert (await desk.read("scan.tiff", b"II*\0")).chunks == 0
        assert len(seen) == 1
        assert (await desk.add("song.mp3", b"x")).status == "indexed"


async def test_an_image_is_read_by_a_model_that_was_configured_later() -> None:
    async def describe(image: ImageData, payer: Payer) -> str:
        return "A sign."

    configured: list[Describe] = []
    async with opened(describes=lambda: configured[0] if configured else None) as desk:
        assert (await desk.read("sign.png", png())).chunks == 0
        configured.append(describe)
        assert (await desk.read("sign.png", png(), assistant="other")).summary == "A sign."


async def test_an_image_is_paid_for_where_the_conversation_is() -> None:
    payers: list[Payer] = []

    async def describe(image: ImageData, payer: Payer) -> str:
        payers.append(payer)
        return "A sign."

    async with opened(describe=describe) as desk:
        record = await desk.store.get("conversation", "talk")
        assert record is not None
        await desk.store.apply([conversation_put(replace(conversation_of(record), workspace="team"))])
        await desk.read("sign.png", png(), conversation="talk")
    assert payers == [Payer(user="ann", workspace="team", conversation="talk")]


async def test_a_model_that_fails_to_see_fails_the_document() -> None:
    async def describe(image: ImageData, payer: Payer) -> str:
        raise ProviderError("the model did not answer")

    async with opened(describe=describe) as desk:
        document = await desk.read("sign.png", png())
        assert (document.status, document.problem) == (
            "failed",
            "it could not be indexed: the model did not answer",
        )


@pytest.mark.parametrize(
    ("name", "data", "problem"),
    [
        ("a.pdf", b"MZ no", "the file is not a PDF"),
        ("a.docx", docx("x")[:2000], "its text could not be read: it is damaged"),
        ("a.crash", b"x", "its text could not be read: it is damaged"),
        ("a.hang", b"/dev/null", "reading it took longer than 1 seconds"),
    ],
)
async def test_a_file_that_cannot_be_read_fails_alone(name: str, data: bytes, problem: str) -> None:
    async with opened(time_limit=1) as desk:
        document = await desk.read(name, data)
        assert (document.status, document.problem, document.chunks) == ("failed", problem, 0)
        assert document.completed_at is not None
        assert desk.statuses == ["pending", "processing", "failed"]
        assert (await desk.read("b.txt", b"Fine.")).status == "indexed"
        assert await desk.documents.content(ANN, document.id) == data


async def test_an_embedder_that_fails_fails_the_document(desk: Desk) -> None:
    desk.embedder.broken = True
    document = await desk.read("a.txt", b"Words.")
    assert (document.status, document.problem) == (
        "failed",
        "it could not be indexed: the embedding model did not answer",
    )
    assert await desk.held() == {"document": 1, "blob": 1, "blob_chunk": 1}


async def test_what_was_added_is_read_whether_its_owner_is_there_or_not(desk: Desk) -> None:
    """Who has left the workspace may not open the conversation: the server reads on, for when they come back."""

    async def described(image: ImageData, payer: Payer) -> str:
        return f"{payer.workspace} has a cat"

    async with opened(desk.store, "w2", describe=described) as other:
        assistant = replace(other.parents.assistants["helper"], embedder="letters", version=1)
        await desk.store.apply([assistant_put(assistant)])
        record = await desk.store.get("conversation", "talk")
        assert record is not None
        await desk.store.apply([conversation_put(replace(conversation_of(record), workspace="team"))])
        added = [await other.add(name, data, conversation="talk") for name, data in (("a.txt", b"A"), ("b.png", png()))]
        other.parents.away = True
        for document in added:
            assert await other.jobs.settled([f"document {document.id}"], 30)
        other.parents.away = False
        for document in added:
            read = await other.documents.open(ANN, document.id)
            assert (read.status, read.problem, read.chunks) == ("indexed", None, 1)
        assert (await other.held())["vectors"] == 2


async def test_waiting_has_an_end() -> None:
    async with opened(wait=0.2, time_limit=60) as desk:
        await desk.documents.ready(ANN, assistant="helper", conversation="talk")
        await desk.add("slow.hang", b"/dev/null", conversation="talk")
        await desk.documents.ready(ANN, assistant="other", conversation=None)
        with pytest.raises(DocumentsPending, match=r"slow\.hang"):
            await desk.documents.ready(ANN, assistant="other", conversation="talk")
        with pytest.raises(DocumentsPending, match="documents are still being read; try again") as told:
            await desk.documents.ready(BOB, assistant="other", conversation="talk")
        assert "slow" not in str(told.value), "the names of files are their owner's"


async def test_a_document_deleted_while_it_is_read() -> None:
    async with opened(time_limit=60, at_once=1) as desk:
        document = await desk.add("slow.hang", b"/dev/null")
        await desk.store.reached["processing"].wait()
        await desk.documents.discard(ANN, document.id)
        assert await desk.held() == {}
        await desk.documents.ready(ANN, assistant="helper", conversation=None)
        # Its place is free: the next one does not wait for the limit.
        assert (await desk.read("b.txt", b"Words.")).status == "indexed"


async def test_a_document_deleted_as_its_text_is_stored(desk: Desk) -> None:
    document = await desk.add("a.txt", b"Words.")

    async def delete(changes: Sequence[Change]) -> None:
        if any(isinstance(c, Put) and c.kind == "chunk" for c in changes):
            await desk.documents.discard(ANN, document.id)
        else:
            watched.before = delete

    watched = desk.store
    watched.before = delete
    await desk.documents.ready(ANN, assistant="helper", conversation=None)
    while desk.jobs._tasks:
        await asyncio.wait(list(desk.jobs._tasks.values()))
    assert await desk.held() == {}


@pytest.mark.parametrize("where", [{"assistant": "helper"}, {"conversation": "talk"}])
async def test_what_a_file_came_in_for_was_deleted(desk: Desk, where: dict[str, Any]) -> None:
    (kind, id), *_ = where.items()

    async def delete(changes: Sequence[Change]) -> None:
        await MemoryStore.apply(desk.store, [Delete(kind, id)])

    desk.store.before = delete
    with pytest.raises(NotFound):
        await desk.add("a.png", png(), **where)
    assert await desk.held() == {}


@pytest.mark.parametrize("where", [{"assistant": "helper"}, {"conversation": "talk"}])
async def test_a_file_that_comes_in_while_its_place_is_deleted(desk: Desk, where: dict[str, Any]) -> None:
    (kind, id), *_ = where.items()
    await desk.add("a.png", png(), **where)
    tried = 0

    async def discard() -> None:
        nonlocal tried
        tried += 1
        record = await desk.store.get(kind, id)
        assert record is not None
        if kind == "conversation":
            changes = await erasure(desk.store, [conversation_of(record)])
        else:
            changes = [Delete(kind, id, record.version), *await desk.documents.removal("ann", id)]
        if tried == 1:
            await desk.add("b.png", b"other bytes", **where)
        await desk.store.apply(changes)

    await retrying(discard)
    assert tried == 2
    assert await desk.held() == {}


async def test_removal_takes_everything_of_one_place(desk: Desk) -> None:
    await desk.read("a.txt", b"Shared words.")
    await desk.read("b.txt", b"Own words.")
    await desk.read("c.txt", b"Shared words.", conversation="talk")
    kept = await desk.read("d.txt", b"Shared words.", assistant="other")
    assert (await desk.held())["document"] == 4
    await desk.store.apply(await desk.documents.removal("ann", "helper"))
    assert await desk.held() == {"document": 2, "chunk": 2, "vectors": 2, "blob": 1, "blob_chunk": 1}
    assert await desk.documents.content(ANN, kept.id) == b"Shared words."
    assert await desk.documents.removal("ann", "helper") == []


async def test_removal_ends_what_is_being_read() -> None:
    async with opened(time_limit=60, at_once=1) as desk:
        await desk.add("slow.hang", b"/dev/null")
        await desk.add("next.txt", b"Words.")
        await desk.store.reached["processing"].wait()
        await desk.store.apply(await desk.documents.removal("ann", "helper"))
        assert await desk.held() == {}
        assert (await desk.read("b.txt", b"Words.", assistant="other")).status == "indexed"


async def test_copies_are_documents_of_their_own(desk: Desk) -> None:
    helper, other = desk.parents.assistants["helper"], desk.parents.assistants["other"]
    original = await desk.read("a.txt", b"An owl hears.\n\n" * 300)
    await desk.read("broken.pdf", b"no")
    assert await desk.documents.copy(helper, other) == 1
    [copy] = await desk.documents.of(ANN, assistant="other")
    assert copy.id != original.id
    assert replace(copy, id=original.id, assistant="helper", version=original.version) == original
    await desk.store.apply(await desk.documents.removal("ann", "helper"))
    found = await desk.documents.search("ann", assistant=other, conversation="none", question="owl")
    assert found
    assert {p.document for p in found} == {copy.id}
    assert await desk.documents.content(ANN, copy.id) == b"An owl hears.\n\n" * 300
    await desk.documents.discard(ANN, copy.id)
    assert await desk.held() == {}


async def test_documents_are_copied_one_by_one(desk: Desk) -> None:
    helper, other = desk.parents.assistants["helper"], desk.parents.assistants["other"]
    for n in range(3):
        await desk.read(f"{n}.txt", b"Words %d." % n)
    batches: list[int] = []

    async def note(changes: Sequence[Change]) -> None:
        batches.append(sum(isinstance(c, Put) and c.kind == "document" for c in changes))
        desk.store.before = note

    desk.store.before = note
    assert await desk.documents.copy(helper, other) == 3
    assert batches == [1, 1, 1]


async def test_a_document_deleted_while_it_is_copied_is_left_out(desk: Desk) -> None:
    helper, other = desk.parents.assistants["helper"], desk.parents.assistants["other"]
    first = await desk.read("a.txt", b"Same.")
    await desk.read("b.txt", b"Same.")

    async def delete(changes: Sequence[Change]) -> None:
        await desk.documents.discard(ANN, first.id)

    desk.store.before = delete
    assert await desk.documents.copy(helper, other) == 1
    [copy] = await desk.documents.of(ANN, assistant="other")
    assert copy.filename == "b.txt"
    await desk.store.apply(await desk.documents.removal("ann", "helper"))
    assert await desk.documents.content(ANN, copy.id) == b"Same."
    await desk.documents.discard(ANN, copy.id)
    assert await desk.held() == {}


async def test_a_target_deleted_meanwhile_gets_no_copies(desk: Desk) -> None:
    helper, other = desk.parents.assistants["helper"], desk.parents.assistants["other"]
    await desk.read("a.txt", b"Words.")
    before = await desk.held()

    async def delete(changes: Sequence[Change]) -> None:
        await MemoryStore.apply(desk.store, [Delete("assistant", "other")])

    desk.store.before = delete
    with pytest.raises(NotFound):
        await desk.documents.copy(helper, other)
    assert await desk.held() == before


@pytest.mark.parametrize("caught", ["pending", "processing"])
async def test_the_next_start_reads_what_a_killed_server_left(caught: str) -> None:
    store = Watched()
    async with opened(store, "w1", at_once=1, time_limit=60) as first:
        document = await first.add("a.txt", b"Kept words.")
        if caught == "processing":
            await store.reached["processing"].wait()
    record = await store.get("document", document.id)
    assert record is not None
    assert record.doc["status"] == caught
    async with opened(store, "w2") as second:
        assert await second.jobs.adopt(await second.jobs.idle(), lambda worker: worker == "w1") == 1
        await second.documents.ready(ANN, assistant="helper", conversation=None)
        read = await second.documents.open(ANN, document.id)
        assert (read.status, read.chunks) == ("indexed", 1)
        assert await second.held() == {"document": 1, "chunk": 1, "vectors": 1, "blob": 1, "blob_chunk": 1}


async def test_a_file_that_takes_the_server_with_it_is_given_up() -> None:
    store = Watched()
    for n in range(1, 4):
        async with opened(store, f"w{n}", time_limit=60) as desk:
            if n == 1:
                document = await desk.add("a.hang", b"/dev/null")
            else:
                await desk.jobs.adopt(await desk.jobs.idle(), lambda worker: True)
            while [r.doc["attempts"] for r in await store.find(Query(kind="job"))] != [n]:  # noqa: ASYNC110
                await asyncio.sleep(0)
            tasks = list(desk.jobs._tasks.values())
            for task in tasks:
                task.cancel()  # as a kill does, without a word
            await asyncio.wait(tasks)
    async with opened(store, "w9") as desk:
        await desk.jobs.adopt(await desk.jobs.idle(), lambda worker: True)
        await desk.documents.ready(ANN, assistant="helper", conversation=None)
        failed = await desk.documents.open(ANN, document.id)
        assert failed.status == "failed"
        assert failed.problem == "it could not be indexed: this was begun 3 times and never finished"


async def test_two_processes_over_one_store_read_a_document_once() -> None:
    store = Watched()
    async with opened(store, "w1") as first, opened(store, "w2") as second:
        document = await first.add("a.txt", b"Words. " * 1000)
        await store.reached["processing"].wait()
        assert await second.jobs.adopt(await second.jobs.idle(), lambda worker: worker == "w1") == 1
        await second.documents.ready(ANN, assistant="helper", conversation=None)
        while first.jobs._tasks or second.jobs._tasks:
            await asyncio.wait([*first.jobs._tasks.values(), *second.jobs._tasks.values()])
        read = await second.documents.open(ANN, document.id)
        assert read.status == "indexed"
        assert store.statuses.count("indexed") == 1
        assert (await first.held())["chunk"] == read.chunks


@pytest.mark.parametrize("number", [5, 11])
async def test_more_documents_than_are_fetched_at_once(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    monkeypatch.setattr(document_scopes, "PAGE", 5)
    async with opened() as desk:
        added = [await desk.add(f"{n}.png", png()) for n in range(number)]
        assert [d.id for d in await desk.documents.of(ANN, assistant="helper")] == [d.id for d in added]
        await desk.store.apply(await desk.documents.removal("ann", "helper"))
        assert await desk.held() == {}


async def test_a_document_as_a_record() -> None:
    document = Document(
        id="d",
        owner="ann",
        filename="a.pdf",
        mime="application/pdf",
        size=1,
        sha256="00",
        created_at=START,
        updated_at=START,
        conversation="talk",
        status="failed",
        problem="p",
        summary="s",
        chunks=1,
        tokens=2,
        pages=3,
        started_at=START,
        completed_at=START,
        metadata={"k": ["v"]},
    )
    store = MemoryStore(KINDS)
    await store.apply([document_put(document)])
    record = await store.get("document", "d")
    assert record is not None
    assert document_of(record) == replace(document, version=1)
