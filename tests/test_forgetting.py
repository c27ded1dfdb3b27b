"""Forgetting a user leaves nothing of theirs in any file, and touches nothing of anybody else's."""

from __future__ import annotations

import asyncio
import sqlite3
from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from archive_made import made
from backchat.cli import main
from backchat.domain.identity import Identity
from backchat.domain.message import Usage
from backchat.domain.usage import Payer
from backchat.domain.vault import PlainPush, Push, SealedContent, SealedPush, VaultMessage
from backchat.domain.workspace import personal_workspace
from backchat.errors import Forbidden, InvalidCredentials, NotFound
from backchat.ports.storage import Delete, Put, Query, Record
from backchat.sealing.tokens import parse
from backchat.services import belongings
from backchat.services.kinds import KINDS
from backchat.services.stored import conversation_put
from backchat.services.vault_keys import Bearer
from backchat.testing.memory_store import MemoryStore
from backchat.testing.plugin import Serve
from backchat.testing.server import Box
from documents_made import docx, inflating_pdf, pdf, png, xlsx
from nodes import Node, node
from sdk_cases import read
from served import Server, backchat, serving
from threads_box import THREADS, WEATHER, BackboardClient, ask, drain, exceptions, sdk
from vault_http import caller, said, sealed
from workspaces_made import ANN, BOB, CAT, PEOPLE, Racing, accounts, left, office, placed

CONFIG = """
storage: {use: sqlite, path: {$data: backchat.db}}
providers: {echo: {use: echo}, slow: {use: echo, delay_ms: 30, words: 5000}}
embedders: {lite: {use: wordllama}}
memory: {use: window}
auth: [{use: apikey}]
dialects: [chat, threads]
documents: {time_limit: 30, at_once: 1}
server: {drain: 0}
"""
WORDS = {
    "ann": ("xylophonist", "quuxbarian", "zanzibarese", "wombatlike", "florgulent", "Ärgerniskäse"),
    "bob": ("mandolinist", "fnordinavian", "samarkandish", "capybaresque", "plimsollent", "Überraschungsei"),
}
TALK = [VaultMessage("user", "Hello")]


def written(word: str) -> Iterator[bytes]:
    """The ways in which a word may lie in a file: as text, without what FTS5 leaves out, and in base64."""
    yield word.encode()
    yield word[1:].encode()
    yield word.lower()[1:].encode()
    yield word.encode("utf-16-le")
    for n in range(3):  # by where in a group of three bytes it begins; what depends on its neighbours is cut off
        yield b64encode(b"\0" * n + word.encode()).rstrip(b"=")[4 if n else 0 : -1]


def holding(files: dict[str, bytes], words: Sequence[str]) -> dict[str, list[str]]:
    """In which files there is something of which words."""
    found = {w: [name for name, data in files.items() if any(form in data for form in written(w))] for w in words}
    return {word: names for word, names in found.items() if names}


async def contents(directory: Path) -> dict[str, bytes]:
    def read_all() -> dict[str, bytes]:
        return {p.name: p.read_bytes() for p in directory.rglob("*") if p.is_file()}

    return await asyncio.to_thread(read_all)


async def burn_the_books(database: Path) -> None:
    """Delete what was spent, and nothing else: it names whoever spent it, by ids."""

    def work() -> None:
        with closing(sqlite3.connect(database, isolation_level=None)) as db:
            db.execute("PRAGMA secure_delete = ON")  # only what is deleted here is overwritten
            for kind in ("usage", "spending"):
                db.execute(f"DELETE FROM {kind}")
            assert db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0

    await asyncio.to_thread(work)


@asynccontextmanager
async def user(server: Server, name: str, email: str) -> AsyncIterator[Any]:
    """A client of a fresh user, made beside the server."""
    own = await command("users", "create", name, "--email", email, *server.place)
    key = await command("keys", "create", "--user", name, "--name", f"{name}s", *server.place)
    url = f"http://127.0.0.1:{server.port}/api"
    async with BackboardClient(api_key=key.strip(), base_url=url, timeout=30) as client:
        client.own = own.strip()
        yield client


async def command(*args: str) -> str:
    """What a command prints. It runs in this process, for a second to start another one is most of its time."""

    def run() -> str:
        done = CliRunner().invoke(main, args)
        assert done.exit_code == 0, done.output
        return done.stdout

    return await asyncio.to_thread(run)


async def furnish(client: Any, directory: Path, words: Sequence[str]) -> dict[str, Any]:
    """Something of every sort that a user can have; ids by what they are of. The directory is made for the files."""
    await asyncio.to_thread(directory.mkdir, parents=True)
    one, two, three, four, five, six = words
    assistant = await client.create_assistant(
        name=f"The {one}", system_prompt=f"Be {two}.", description=six, tools=[WEATHER], embedding_provider="lite"
    )
    id = assistant.assistant_id
    thread = (await client.create_thread(id)).thread_id
    files = {
        f"{one}.md": f"# Notes\n\nThe {three} cat sleeps in the {four} basket.\n".encode(),
        "a.pdf": pdf(f"A {four} story."),
        "a.docx": docx(f"A {five} story."),
        "a.xlsx": xlsx(Sheet=[[one, two], [three, four]]),
        f"{two}.pdf": b"%PDF-1.7 broken " + three.encode(),
    }
    for name, data in files.items():
        await asyncio.to_thread((directory / name).write_bytes, data)
        await read(client, await client.upload_document_to_assistant(id, directory / name))
        await read(client, await client.upload_document_to_thread(thread, directory / name))
    picture = directory / "picture.png"
    await asyncio.to_thread(picture.write_bytes, png() + five.encode())
    await client.add_message(thread, f"Where does the {three} cat sleep?", files=[picture], metadata={"of": six})
    facts = [f"My cat is called {one}.", f"I live in {two}.", f"I moved to {three} last year."]
    for fact in facts:
        await client.add_message(thread, fact, memory="Auto")
    await client.add_memory(id, f"Likes {six}.", metadata={"why": five})
    await client.search_memories(id, two)
    asked = await client.add_message(thread, f'What is the weather in "{five}"?')
    assert asked.status == "REQUIRES_ACTION"
    outputs = [{"tool_call_id": call.id, "output": f"{six} and {one}"} for call in asked.tool_calls]
    await client.submit_tool_outputs(thread, asked.run_id, outputs)
    waiting = (await client.create_thread(id)).thread_id
    asked = await client.add_message(waiting, f'The weather in "{four}"?')
    assert asked.status == "REQUIRES_ACTION"
    await client.clone_assistant(id, name=f"Another {two}", copy_documents=True, copy_memories=True)
    client.left = [{"tool_call_id": call.id, "output": "rain"} for call in asked.tool_calls]
    ids = {"user": client.own, "assistant": str(id), "thread": str(thread), "waiting": str(waiting)}
    return {**ids, "run": asked.run_id}


def chat(server: Server, client: Any, words: Sequence[str]) -> str:
    status, said = server.ask(
        "POST", "/api/chat", {"text": " ".join(words)}, key=client.api_key, Idempotency_Key=words[0]
    )
    assert status == 200
    return str(said["conversation_id"])


async def everything(client: Any, server: Server, ids: dict[str, Any]) -> list[Any]:
    """What a user sees of what they have."""
    assistants = f"/api/assistants/{ids['assistant']}"
    paths = ["/api/assistants", "/api/threads", assistants, f"{assistants}/documents", f"{assistants}/memories"]
    paths += [f"{assistants}/memories/stats", f"/api/threads/{ids['thread']}", f"/api/threads/{ids['waiting']}"]
    paths += [f"/api/threads/{ids['thread']}/documents", f"/api/chat/messages?conversation_id={ids['chat']}"]
    return [await asyncio.to_thread(server.ask, "GET", path, key=client.api_key) for path in paths]


@pytest.mark.timeout(120)
async def test_nothing_of_a_user_is_left(tmp_path: Path) -> None:
    config = tmp_path / "backchat.yml"
    config.write_text(CONFIG)
    data = tmp_path / "data"
    with serving(tmp_path, config=config) as server:
        async with user(server, "ann", "ann@florgulent.example") as ann, user(server, "bob", "b@example.org") as bob:
            both = ((ann, "ann"), (bob, "bob"))
            anns, bobs = await asyncio.gather(*[furnish(c, tmp_path / "own" / n, WORDS[n]) for c, n in both])
            anns["chat"], bobs["chat"] = (chat(server, c, WORDS[n]) for c, n in ((ann, "ann"), (bob, "bob")))
            before = await everything(bob, server, bobs)
            assert all(status == 200 for status, _ in before)

            # At work when it happens: two replies, a file that is being read, and one in the line behind it.
            threads = [(await c.create_thread(i["assistant"])).thread_id for c, i in ((ann, anns), (bob, bobs))]
            replies = [
                asyncio.create_task(
                    drain(c.add_message(t, " ".join(WORDS[n]), stream=True, llm_provider="slow", memory="Auto"))
                )
                for c, t, n in ((ann, threads[0], "ann"), (bob, threads[1], "bob"))
            ]
            slow = tmp_path / "own" / "quuxbarian.pdf"
            await asyncio.to_thread(slow.write_bytes, await asyncio.to_thread(inflating_pdf))
            for file in (slow, tmp_path / "own" / "ann" / "xylophonist.md"):
                unread = await ann.upload_document_to_thread(threads[0], file)
            assert (await ann.get_document_status(unread.document_id)).status in ("pending", "processing")
            assert not replies[0].done()
            found = holding(await contents(data), [*WORDS["ann"], *anns.values()])
            assert set(found) == {*WORDS["ann"], *anns.values()}, "what is looked for can be found"

            gone = await asyncio.to_thread(backchat, "users", "delete", "ANN", "--yes", *server.place)
            assert (gone.returncode, gone.stderr) == (0, "")
            assert gone.stdout == f"deleted ANN, whose id was {anns['user']}\n"
            assert holding(await contents(data), WORDS["ann"]) == {}

            with pytest.raises(exceptions.BackboardAPIError, match="ended with status: cancelled"):
                await asyncio.wait_for(replies[0], 10)
            assert server.ask("GET", "/api/threads", key=ann.api_key)[0] == 401
            assert not replies[1].done(), "bob's goes on"
            replies[1].cancel()
            await asyncio.gather(replies[1], return_exceptions=True)
            await bob.delete_thread(threads[1])
            assert await everything(bob, server, bobs) == before
            said = await bob.add_message(bobs["thread"], "Where does the samarkandish cat sleep?", memory="Readonly")
            assert "capybaresque basket" in said.content
            assert {m["memory"] for m in said.messages[-1]["retrieved_memories"]} >= {"Likes Überraschungsei."}
            answered = await bob.submit_tool_outputs(bobs["waiting"], bobs["run"], bob.left)
            assert answered.status == "COMPLETED"
            assert answered.content.startswith("get_current_weather: rain\n")
        listed = await command("users", "list", *server.place)
        assert "bob" in listed
        assert anns["user"] not in listed
        assert server.stop() == 0
        await burn_the_books(data / "backchat.db")
        assert holding(await contents(data), [*WORDS["ann"], *anns.values()]) == {}
        assert "Traceback" not in server.log
        assert "crashed" not in server.log


async def own_id(box: Box, name: str) -> str:
    found = await box.services.accounts.user_by_name(name)
    assert found is not None
    return found.id


FILE = {"storage": {"use": "sqlite", "path": {"$data": "backchat.db"}}}
"""For tests that look into it."""


@pytest.mark.own_storage
async def test_a_reply_that_is_being_made_is_dropped(serve: Serve, tmp_path: Path) -> None:
    """In one process: whoever reads it is told, and other users notice nothing."""
    box = await serve({**THREADS, **FILE, "providers": {"echo": {"use": "echo", "delay_ms": 20, "words": 100}}})
    async with sdk(box, "ann") as ann, sdk(box, "bob") as bob:
        thread = str((await ann.create_thread((await ann.create_assistant(name="a")).assistant_id)).thread_id)
        others = asyncio.create_task(bob.send_message("wombatlike"))

        async def listen() -> None:
            forgotten = False
            async for event in await ann.add_message(thread, "xylophonist quuxbarian", stream=True):
                if event["type"] == "content_streaming" and not forgotten:
                    forgotten = True
                    await box.services.accounts.forget(await own_id(box, "ann"))
                    assert holding(await contents(tmp_path), ["xylophonist", "quuxbarian"]) == {}

        with pytest.raises(exceptions.BackboardAPIError, match="ended with status: cancelled"):
            await listen()
        assert (await others).content.startswith("wombatlike")
    await burn_the_books(tmp_path / "backchat.db")
    assert holding(await contents(tmp_path), ["xylophonist", "quuxbarian", thread]) == {}


@pytest.mark.own_storage
async def test_a_reply_that_does_not_stop_in_time(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It finds its conversation gone when it ends, and goes too."""
    monkeypatch.setattr(belongings, "PATIENCE", 0)
    box = await serve({**THREADS, **FILE, "providers": {"echo": {"use": "echo", "delay_ms": 20, "words": 60}}})
    async with sdk(box, "ann") as ann:
        id = await own_id(box, "ann")
        events = []
        async for event in await ann.send_message("xylophonist quuxbarian", stream=True, memory="Auto"):
            events.append(event["type"])
            if events.count("content_streaming") == 1 and event["type"] == "content_streaming":
                await box.services.accounts.forget(id)
        assert events.count("content_streaming") > 1
        assert "run_ended" not in events
    await box.services.accounts.forget(id)
    await burn_the_books(tmp_path / "backchat.db")
    assert holding(await contents(tmp_path), ["xylophonist", "quuxbarian", id]) == {}
    log = capsys.readouterr().err
    assert "run.lost" in log
    assert "crashed" not in log


async def test_what_requests_store_meanwhile_goes_too() -> None:
    """Requests that were let in before: what they store after the last conversation was deleted, and after the rest."""

    class Late(MemoryStore):
        comes: Iterator[str] = iter(())

        async def find(self, query: Query) -> Sequence[Record]:
            found = await super().find(query)
            if query.kind == "conversation" and not found and (id := next(self.comes, None)) is not None:
                mine = {"owner": "ann", "conversation": id, "seq": 1, "status": "completed"}
                tag = {"owner": "ann", "tag": id, "position": 1}
                talk = [*made(id, "tea")[0], Put("run", f"r{id}", mine), Put("file", f"f{id}", mine)]
                await self.apply([*talk, Put("event", f"r{id}.00000001", {"run": f"r{id}"}), Put("tag", id, tag)])
            return found

    store = Late(KINDS)
    await store.apply([*made("old", "tea")[0], *made("bobs", owner="bob")[0]])
    store.comes = iter(["one", "two", "three"])
    await belongings.forget(store, "ann")
    assert next(store.comes, None) is None
    left = {kind.name: [r.id for r in await store.find(Query(kind=kind.name))] for kind in KINDS}
    assert {kind: ids for kind, ids in left.items() if ids} == {"conversation": ["bobs"]}


async def test_who_never_stops_is_not_waited_for() -> None:
    class Restless(MemoryStore):
        rounds = 0

        async def find(self, query: Query) -> Sequence[Record]:
            if query.kind == "conversation":
                self.rounds += 1
                await self.apply(
                    [Put("tag", f"t{self.rounds}", {"owner": "ann", "tag": f"{self.rounds}", "position": 1})]
                )
            return await super().find(query)

    store = Restless(KINDS)
    async with asyncio.timeout(10):
        await belongings.forget(store, "ann")
    assert await store.count(Query(kind="tag")) <= 2, "what came after the last look"


async def test_twice_is_once_and_a_name_can_be_had_again(serve: Serve) -> None:
    box = await serve(THREADS)
    ann = await box.key("ann")
    assert (await ask(box, "POST", "/assistants", ann, json={"name": "mine"}))[0] == 200
    id = await own_id(box, "ann")
    for _ in range(2):
        await box.services.accounts.forget(id)
    assert (await ask(box, "GET", "/assistants", ann))[0] == 401
    again = await box.key("ann")
    assert await ask(box, "GET", "/assistants", again) == (200, [])
    assert await own_id(box, "ann") != id


# ---- what a user had together with others ---------------------------------------------------------------------------


@pytest.fixture
async def store() -> Racing:
    store = Racing()
    await accounts(store, *PEOPLE)
    return store


async def roles(store: Racing, workspace: str) -> dict[str, str]:
    found = await store.find(Query(kind="membership", where=(("workspace", (workspace,)),), order=("created",)))
    return {record.doc["user"]: record.doc["role"] for record in found}


@pytest.mark.parametrize(
    ("members", "heir"),
    [
        ({"bob": "member", "cat": "admin", "dan": "admin"}, "cat"),
        ({"cat": "member", "bob": "member"}, "cat"),
        ({"dan": "admin"}, "dan"),
    ],
)
async def test_a_workspace_passes_to_who_has_been_there_longest(
    store: Racing, members: dict[str, Any], heir: str
) -> None:
    async with node(store) as one:
        id = await office(one, **members)
        await placed(store, "anns", "tea", workspace=id)
        await placed(store, "heirs", "cake", workspace=id, owner=heir)
        await one.services.accounts.forget("ann")
        who = Identity(user=heir)
        workspace, role = await one.services.workspaces.open(who, id, "dissolve")
        assert (workspace.owner, workspace.name, role) == (heir, "Office", "owner")
        assert await roles(store, id) == {**members, heir: "owner"}
        assert (await one.conversations.open(who, "heirs")).workspace == id
        assert await left(store, "conversation") == {"conversation": ["heirs"]}


async def guested(store: Racing, one: Node) -> str:
    """Ann's personal workspace with two guests, and conversations of theirs."""
    id = personal_workspace("ann")
    for guest in ("bob", "cat"):
        await one.services.workspaces.add(ANN, id, "member", user=guest)
        await placed(store, f"{guest}s", "tea", workspace=id, owner=guest)
    await one.services.grants.give(BOB, "bobs", "view", user="cat")
    await placed(store, "anns", "cake")
    return id


async def taken_over(store: Racing, one: Node) -> None:
    """It is bob's as a workspace of another id, with all that guests had; what ann does when she is back is hers."""
    id, it = personal_workspace("ann"), one.services.workspaces
    ((passed, role),) = [found for found in (await it.page(BOB, skip=0, limit=5))[0] if not found[0].personal]
    assert (passed.owner, passed.personal, passed.id != id, role) == ("bob", False, True, "owner")
    assert await roles(store, passed.id) == {"bob": "owner", "cat": "member"}
    for who, conversation in ((BOB, "bobs"), (CAT, "cats"), (CAT, "bobs")):
        assert (await one.conversations.open(who, conversation)).home == passed.id
    with pytest.raises(NotFound, match="workspace not found"):
        await it.open(BOB, id)
    assert [(w.id, w.personal) for w, _ in (await it.page(ANN, skip=0, limit=5))[0]] == [(id, True)]
    with pytest.raises(NotFound, match="workspace not found"):
        await it.open(ANN, passed.id)
    assert await one.services.access.role(passed.id, "ann") is None
    await placed(store, "new", "pie")
    await it.dissolve(BOB, passed.id)
    assert await one.jobs.settled([f"workspace {passed.id}"], 5)
    assert await left(store, "conversation") == {"conversation": ["new"]}
    assert (await one.conversations.open(ANN, "new")).home == id


async def test_a_personal_workspace_with_guests_passes_too(store: Racing) -> None:
    """Its id does not: the user may come back, as the subject of a token may."""
    async with node(store) as one:
        await guested(store, one)
        there = await one.conversations.open(BOB, "bobs")
        titled = conversation_put(replace(there, title="meanwhile"))  # as a job does
        store.before("conversation", lambda: store.apply([titled]))
        await one.services.accounts.forget("ann")
        assert (await one.conversations.open(BOB, "bobs")).title == "meanwhile"
        await taken_over(store, one)


async def test_what_is_not_finished_of_that_is_for_the_next_call(store: Racing) -> None:
    async with node(store) as one:
        await guested(store, one)
        await store.apply([Delete("conversation", "anns")])

        async def breaks() -> None:
            store.failures = 1

        store.before("conversation", breaks)
        with pytest.raises(OSError, match="disk full"):
            await one.services.accounts.forget("ann")
        assert store.first is None
        await one.services.accounts.forget("ann")
        assert personal_workspace("ann") not in (await left(store, "workspace"))["workspace"]
        await taken_over(store, one)


async def test_a_workspace_without_others_goes_with_all_that_is_in_it(store: Racing) -> None:
    """What a former member has left there is deleted by the next process that looks for such work."""
    async with node(store) as one:
        id = await office(one, bob="admin")
        await placed(store, "bobs", "tea", workspace=id, owner="bob")
        await placed(store, "home", "cake", owner="bob")
        await one.services.workspaces.remove(BOB, id, "bob")
        await one.services.accounts.forget("ann")
        assert id not in (await left(store, "workspace")).get("workspace", [])
        await one.workers.beat()
        await one.workers.recover()
        assert await one.jobs.settled([f"workspace {id}"], 5)
        assert (await left(store, "conversation", "message", "job")) == {
            "conversation": ["home"],
            "message": ["home-1"],
        }


async def test_memberships_and_shares_end_and_what_was_spent_stays(store: Racing) -> None:
    async with node(store) as one:
        id = await office(one, bob="admin", cat="member")
        await placed(store, "anns", "tea", workspace=id)
        await placed(store, "bobs", "cake", workspace=id, owner="bob")
        await one.services.grants.give(ANN, "anns", "view", user="cat")
        for n in range(2):
            await one.services.grants.give(ANN, "anns", ("view", "edit")[n], user="bob")
        await one.services.publishing.toggle(BOB, "bobs")
        payer = Payer(user="bob", workspace=id)
        await one.services.ledger.check(payer)
        await store.apply(
            [one.services.ledger.booked(one.services.ledger.entry(payer, "title", "x", "y", Usage(1, 2), id="u"))]
        )
        store.before("conversation", lambda: one.conversations.rename(ANN, "anns", "new"))
        await one.services.accounts.forget("bob")
        anns = await one.conversations.open(ANN, "anns")
        assert ([g.user for g in anns.grants], anns.title) == (["cat"], "new")
        assert await roles(store, id) == {"ann": "owner", "cat": "member"}
        assert await left(store, "conversation", "public_link", "usage") == {"conversation": ["anns"], "usage": ["u"]}
        assert not [m for m in (await left(store, "membership"))["membership"] if m.endswith(".bob")]
        with pytest.raises(NotFound):
            await one.conversations.open(BOB, "anns")
        written = [
            (k, r.id) for k in KINDS for r in await store.find(Query(kind=k.name)) if "bob" in str((r.id, r.doc))
        ]
        assert [(kind.name, id) for kind, id in written] == [("usage", "u")]


async def test_two_owners_go_at_the_same_time(store: Racing) -> None:
    """Whichever is first: it passes on once more, to who is left."""
    async with node(store) as one:
        id = await office(one, bob="admin", cat="member")
        store.before("workspace", lambda: one.services.accounts.forget("bob"))
        await one.services.accounts.forget("ann")
        assert await roles(store, id) == {"cat": "owner"}
        other = (await one.services.workspaces.create(CAT, "Other")).id
        await one.services.workspaces.add(CAT, other, "admin", user="dan")
        await asyncio.gather(one.services.accounts.forget("cat"), one.services.accounts.forget("dan"))
        assert await left(store, "workspace", "membership") == {}
        assert {j.topic for j in await one.jobs.idle()} == {"workspace"}


# ---- the vault ------------------------------------------------------------------------------------------------------


async def vaults(store: Racing, user: str) -> dict[str, list[str]]:
    """The ids of what a user has in the vault."""
    kinds = [kind.name for kind in KINDS if kind.name.startswith("vault_")]
    assert len(kinds) == 6
    found = {k: await store.find(Query(kind=k, where=(("owner", (user,)),), limit=1000)) for k in kinds}
    return {kind: [r.id for r in records] for kind, records in found.items() if records}


async def tokened(one: Node, name: str) -> Bearer:
    """A user with an API key, and so with a vault key."""
    key, token = await one.services.accounts.create_key(await one.services.accounts.ensure_user(name), "test")
    return Bearer(Identity(user=key.user, key=key.id, platform="ollama"), parse(token))


@pytest.mark.own_storage
async def test_nothing_of_a_vault_is_left(serve: Serve, tmp_path: Path) -> None:
    """Details, contents, hashes, keys and what was deleted before; not in the files either. Others keep theirs."""
    box = await serve({**FILE, "dialects": ["chat", "convos", "vault"]})
    ann, bob = await caller(box, "ann"), await caller(box, "bob")
    told: list[str] = [await own_id(box, "ann")]
    for n, word in enumerate(WORDS["ann"][:4]):
        details = {
            "title": f"The {word}",
            "topic": f"Of {word}",
            "category": word,
            "tags": [word],
            "model": f"m-{word}",
        }
        pushed = await ann.push(f"{word} chat", said(word), platform=f"at {word}", **details)
        await ann.push(f"{word} chat", said(word, "more"), platform=f"at {word}")
        one = f"/entries/{pushed['entryId']}"
        versions = [await ann.ok("GET", f"{one}/versions/{v}") for v in (1, 2)]
        told += [v[name] for v in versions for name in ("iv", "encryptedContent", "contentHash", "keyId")]
        if n == 0:
            assert (await ann.ask("DELETE", one))[0] == 204
        if n == 1:
            told.append((await ann.ok("POST", "/vault/recovery"))["recoveryKey"].split("_")[1])
            told.append((await ann.ok("POST", "/vault/key/rotate"))["keyId"])
        if n == 2:
            await ann.ok("POST", f"{one}/adopt", json={"messages": said(word)})
    body = sealed(WORDS["ann"][4], chat=WORDS["ann"][4], keyId="own-key-of-ann")
    await ann.ok("POST", "/push", json=body)
    told += [body["iv"], body["encryptedContent"], "own-key-of-ann", (await ann.ok("GET", "/vault/key"))["wrappedKey"]]
    await bob.push("mandolinist chat", said("fnordinavian"), title="A mandolinist")
    before = await (await bob.raw("GET", "/pull")).read()
    # What is sealed lies there as the text that it is told as; in words, a piece from its middle.
    sought = [*WORDS["ann"][:5], *{text[4:44] if len(text) > 48 else text for text in told}]
    found = holding(await contents(tmp_path), sought)
    gone = 2 * 4 - 1  # of the deleted entry, all but the id of its key
    assert {*found} >= {*WORDS["ann"][:5], told[0], told[-1][4:44]}, "what is looked for can be found"
    assert len(found) >= len(sought) - gone

    await box.services.accounts.forget(await own_id(box, "ann"))
    assert holding(await contents(tmp_path), sought) == {}
    assert (await ann.ask("GET", "/pull"))[0] == 401
    assert await (await bob.raw("GET", "/pull")).read() == before
    (entry,) = (await bob.pull())["entries"]
    assert [m.content for m in await bob.opened(entry)] == ["fnordinavian"]
    back = await caller(box, "ann")
    assert (await back.pull())["total"] == 0
    assert (await back.push("c1"))["entryId"] == 1


async def test_pushes_that_were_let_in_before_leave_nothing() -> None:
    """They come while what the user has is looked for, again and again."""

    class Late(Racing):
        rounds = 0
        pushes: Callable[[str], Awaitable[object]] | None = None

        async def find(self, query: Query) -> Sequence[Record]:
            found = await super().find(query)
            if query.kind == "conversation" and not found and self.pushes is not None:
                self.rounds += 1
                pushes, self.pushes = self.pushes, None
                with pytest.raises((Forbidden, InvalidCredentials)):
                    await pushes(f"chat {self.rounds}")
                self.pushes = pushes
            return found

    store = Late()
    async with node(store) as one:
        bearer, other = await tokened(one, "ann"), await tokened(one, "bob")

        async def push(chat: str, by: Bearer = bearer) -> object:
            return await one.services.vault.push(by, Push(chat=chat, content=PlainPush(messages=TALK)))

        await push("early")
        await push("bobs", other)
        bobs = await vaults(store, other.who.user)
        assert set(await vaults(store, bearer.who.user)) == set(bobs)
        assert len(bobs) == 6
        store.pushes = push
        await one.services.accounts.forget(bearer.who.user)
        assert store.rounds > 1
        assert await vaults(store, bearer.who.user) == {}
        assert await vaults(store, other.who.user) == bobs


@pytest.mark.parametrize("made_by", ["server", "client"])
async def test_what_would_be_stored_even_later_is_refused(store: Racing, made_by: str) -> None:
    async with node(store) as one:
        bearer = await tokened(one, "ann")
        content: PlainPush | SealedPush = PlainPush(messages=TALK)
        await one.services.vault.push(bearer, Push(chat="early", content=content))
        if made_by == "client":
            content = SealedPush(sealed=SealedContent(b"i" * 12, b"d" * 20), messages=1)
        store.before("vault_entry", lambda: one.services.accounts.forget(bearer.who.user))
        with pytest.raises(InvalidCredentials):
            await one.services.vault.push(bearer, Push(chat="late", content=content))
        assert store.first is None
        assert await vaults(store, bearer.who.user) == {}
