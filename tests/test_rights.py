"""Rights at the services: who may do what, who is left out of which list, and whose streams end."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from backchat.domain.assistant import Assistant
from backchat.domain.conversation import Conversation
from backchat.domain.identity import Identity
from backchat.domain.message import Message, Text
from backchat.domain.recipe import Recipe
from backchat.domain.rights import RIGHTS, Action, Standing
from backchat.domain.run import Decision, Run, RunEnded, TextDelta
from backchat.domain.workspace import Workspace
from backchat.errors import Conflict, Forbidden, InvalidInput, NotFound
from backchat.ports.storage import Put, Query, Record
from backchat.services.adopting import Adopting
from backchat.services.archive import Archive, Wanted
from backchat.services.assistant_records import assistant_put
from backchat.services.bundles import Bundles
from backchat.services.container import Services
from backchat.services.conversations import Conversations
from backchat.services.documents import Documents
from backchat.services.exports import Exports
from backchat.services.forks import Forks
from backchat.services.grants import Grants
from backchat.services.publishing import Publishing
from backchat.services.runlog import event_put
from backchat.services.runs import Runs
from backchat.services.runstate import run_put
from backchat.services.saying import Say
from backchat.services.share_records import Share, share_put
from backchat.services.shares import Shares
from backchat.services.stored import CONVERSATION, conversation_of, conversation_put, message_put
from backchat.services.tags import Tags
from backchat.services.titles import Titles
from backchat.services.trees import NewMessage, Trees
from backchat.services.turns import Turns
from backchat.services.vault import Vault
from backchat.services.workspace_conversations import Change, WorkspaceConversations
from backchat.services.workspace_records import workspace_put
from backchat.testing.provider import ScriptedProvider
from backchat_sqlite.pages import find_statement
from backchat_sqlite.tables import Table
from nodes import ANN, Node, SlowStore, node
from rights_made import grant, left, member
from sqlite_files import opened, query
from trees_made import BEGINNING

PEOPLE: dict[str, Standing] = {
    "ann": "owner",
    "ed": "edit",
    "vi": "view",
    "boss": "admin",
    "adm": "admin",
    "mem": "member",
    "sam": "stranger",
    "gone": "stranger",
}
"""Who is what to the conversation ``c``; it is still shared with ``gone``, who has left the workspace."""
ED = Identity(user="ed")


def said(user: str, seq: int) -> Message:
    return Message(
        id=f"by-{user}",
        conversation="c",
        owner="ann",
        seq=seq,
        role="user",
        parts=(Text(f"I am {user}."),),
        created_at=BEGINNING,
        parent=f"by-{list(PEOPLE)[seq - 2]}" if seq > 1 else None,
        author=user,
    )


ANSWER = replace(said("ann", 1), id="answer", seq=len(PEOPLE) + 1, role="assistant", parent="by-gone", author=None)
SHARED = Conversation(
    id="c",
    owner="ann",
    title="Ours",
    created_at=BEGINNING,
    updated_at=BEGINNING,
    leaf="answer",
    next_seq=ANSWER.seq + 1,
    messages=ANSWER.seq,
    characters=100,
    workspace="team",
    grants=(grant("ed", "edit"), grant("vi"), grant("gone", "edit")),
)
LINK = Share(
    id="link",
    owner="ann",
    conversation="c",
    title="Ours",
    until=ANSWER.seq + 1,
    target=None,
    created_at=BEGINNING,
    updated_at=BEGINNING,
)
RUN = Run(
    id="r",
    conversation="c",
    owner="ann",
    author="ann",
    workspace="team",
    input="by-ann",
    seq=1,
    answer="answer",
    parent="by-ann",
    provider="scripted",
    model="m",
    worker="w",
    created_at=BEGINNING,
    recipe=Recipe(providers=("scripted",)),
    status="completed",
    expires_at=BEGINNING,
)
TEAM = Workspace(id="team", name="Team", owner="boss", created_at=BEGINNING, updated_at=BEGINNING)
HELPER = Assistant(id="helper", owner="ann", name="Helper", created_at=BEGINNING, updated_at=BEGINNING)
END = RunEnded("completed", "answer", "scripted", "m")
MEMBERS = [
    member("team", "ann"),
    member("team", "ed"),
    member("team", "vi"),
    member("team", "mem"),
    member("team", "adm", "admin"),
    member("team", "boss", "owner"),
]


@asynccontextmanager
async def world() -> AsyncIterator[tuple[Services, SlowStore]]:
    store = SlowStore()
    async with node(store, ScriptedProvider(["ok"])) as here:
        messages = [said(user, seq) for seq, user in enumerate(PEOPLE, 1)]
        await store.apply([conversation_put(SHARED), *map(message_put, [*messages, ANSWER]), *MEMBERS])
        await store.apply([share_put(LINK), run_put(RUN), event_put("r", 1, END)])
        await store.apply([workspace_put(TEAM), assistant_put(HELPER)])
        yield here.services, store


async def everything(pieces: AsyncIterator[Any]) -> None:
    async for _ in pieces:
        pass


async def unasked(asking: Awaitable[object]) -> None:
    with suppress(Conflict, InvalidInput):  # no run waits for anything
        await asking


FILE: dict[str, Any] = {"filename": "a.mp3", "mime": "", "data": b"x", "conversation": "c"}
NEW = NewMessage(id="new", parent="answer", parts=(Text("new"),))
Verb = Callable[[Services, Identity], Awaitable[object]]
VERBS: dict[str, tuple[Action, Verb]] = {
    "Conversations.open": ("read", lambda s, who: s.conversations.open(who, "c")),
    "Conversations.whole": ("read", lambda s, who: s.conversations.whole(who, "c")),
    "Conversations.transcript": ("read", lambda s, who: s.conversations.transcript(who, "c", limit=9)),
    "Conversations.adopt": ("update", lambda s, who: s.conversations.adopt(who, "c", "helper")),
    "Conversations.rename": ("update", lambda s, who: s.conversations.rename(who, "c", "x")),
    "Conversations.discard": ("delete", lambda s, who: s.conversations.discard(who, "c")),
    "Conversations.truncate": ("rewrite", lambda s, who: s.conversations.truncate(who, "c", 1)),
    "Trees.whole": ("read", lambda s, who: s.trees.whole(who, "c")),
    "Trees.open": ("read", lambda s, who: s.trees.open(who, "c", "answer")),
    "Trees.put": ("rewrite", lambda s, who: s.trees.put(who, "c", NEW)),
    "Trees.put again": ("rewrite", lambda s, who: s.trees.put(who, "c", replace(NEW, id=f"by-{who.user}"))),
    "Trees.edit": ("rewrite", lambda s, who: s.trees.edit(who, "c", "answer", "x")),
    "Trees.edit another's": ("rewrite", lambda s, who: s.trees.edit(who, "c", "by-mem", "x")),
    "Trees.edit one's own": ("withdraw", lambda s, who: s.trees.edit(who, "c", f"by-{who.user}", "x")),
    "Trees.annotate": ("annotate", lambda s, who: s.trees.annotate(who, "c", "answer", {"feedback": "ok"})),
    "Trees.remove": ("rewrite", lambda s, who: s.trees.remove(who, "c", "answer")),
    "Trees.remove another's": ("rewrite", lambda s, who: s.trees.remove(who, "c", "by-mem", splice=True)),
    "Trees.remove one's own": ("withdraw", lambda s, who: s.trees.remove(who, "c", f"by-{who.user}")),
    "Archive.put_away": ("update", lambda s, who: s.archive.put_away(who, "c", True)),
    "Archive.pin": ("update", lambda s, who: s.archive.pin(who, "c", True)),
    "Tags.create": ("update", lambda s, who: s.tags.create(who, "t", conversation="c")),
    "Tags.attach": ("update", lambda s, who: s.tags.attach(who, "c", ["t"])),
    "Titles.title": ("read", lambda s, who: s.titles.title(who, "c", 1)),
    "Forks.fork": ("read", lambda s, who: s.forks.fork(who, "c", "answer", "path")),
    "Forks.duplicate": ("read", lambda s, who: s.forks.duplicate(who, "c")),
    "Exports.portable": ("read", lambda s, who: s.exports.portable(who, "c")),
    "Exports.markdown": ("read", lambda s, who: s.exports.markdown(who, "c")),
    "Shares.create": ("share", lambda s, who: s.shares.create(who, "c", target="by-ann")),
    "Shares.of": ("share", lambda s, who: s.shares.of(who, "c")),
    "Documents.add": ("attach", lambda s, who: s.documents.add(who, **FILE)),
    "Documents.of": ("attach", lambda s, who: s.documents.of(who, conversation="c")),
    "Runs.open": ("read", lambda s, who: s.runs.open(who, "r")),
    "Runs.replayable": ("read", lambda s, who: s.runs.replayable(who, "r")),
    "Runs.follow": ("read", lambda s, who: everything(s.runs.follow(who, "r"))),
    "Runs.result": ("read", lambda s, who: s.runs.result(who, "r")),
    "Runs.cancel": ("say", lambda s, who: s.runs.cancel(who, "r")),
    "Turns.check": ("say", lambda s, who: s.turns.check(who, Say(text="x", conversation="c"))),
    "Turns.say": ("say", lambda s, who: s.turns.say(who, Say(text="x", conversation="c"))),
    "Turns.note": ("say", lambda s, who: s.turns.note(who, Say(text="x", conversation="c"))),
    "Turns.again": ("say", lambda s, who: s.turns.again(who, "c")),
    "Turns.waiting": ("say", lambda s, who: unasked(s.turns.waiting(who, "c", None))),
    "Turns.answer": ("say", lambda s, who: unasked(s.turns.answer(who, "c", None, []))),
    "Turns.confirm": ("say", lambda s, who: unasked(s.turns.confirm(who, "r", Decision(True)))),
    "WorkspaceConversations.open": ("read", lambda s, who: s.workspace_conversations.open(who, "team", "c")),
    "WorkspaceConversations.messages": (
        "read",
        lambda s, who: s.workspace_conversations.messages(who, "c", skip=0, limit=9),
    ),
    "WorkspaceConversations.message": ("read", lambda s, who: s.workspace_conversations.message(who, "c", "by-mem")),
    "WorkspaceConversations.update": (
        "update",
        lambda s, who: s.workspace_conversations.update(who, "c", Change(title="x")),
    ),
    "Grants.give": ("share", lambda s, who: given(s, who)),
    "Grants.of": ("share", lambda s, who: s.grants.of(who, "c")),
    "Grants.revoke": ("share", lambda s, who: s.grants.revoke(who, "c", grant="to-gone")),
    "Publishing.toggle": ("share", lambda s, who: s.publishing.toggle(who, "c")),
}  # fmt: skip
OTHERS = {
    # lists, and what is done to all that is in them
    *("Conversations.browse", "Conversations.page", "Archive.find", "Archive.put_all_away", "Archive.discard_all"),
    *("Trees.search", "Tags.all", "Shares.find", "Shares.shared", "Exports.everything", "WorkspaceConversations.page"),
    # new conversations, and copies of what the caller has been shown
    *("Conversations.create", "Trees.begin", "WorkspaceConversations.create", "Forks.copy", "Shares.continue_"),
    "Adopting.adopt",
    # what is told of something that the caller has opened
    *("Documents.ready", "Runs.grounds"),
    # things of a user's own
    *("Tags.update", "Tags.delete", "Shares.refresh", "Shares.delete"),
    *("Documents.open", "Documents.content", "Documents.discard"),
    *("Vault.count", "Vault.pull", "Vault.entry", "Vault.versions", "Vault.version", "Vault.delete"),
}
SERVICES = (
    *(Archive, Conversations, Documents, Exports, Forks, Grants, Publishing, Runs, Shares, Tags, Titles, Trees, Turns),
    *(Adopting, Vault, WorkspaceConversations),
)


async def given(s: Services, who: Identity) -> None:
    with suppress(InvalidInput):  # no account of that id
        await s.grants.give(who, "c", "view", user="nobody")


def test_every_verb_is_in_the_table() -> None:
    verbs = {
        f"{service.__name__}.{name}"
        for service in SERVICES
        for name, method in inspect.getmembers(service, inspect.isfunction)
        if not name.startswith("_") and "who" in inspect.signature(method).parameters
    }
    assert verbs == {name.split()[0] for name in VERBS} | OTHERS


@pytest.mark.parametrize("verb", VERBS)
async def test_a_verb_does_what_the_table_says(verb: str) -> None:
    action, do = VERBS[verb]
    for user in [user for user, standing in PEOPLE.items() if standing in RIGHTS[action]]:
        async with world() as (services, _):
            await do(services, Identity(user=user))
    async with world() as (services, store):
        before = len(store.commits)
        for user, standing in PEOPLE.items():
            if standing not in RIGHTS[action]:
                refusal = Forbidden if standing in RIGHTS["read"] else NotFound
                with pytest.raises(refusal):
                    await do(services, Identity(user=user))
        assert len(store.commits) == before


@pytest.mark.parametrize("user", PEOPLE)
async def test_own_things_in_a_conversation_go_with_its_rights(user: str) -> None:
    """A link and a document that are the caller's, of a conversation that they may no longer share, or attach to."""
    who = Identity(user=user)
    async with world() as (services, store):
        document = await services.documents.add(ANN, **FILE)
        record = await store.get("document", document.id)
        assert record is not None
        theirs = [
            share_put(replace(LINK, version=1, owner=user)),
            Put("document", document.id, {**record.doc, "owner": user}),
        ]
        await store.apply(theirs)
        for action, do in (
            ("share", services.shares.refresh(who, "link")),
            ("attach", services.documents.open(who, document.id)),
            ("attach", services.documents.content(who, document.id)),
            ("share", services.shares.delete(who, "link")),
        ):
            if PEOPLE[user] in RIGHTS[action]:  # type: ignore[index]
                await do
            else:
                with pytest.raises(Forbidden if PEOPLE[user] in RIGHTS["read"] else NotFound):
                    await do


async def test_a_link_shows_nothing_while_its_owner_is_out_of_the_workspace() -> None:
    async with world() as (services, store):
        shown = (await services.shares.read("link")).messages
        await store.apply([left("team", "ann")])
        for reading in (services.shares.read("link"), services.shares.continue_(ANN, "link")):
            with pytest.raises(NotFound, match="link not found"):
                await reading
        await store.apply([member("team", "ann")])
        assert (await services.shares.read("link")).messages == shown


async def test_a_copy_stays_where_its_source_is_and_does_not_outlast_the_membership() -> None:
    async with world() as (services, store):
        copy, messages = await services.forks.duplicate(ANN, "c")
        assert (copy.home, copy.owner, len(messages)) == ("team", "ann", ANSWER.seq)
        source = await services.conversations.open(ANN, "c")
        await store.apply([left("team", "ann")])
        before = len(store.commits)
        with pytest.raises(NotFound):
            await services.forks.copy(ANN, source, messages, target=None)
        assert len(store.commits) == before


async def test_a_reworded_message_stays_its_authors() -> None:
    async with world() as (services, _):
        again = replace(NEW, id="by-ed", parts=(Text("better"),))
        assert (await services.trees.put(ANN, "c", again)).author == "ed"
        assert (await services.trees.edit(ED, "c", "by-ed", "best")).text == "best"


# ---- lists ----------------------------------------------------------------------------------------------------------


async def tagged(s: Services) -> set[str]:
    return {"personal", "team"} if (await s.tags.all(ANN))[0].count == 2 else {"personal"}


async def counted(s: Services) -> set[str]:
    bundles = Bundles(s.exports.store, s.access, s.exports.now)
    return {"personal", "team"} if await bundles.count(ANN) == 2 else {"personal"}


async def bundled(s: Services) -> set[str]:
    lines = b"".join([piece async for piece in s.exports.everything(ANN, "jsonl")])
    return {id for id in ("personal", "team") if b'"title":"About %b"' % id.encode() in lines}


async def archived(s: Services) -> set[str]:
    await s.archive.put_all_away(ANN)
    there = await s.exports.store.find(Query(kind="conversation", where=(("archived", (True,)),)))
    return {r.id for r in there}


LISTS: dict[str, Callable[[Services], Awaitable[set[str]]]] = {
    "browse": lambda s: _ids(s.conversations.browse(ANN, limit=9)),
    "browse a channel": lambda s: _ids(s.conversations.browse(ANN, channel="web", limit=9)),
    "page": lambda s: _ids(s.conversations.page(ANN, skip=0, limit=9)),
    "find": lambda s: _found(s, Wanted()),
    "find pinned": lambda s: _found(s, Wanted(pinned=True)),
    "find tagged": lambda s: _found(s, Wanted(tags=["t"])),
    "find by title": lambda s: _found(s, Wanted(order="title")),
    "find words of a title": lambda s: _found(s, Wanted(words="about")),
    "find words of a message": lambda s: _found(s, Wanted(words="hello")),
    "search": lambda s: _hits(s),
    "tags": tagged,
    "export": bundled,
    "count": counted,
    "links": lambda s: _links(s),
    "archive all": archived,
    "delete all": lambda s: _ids(s.archive.discard_all(ANN)),
}


BULK = ("archive all", "delete all")
"""They look for page after page, and ask again each time: what they do is not to outlive the right to it."""


async def _ids(found: Awaitable[Sequence[Conversation]]) -> set[str]:
    return {c.id for c in await found}


async def _found(s: Services, wanted: Wanted) -> set[str]:
    return {c.id for c in (await s.archive.find(ANN, wanted)).conversations}


async def _hits(s: Services) -> set[str]:
    return {hit.conversation.id for hit in (await s.trees.search(ANN, "hello", limit=9))[0]}


async def _links(s: Services) -> set[str]:
    return {share.conversation for share in (await s.shares.find(ANN))[0]}


async def shelve(s: Services, store: SlowStore) -> None:
    """Two conversations of ann's: one in her personal workspace, one in a team's."""
    for id, workspace in (("personal", None), ("team", "team")):
        message = replace(said("ann", 1), id=f"m-{id}", conversation=id, parts=(Text("hello"),))
        conversation = replace(
            SHARED,
            id=id,
            title=f"About {id}",
            workspace=workspace,
            grants=(),
            leaf=message.id,
            next_seq=2,
            messages=1,
            pinned=True,
            link=f"link of {id}",
        )
        await store.apply(
            [conversation_put(conversation), message_put(message), member("team", "ann")][: 2 + bool(workspace)]
        )
        await s.tags.attach(ANN, id, ["t"])
        await s.shares.create(ANN, id)


@pytest.mark.parametrize("name", LISTS)
async def test_a_list_leaves_out_what_lies_where_one_has_left(name: str) -> None:
    store = SlowStore()
    async with node(store) as here:
        await shelve(here.services, store)
        await store.apply([left("team", "ann")])
        with pytest.raises(NotFound):
            await here.conversations.open(ANN, "team")
        assert await LISTS[name](here.services) == {"personal"}
        assert await store.get("conversation", "team") is not None
        await store.apply([member("team", "ann")])
        if name == "delete all":
            assert await LISTS[name](here.services) == {"team"}
        else:
            assert await LISTS[name](here.services) == {"personal", "team"}
            assert (await here.conversations.open(ANN, "team")).id == "team"


class Listening(SlowStore):
    """Counts what is read, and keeps the queries."""

    def __init__(self) -> None:
        super().__init__()
        self.reads: list[str] = []
        self.asked: list[Query] = []

    async def get(self, kind: str, id: str) -> Record | None:
        self.reads.append(kind)
        return await super().get(kind, id)

    async def find(self, query: Query) -> Sequence[Record]:
        self.reads.append(query.kind)
        self.asked.append(query)
        return await super().find(query)


@pytest.mark.parametrize("teams", [0, 1, 9, 300])
async def test_lists_are_read_from_the_same_index_as_without_workspaces(tmp_path: Path, teams: int) -> None:
    store = Listening()
    async with node(store) as here:
        await shelve(here.services, store)
        await store.apply([left("team", "ann"), *[member(f"team-{n}", "ann") for n in range(teams)]])
        for name, look in LISTS.items():
            store.reads.clear()
            await look(here.services)
            asked = [kind for kind in store.reads if kind == "membership"]
            looks = len(asked) // (teams // 200 + 1)
            assert len(asked) == looks * (teams // 200 + 1), name
            assert looks == (2 if name in BULK else 1), name
    queries = [q for q in store.asked if q.kind == CONVERSATION.name and dict(q.where).get("workspace")]
    assert len({q.order for q in queries}) >= 4
    async with opened(tmp_path / "backchat.db", [CONVERSATION]):
        for asking in queries:
            plain = replace(asking, where=tuple([c for c in asking.where if c[0] != "workspace"]))
            plans = []
            for form in (asking, plain):
                statement = find_statement(Table(CONVERSATION), form)
                assert statement is not None
                rows = await query(tmp_path / "backchat.db", f"EXPLAIN QUERY PLAN {statement.sql}", *statement.values)
                plans.append([row[3] for row in rows if "SEARCH r" in row[3] or "B-TREE" in row[3]])
            assert plans[0] == plans[1]


# ---- streams --------------------------------------------------------------------------------------------------------


async def revoke(store: SlowStore) -> None:
    record = await store.get("conversation", "c")
    assert record is not None
    await store.apply([conversation_put(replace(conversation_of(record), grants=()))])


async def leave(store: SlowStore) -> None:
    await store.apply([left("team", "ed")])


async def own(store: SlowStore) -> None:
    await store.apply([left("team", "ann")])


ENDS = {"revoked": (ED, revoke), "left": (ED, leave), "left one's own": (ANN, own)}
AT_ONCE, NEVER = timedelta(milliseconds=1), timedelta(hours=1)


@asynccontextmanager
async def talking(*turn: Any, recheck: timedelta) -> AsyncIterator[tuple[Node, SlowStore, Run]]:
    """Ann says something in the shared conversation."""
    store = SlowStore()
    async with node(store, ScriptedProvider(turn), recheck=recheck) as here:
        empty = replace(SHARED, leaf=None, next_seq=1, messages=0, characters=0)
        await store.apply([conversation_put(empty), *MEMBERS])
        yield here, store, await here.say("hi", conversation="c")


@pytest.mark.parametrize("end", ENDS)
async def test_a_stream_ends_with_the_access(end: str) -> None:
    who, ending = ENDS[end]
    async with talking("Hel", asyncio.Event(), recheck=AT_ONCE) as (here, store, run), asyncio.timeout(10):
        stream = here.runs.follow(who, run.id)
        assert [event for _, event in await anext(stream)] == [TextDelta("Hel")]
        blocking = asyncio.create_task(here.runs.result(who, run.id))
        reading = asyncio.create_task(anext(stream))
        done, _ = await asyncio.wait({reading, blocking}, timeout=0.02)
        assert not done
        await ending(store)
        for task in (reading, blocking):
            with pytest.raises(NotFound):
                await task
        assert run.id in here.runs.live


@pytest.mark.parametrize("end", ENDS)
async def test_nothing_more_is_shown_after_the_access(end: str) -> None:
    """However seldom it is asked otherwise, it is asked before anything is shown."""
    who, ending = ENDS[end]
    gate = asyncio.Event()
    async with talking("Hel", gate, "lo", recheck=NEVER) as (here, store, run), asyncio.timeout(10):
        stream = here.runs.follow(who, run.id)
        await anext(stream)
        blocking = asyncio.create_task(here.runs.result(who, run.id))
        await asyncio.sleep(0)
        await ending(store)
        gate.set()
        with pytest.raises(NotFound):
            await anext(stream)
        with pytest.raises(NotFound):
            await blocking
        for again in (anext(here.runs.follow(who, run.id)), here.runs.result(who, run.id)):
            with pytest.raises(NotFound):
                await again


async def test_a_stream_of_another_process_ends_with_the_access() -> None:
    async with talking("Hel", asyncio.Event(), recheck=AT_ONCE) as (here, store, run), asyncio.timeout(10):
        await anext(here.runs.follow(ANN, run.id))
        async with node(store, recheck=AT_ONCE) as other:
            stream = other.runs.follow(ED, run.id)
            assert [event for _, event in await anext(stream)] == [TextDelta("Hel")]
            blocking = asyncio.create_task(other.runs.result(ED, run.id))
            await revoke(store)
            with pytest.raises(NotFound):
                await anext(stream)
            with pytest.raises(NotFound):
                await blocking


async def test_who_may_read_on_reads_to_the_end() -> None:
    gate = asyncio.Event()
    async with talking("Hel", gate, "lo", recheck=AT_ONCE) as (here, _, run), asyncio.timeout(10):
        streams = [here.runs.follow(who, run.id) for who in (ANN, ED)]
        begun = [await anext(stream) for stream in streams]
        blocking = asyncio.create_task(here.runs.result(ED, run.id))
        gate.set()
        logs = [[*first, *[e async for batch in s for e in batch]] for first, s in zip(begun, streams, strict=True)]
        assert logs[0] == logs[1]
        assert isinstance(logs[0][-1][1], RunEnded)
        _, answer = await blocking
        assert answer is not None
        assert answer.text == "Hello"


async def test_the_owner_in_their_personal_workspace_is_not_asked_about() -> None:
    store, gate = Listening(), asyncio.Event()
    async with node(store, ScriptedProvider(["Hel", gate, "lo"]), recheck=AT_ONCE) as here, asyncio.timeout(10):
        run = await here.say("hi")
        await anext(here.runs.follow(ANN, run.id))
        store.reads.clear()
        behind = here.runs.follow(ANN, run.id)
        await anext(behind)
        blocking = asyncio.create_task(here.runs.result(ANN, run.id))
        await asyncio.wait({blocking}, timeout=0.02)
        assert store.reads == []
        gate.set()
        async for _ in behind:
            pass
        await blocking
        await here.conversations.rename(ANN, run.conversation, "x")
        await here.services.trees.edit(ANN, run.conversation, run.input, "x")
        await here.runs.cancel(ANN, run.id)
        assert "membership" not in store.reads
        store.reads.clear()
        await here.runs.result(ANN, run.id)
        assert store.reads == ["run", "message"]
