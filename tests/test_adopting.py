"""Adopting: from an entry of the vault to a conversation like every other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, get_args

import pytest

from backchat.domain.conversation import Conversation
from backchat.domain.identity import Identity
from backchat.domain.limits import Retention
from backchat.domain.message import Message
from backchat.domain.settings import ModelSettings
from backchat.domain.times import stamp
from backchat.domain.vault import VaultMessage, VaultRole
from backchat.domain.workspace import personal_workspace
from backchat.errors import InvalidInput, NotFound
from backchat.ports.storage import Query
from backchat.services.archive import Wanted
from backchat.services.stored import message_of
from backchat.testing.provider import ScriptedProvider
from backchat_langgraph.messages import to_langchain
from nodes import ANN, BOB, Node, node
from vault_desk import Desk, everything, plain
from workspaces_made import Racing, accounts, left

ROLES: tuple[VaultRole, ...] = get_args(VaultRole)


@pytest.fixture
async def store() -> Racing:
    store = Racing()
    await accounts(store, ANN, BOB)
    return store


DETAILS: Mapping[str, Any] = {
    "title": "SQL help",
    "category": "coding",
    "topic": "databases",
    "model": "qwen-3",
    "tags": ("work", "sql"),
}
BEGUN = datetime(2025, 5, 1, 9, tzinfo=UTC)


def said(*texts: str) -> list[VaultMessage]:
    """By user and assistant in turn, without times."""
    return [VaultMessage("assistant" if n % 2 else "user", text) for n, text in enumerate(texts)]


async def put_in(store: Racing, details: Mapping[str, Any] = DETAILS) -> int:
    """Push a conversation of ann's; the number of its entry. Others are from before it."""
    desk = Desk(store)
    desk.time = BEGUN - timedelta(minutes=1)
    await desk.push(plain("Something else."), chat="another")
    desk.time = BEGUN - desk.step
    return (await desk.push(plain("How?", "So."), chat="asked", platform="LM Studio", details=details)).entry


async def whole(one: Node, conversation: Conversation) -> list[Message]:
    return list(await one.conversations.whole(ANN, conversation.id))


async def times(one: Node, *timestamps: str | None) -> tuple[Conversation, list[str]]:
    """A conversation of messages with these timestamps; what became of them."""
    number = await put_in(one.store)  # type: ignore[arg-type]
    messages = [replace(m, timestamp=t) for m, t in zip(said(*["x"] * len(timestamps)), timestamps, strict=True)]
    made = await one.services.adopting.adopt(ANN, number, messages)
    return made, [stamp(m.created_at) for m in await whole(one, made)]


# ---- what becomes of it ---------------------------------------------------------------------------------------------


async def test_details_go_along(store: Racing) -> None:
    async with node(store) as one:
        number = await put_in(store)
        before, commits = await everything(store), len(store.commits)
        made = await one.services.adopting.adopt(ANN, number, said("How?", "So.", "Thanks."))
        assert len(store.commits) == commits + 1, "all of it is one batch"
        stored = await one.conversations.open(ANN, made.id)
        assert stored == replace(made, workspace=made.home)
        assert (made.owner, made.home, made.grants) == ("ann", personal_workspace("ann"), ())
        assert (made.title, made.tags, made.channel, made.source) == (
            "SQL help",
            ("work", "sql"),
            "vault",
            f"vault:{number}",
        )
        assert made.metadata == {"platform": "lm studio", "category": "coding"}
        assert made.options == {"endpoint": "lm studio", "model": "qwen-3"}
        assert made.settings == ModelSettings(), "there may be no such model here"
        assert {t.tag: t.count for t in await one.services.tags.all(ANN)} == {"work": 1, "sql": 1}
        messages = await whole(one, made)
        assert [(m.role, m.text, m.model, m.author) for m in messages] == [
            ("user", "How?", None, "ann"),
            ("assistant", "So.", "qwen-3", None),
            ("user", "Thanks.", None, "ann"),
        ]
        assert (made.messages, made.characters, made.leaf) == (3, len("How?So.Thanks."), messages[-1].id)
        assert await everything(store) == before


async def test_what_was_never_given_is_not_there(store: Racing) -> None:
    async with node(store) as one:
        number = await put_in(store, {})
        made = await one.services.adopting.adopt(ANN, number, said("How?", "So."))
        assert (made.title, made.tags, made.metadata) == ("Untitled", (), {"platform": "lm studio"})
        assert made.options == {"endpoint": "lm studio"}
        assert [m.model for m in await whole(one, made)] == [None, None]


async def test_each_time_it_is_another_conversation(store: Racing) -> None:
    async with node(store) as one:
        number = await put_in(store)
        first, second = [await one.services.adopting.adopt(ANN, number, said("How?", "So.")) for _ in range(2)]
        ids = [{c.id, *[m.id for m in await whole(one, c)]} for c in (first, second)]
        assert len(ids[0] | ids[1]) == 6
        assert {t.tag: t.count for t in await one.services.tags.all(ANN)} == {"work": 2, "sql": 2}
        await one.conversations.discard(ANN, first.id)
        assert [m.text for m in await whole(one, second)] == ["How?", "So."]


async def test_it_is_kept_as_long_as_others(store: Racing) -> None:
    async with node(store, retention=Retention(conversations=timedelta(days=3))) as one:
        made = await one.services.adopting.adopt(ANN, await put_in(store), said("How?", "So."))
        assert made.expires_at is not None
        assert timedelta(0) <= one.time - (made.expires_at - timedelta(days=3)) < timedelta(seconds=1)
        one.time = made.expires_at + timedelta(milliseconds=1)
        with pytest.raises(NotFound):
            await one.conversations.open(ANN, made.id)
    async with node(store) as one:
        assert (await one.services.adopting.adopt(ANN, await put_in(store), said("x"))).expires_at is None


async def test_a_long_one(store: Racing) -> None:
    async with node(store) as one:
        made = await one.services.adopting.adopt(ANN, await put_in(store), said(*[f"line {n}" for n in range(10_000)]))
        found = [message_of(r) for r in await store.find(Query(kind="message", order=("seq",), limit=10_001))]
        assert [m.text for m in found] == [f"line {n}" for n in range(10_000)]
        assert [m.parent for m in found] == [None, *[m.id for m in found[:-1]]]
        assert made.leaf == found[-1].id


# ---- times ----------------------------------------------------------------------------------------------------------


async def test_times_are_kept(store: Racing) -> None:
    async with node(store) as one:
        made, found = await times(
            one, "2024-05-06T07:08:09.5+02:00", "2024-05-06t06:00:00z", "2024-05-06T06:00:00.1234567Z"
        )
        assert found == ["2024-05-06T05:08:09.500Z", "2024-05-06T06:00:00.000Z", "2024-05-06T06:00:00.123Z"]
        assert [stamp(made.created_at), stamp(made.updated_at)] == [found[0], found[-1]]


async def test_messages_stay_in_order_whatever_their_times(store: Racing) -> None:
    """What is not after the message before it, is missing or cannot be meant gets the moment after that."""
    async with node(store) as one:
        _, found = await times(
            one,
            "2024-05-06T07:00:00Z",
            "2024-05-06T06:00:00Z",
            None,
            "2024-12-31T23:59:60Z",
            "0001-01-01T00:00:00+12:00",
            "9999-12-31T23:59:59-12:00",
            "2024-05-06T07:00:01Z",
        )
        late = [f"2024-05-06T07:00:00.00{n}Z" for n in range(6)]
        assert found == [*late, "2024-05-06T07:00:01.000Z"]


async def test_what_has_no_time_before_one_that_has(store: Racing) -> None:
    async with node(store) as one:
        made, found = await times(one, None, None, "2024-05-06T07:00:00Z", "2024-05-06T07:00:01Z")
        assert found[2:] == ["2024-05-06T07:00:00.000Z", "2024-05-06T07:00:01.000Z"]
        assert found[:2] == ["2024-05-06T06:59:59.998Z", "2024-05-06T06:59:59.999Z"]
        assert stamp(made.created_at) == found[0]


async def test_without_any_times_it_is_from_when_it_was_pushed(store: Racing) -> None:
    async with node(store) as one:
        made, found = await times(one, None, "0001-01-01T00:00:00Z", "2024-05-06T07:00:00")
        assert found == [stamp(BEGUN + n * timedelta(milliseconds=1)) for n in range(3)]
        assert made.created_at == BEGUN
        desk = Desk(store)
        await desk.push(plain("How?", "So.", "Thanks."), chat="asked", platform="LM Studio")
        again = await one.services.adopting.adopt(ANN, 2, said("How?", "So.", "Thanks."))
        assert (again.created_at, again.updated_at) == (BEGUN, desk.time)


# ---- what models see ------------------------------------------------------------------------------------------------


async def test_every_service_takes_what_is_said_afterwards(store: Racing) -> None:
    """Every role after every other one: what a tool said stands there as the model's own text, answering no call."""
    provider = ScriptedProvider(["ok"])
    roles = [role for first in ROLES for second in ROLES for role in (first, second)]
    messages = [VaultMessage(role, f"{n} from {role}" if n != 3 else "") for n, role in enumerate(roles)]
    async with node(store, provider) as one:
        made = await one.services.adopting.adopt(ANN, await put_in(store), messages)
        run = await one.say("And now?", conversation=made.id)
        assert (await one.runs.result(ANN, run.id))[0].status == "completed"
        (request,) = provider.requests
        assert request.model in (None, "scripted-1")
        shown = [(m.role, "".join([getattr(p, "text", "?") for p in m.parts])) for m in request.messages]
        told = [("assistant" if m.role == "tool" else m.role, m.content) for m in messages if m.content]
        assert shown == [*told, ("user", "And now?")]
        kept = await whole(one, made)
        assert [m.metadata.get("role") for m in kept[: len(roles)]] == [r if r == "tool" else None for r in roles]
        assert len([to_langchain(m) for m in request.messages]) == len(shown)


# ---- refused --------------------------------------------------------------------------------------------------------


async def nothing_but(store: Racing) -> dict[str, list[str]]:
    return await left(store, "conversation", "message", "tag")


async def test_nothing_cannot_be_a_conversation(store: Racing) -> None:
    async with node(store) as one:
        number = await put_in(store)
        with pytest.raises(InvalidInput) as refused:
            await one.services.adopting.adopt(ANN, number, [])
        assert refused.value.field == "body.messages"
        assert await nothing_but(store) == {}


async def test_entries_of_others_are_not_there(store: Racing) -> None:
    async with node(store) as one:
        mine = await put_in(store)
        refusals = []
        for who, number in ((BOB, mine), (ANN, mine + 1), (ANN, 0), (ANN, 1 << 64), (Identity(user="no"), mine)):
            with pytest.raises(NotFound) as refused:
                await one.services.adopting.adopt(who, number, said("x"))
            refusals.append((type(refused.value), str(refused.value)))
        assert len(set(refusals)) == 1
        assert await nothing_but(store) == {}


async def test_an_entry_that_is_deleted_meanwhile(store: Racing) -> None:
    async with node(store) as one:
        number = await put_in(store)
        store.before("conversation", lambda: Desk(store).vault.delete(ANN, number))
        with pytest.raises(NotFound, match="entry not found"):
            await one.services.adopting.adopt(ANN, number, said("x"))
        assert store.first is None
        assert await nothing_but(store) == {}


async def test_an_owner_who_is_forgotten_meanwhile(store: Racing) -> None:
    async with node(store) as one:
        number = await put_in(store)
        store.before("conversation", lambda: one.services.accounts.forget("ann"))
        with pytest.raises(NotFound, match="entry not found"):
            await one.services.adopting.adopt(ANN, number, said("x"))
        assert await nothing_but(store) == {}
        assert await everything(store) == {}


async def test_a_push_and_a_tag_meanwhile(store: Racing) -> None:
    """The entry changes, and a tag is deleted: neither is undone, and no conversation has a tag that no list has."""
    async with node(store) as one:
        number = await put_in(store)
        await one.services.tags.create(ANN, "sql")
        desk = Desk(store)

        async def meanwhile() -> None:
            await desk.push(plain("New."), chat="asked", platform="LM Studio", details={"title": "Later"})
            await one.services.tags.delete(ANN, "sql")

        store.before("conversation", meanwhile)
        made = await one.services.adopting.adopt(ANN, number, said("x"))
        assert store.first is None
        assert {t.tag: t.count for t in await one.services.tags.all(ANN)} == {"work": 1, "sql": 1}
        found = await one.services.archive.find(ANN, Wanted(tags=["sql"]))
        assert [c.id for c in found.conversations] == [made.id]
        pushed = await desk.about(number)
        assert (pushed.title, pushed.latest) == ("Later", 2)


async def test_what_cannot_be_stored_is_not_stored_in_part(store: Racing) -> None:
    async with node(store) as one:
        number = await put_in(store)
        before = await everything(store)
        store.failures = 1
        with pytest.raises(OSError, match="disk full"):
            await one.services.adopting.adopt(ANN, number, said("x"))
        assert await nothing_but(store) == {}
        assert await everything(store) == before
        await one.services.adopting.adopt(ANN, number, said("x"))
        assert len((await nothing_but(store))["conversation"]) == 1
