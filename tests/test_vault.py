"""The vault as its service: what a push stores and what it does not, and what is read of it again."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from backchat.domain.identity import Identity
from backchat.domain.vault import PlainPush, SealedContent, SealedPush, VaultMessage
from backchat.errors import (
    Forbidden,
    Internal,
    InvalidCredentials,
    InvalidInput,
    NotFound,
    VersionConflict,
)
from backchat.ports.storage import Change, Delete, Put, Query, Record, RecordStore
from backchat.sealing.keys import new_key
from backchat.services import belongings, vault, vault_contents
from backchat.services.kinds import KINDS
from backchat.services.vault import VaultFilter
from backchat.services.vault_keys import Bearer
from backchat.services.vault_records import latest_id, lineage, version_id, version_of, version_puts
from backchat.testing.memory_store import MemoryStore
from backchat_dialect_vault import shapes
from backchat_dialect_vault.handlers_entries import list_versions
from sqlite_files import opened
from vault_desk import ANN, BOB, Desk, as_bytes, bearer, everything, issued, plain

MARKER = "a word that is nowhere else"
COUNTER_AT_1 = {"owner": "ann", "last": 1}


BOTH = pytest.mark.parametrize("store", ["memory", "sqlite"], indirect=True)


@pytest.fixture
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[RecordStore]:
    if getattr(request, "param", "memory") == "memory":
        yield MemoryStore(KINDS)
        return
    async with opened(tmp_path / "backchat.db", KINDS) as made:
        yield made


@pytest.fixture
def desk(store: RecordStore) -> Desk:
    return Desk(store)


class Watched:
    """A store that lets a test step in between two of the calls that reach it."""

    def __init__(self, store: RecordStore) -> None:
        self._store = store
        self.before_apply: Callable[[], Awaitable[Any]] | None = None
        self.before_find: Callable[[], Awaitable[Any]] | None = None
        self.read: list[str] = []

    async def get(self, kind: str, id: str) -> Record | None:
        self.read.append(kind)
        return await self._store.get(kind, id)

    async def find(self, query: Query) -> Sequence[Record]:
        self.read.append(query.kind)
        if query.kind == "vault_content" and self.before_find is not None:
            step, self.before_find = self.before_find, None
            await step()
        return await self._store.find(query)

    async def apply(self, changes: Sequence[Change]) -> None:
        if self.before_apply is not None:
            step, self.before_apply = self.before_apply, None
            await step()
        await self._store.apply(changes)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


class TestWhatAnEntryIs:
    @BOTH
    async def test_the_worked_example_of_the_contract(self, desk: Desk) -> None:
        details = {"title": "SQL help"}
        first = await desk.push(plain("u1"), details=details)
        again = await desk.push(plain("u1"), details=details)
        longer = await desk.push(plain("u1", "a1"))
        elsewhere = await desk.push(plain("u1"), platform="chatgpt")
        assert [(p.entry, p.version, p.outcome) for p in (first, again, longer, elsewhere)] == [
            (1, 1, "created"),
            (1, 1, "unchanged"),
            (1, 2, "updated"),
            (2, 1, "created"),
        ]
        (group,) = [group async for group in desk.vault.pull(ANN.who, VaultFilter(platform="ollama"), limit=20)]
        ((entry, sealed),) = group
        assert (entry.number, entry.messages, entry.title, entry.latest) == (1, 2, "SQL help", 2)
        assert desk.opened(entry, entry.key, sealed) == ["u1", "a1"]

    async def test_a_platform_is_one_however_it_is_written_and_a_chat_is_not(self, desk: Desk) -> None:
        by = bearer("ann", platform="LM-Stüdio")
        pushed = [
            await desk.push(plain("x"), "Chat", by, platform=platform) for platform in ("lm-stüdio", "LM-STÜDIO", None)
        ]
        others = [await desk.push(plain("x"), chat, by, platform=None) for chat in ("chat", "Chat ", " Chat")]
        assert [p.outcome for p in pushed] == ["created", "unchanged", "unchanged"]
        assert [p.entry for p in others] == [2, 3, 4]
        assert (await desk.about(1)).platform == "lm-stüdio"
        assert [(await desk.about(n)).chat for n in (1, 2, 3, 4)] == ["Chat", "chat", "Chat ", " Chat"]

    async def test_a_platform_that_nobody_names(self, desk: Desk) -> None:
        with pytest.raises(InvalidInput) as caught:
            await desk.push(plain("x"), platform=None)
        assert caught.value.field == "body.platform"
        assert not await everything(desk.store)

    async def test_numbers_are_a_users_own_and_never_used_again(self, desk: Desk) -> None:
        assert [(await desk.push(plain("x"), chat)).entry for chat in "abc"] == [1, 2, 3]
        assert (await desk.push(plain("x"), "a", BOB)).entry == 1
        await desk.vault.delete(ANN.who, 3)
        assert [(await desk.push(plain("x"), chat)).entry for chat in "cd"] == [4, 5]
        assert (await desk.push(plain("x"), "b", BOB)).entry == 2

    @BOTH
    async def test_what_is_anothers_is_not_there(self, desk: Desk) -> None:
        await desk.push(plain("hers"))
        for number in (1, 2, 0, -1, 1 << 53, 1 << 80):
            for ask in (desk.vault.entry, desk.vault.versions, desk.vault.delete):
                with pytest.raises(NotFound):
                    await ask(BOB.who, number)
            with pytest.raises(NotFound):
                await desk.vault.version(BOB.who, number, 1)
        for version in (0, 2, -1, 1 << 80):
            with pytest.raises(NotFound):
                await desk.vault.version(ANN.who, 1, version)
        assert await desk.vault.count(BOB.who, VaultFilter()) == 0
        assert await desk.said(1) == ["hers"]

    @BOTH
    async def test_the_store_sees_no_word_of_it(self, desk: Desk) -> None:
        await desk.push(plain(MARKER))
        assert MARKER not in repr(await everything(desk.store))
        assert await desk.said(1) == [MARKER]


class TestVersions:
    async def test_each_is_a_whole_snapshot_and_stays(self, desk: Desk) -> None:
        for said in (["a", "b"], ["a", "b", "c"], ["a"]):
            await desk.push(plain(*said))
        assert [await desk.said(1, n) for n in (1, 2, 3)] == [["a", "b"], ["a", "b", "c"], ["a"]]
        _, versions = await desk.vault.versions(ANN.who, 1)
        assert [(v.number, v.messages) for v in versions] == [(1, 2), (2, 3), (3, 1)]

    async def test_what_has_not_changed_stores_nothing(self, desk: Desk) -> None:
        details = {"title": "t", "tags": ["a", "b"], "model": None}
        await desk.push(plain("x", "y"), details=details)
        before = await everything(desk.store)
        assert (await desk.push(plain("x", "y"), details=details)).outcome == "unchanged"
        assert (await desk.push(plain("x", "y"))).outcome == "unchanged"
        assert await everything(desk.store) == before

    @pytest.mark.parametrize(
        "other",
        [
            VaultMessage("assistant", "x", "2024-05-06T07:08:09Z"),
            VaultMessage("user", "x ", "2024-05-06T07:08:09Z"),
            VaultMessage("user", "x"),
            VaultMessage("user", "x", "2024-05-06T07:08:09+00:00"),
        ],
    )
    async def test_what_makes_a_message_another_one(self, desk: Desk, other: VaultMessage) -> None:
        one, last = VaultMessage("user", "x", "2024-05-06T07:08:09Z"), VaultMessage("user", "z")
        await desk.push(PlainPush(messages=[one, last]))
        assert (await desk.push(PlainPush(messages=[other, last]))).version == 2
        assert (await desk.push(PlainPush(messages=[last, other]))).version == 3

    async def test_each_knows_what_it_was_pushed_with(self, desk: Desk) -> None:
        await desk.push(plain("a"), details={"model": "m1"})
        await desk.push(plain("a"), details={"model": "m2"})
        later = bearer("ann")
        await desk.push(plain("b"), by=later)
        entry, (first, second) = await desk.vault.versions(ANN.who, 1)
        assert (first.model, second.model, entry.model) == ("m1", "m2", "m2")
        assert (first.token, second.token) == (ANN.who.key, later.who.key)
        assert first.key == second.key == entry.key == desk.keys.newest("ann").id
        assert entry.created_at == first.created_at < second.created_at == entry.updated_at
        assert first.content_hash != second.content_hash == entry.content_hash

    async def test_details_alone_make_no_version(self, desk: Desk) -> None:
        details = {"title": "t", "category": "c", "topic": "o", "model": "m", "tags": ["a", "b"]}
        await desk.push(plain("x"), details=details)
        for name, value in (("title", "u"), ("category", None), ("topic", "p"), ("model", "n"), ("tags", ["b", "a"])):
            before = await desk.about(1)
            pushed = await desk.push(plain("x"), details={name: value})
            after = await desk.about(1)
            assert (pushed.outcome, pushed.version) == ("described", 1)
            assert after.updated_at > before.updated_at
            assert after.created_at == before.created_at
        kept = await desk.about(1)
        assert (kept.title, kept.category, kept.topic, kept.model, kept.tags) == ("u", None, "p", "n", ("b", "a"))
        assert await desk.numbers(1) == [1]

    async def test_absent_details_stay_and_null_clears(self, desk: Desk) -> None:
        await desk.push(plain("x"), details={"title": "t", "tags": ["a"], "topic": "o"})
        await desk.push(plain("y"), details={"topic": None})
        kept = await desk.about(1)
        assert (kept.title, kept.tags, kept.topic, kept.latest) == ("t", ("a",), None, 2)
        await desk.push(plain("y"), details={"tags": None, "title": None})
        kept = await desk.about(1)
        assert (kept.title, kept.tags, kept.latest) == (None, (), 2)
        assert (await desk.push(plain("y"), details={"tags": [], "title": None})).outcome == "unchanged"

    async def test_a_clock_that_stands_or_goes_back(self, desk: Desk) -> None:
        desk.step = timedelta(0)
        await desk.push(plain("0"))
        seen = [(await desk.about(1)).updated_at]
        for n, step in enumerate((timedelta(0), timedelta(hours=-1), timedelta(microseconds=300)), 1):
            desk.step = step
            await desk.push(plain(str(n)))
            seen.append((await desk.about(1)).updated_at)
            await desk.push(plain(str(n)), details={"title": str(n)})
            seen.append((await desk.about(1)).updated_at)
        assert seen == [seen[0] + timedelta(milliseconds=n) for n in range(7)]
        _, versions = await desk.vault.versions(ANN.who, 1)
        assert [v.created_at for v in versions] == [seen[0], seen[1], seen[3], seen[5]]

    @BOTH
    async def test_a_base_that_is_not_current(self, desk: Desk) -> None:
        for base in (1, -1):
            with pytest.raises(VersionConflict) as caught:
                await desk.push(plain("a"), base=base)
            assert caught.value.version == 0
        assert (await desk.push(plain("a"), base=0)).outcome == "created"
        assert (await desk.push(plain("b"), base=1)).version == 2
        before = await everything(desk.store)
        for content in (plain("b"), plain("c"), desk.seal(["d"])):
            for base in (0, 1, 3):
                with pytest.raises(VersionConflict) as caught:
                    await desk.push(content, base=base, details={"title": "t"})
                assert caught.value.version == 2
        assert await everything(desk.store) == before
        assert (await desk.push(plain("b"), base=2)).outcome == "unchanged"

    @BOTH
    async def test_the_oldest_go_when_there_are_too_many(self, store: RecordStore) -> None:
        desk = Desk(store, versions=2)
        for n in range(1, 5):
            await desk.push(plain(str(n)))
        assert await desk.numbers(1) == [3, 4]
        assert (await desk.about(1)).oldest == 3
        assert [await desk.said(1, n) for n in (3, 4)] == [["3"], ["4"]]
        assert len(await everything(store, "vault_content")) == len(await everything(store, "vault_version")) == 2
        with pytest.raises(NotFound):
            await desk.vault.version(ANN.who, 1, 2)

    async def test_a_cap_that_is_lowered_and_raised(self, store: RecordStore) -> None:
        desk = Desk(store)
        for n in range(1, 6):
            await desk.push(plain(str(n)))
            await desk.push(plain(str(n)), "untouched")
        desk = desk.capped(2)
        await desk.push(plain("6"))
        assert await desk.numbers(1) == [5, 6]
        desk = desk.capped(None)
        await desk.push(plain("7"))
        assert await desk.numbers(1) == [5, 6, 7]
        desk = desk.capped(9)
        await desk.push(plain("8"))
        assert ((await desk.about(1)).oldest, await desk.numbers(1)) == (5, [5, 6, 7, 8])
        desk = desk.capped(1)
        await desk.push(plain("8"), details={"title": "t"})
        assert await desk.numbers(1) == [8]
        assert await desk.said(1) == ["8"]
        assert await desk.numbers(2) == [1, 2, 3, 4, 5]

    async def test_a_list_of_them_reads_no_content(self) -> None:
        desk = Desk(MemoryStore(KINDS))
        for n in range(3):
            await desk.push(plain(str(n)))
        watched = Watched(desk.store)
        _, versions = await Desk(watched).vault.versions(ANN.who, 1)
        assert [v.number for v in versions] == [1, 2, 3]
        assert "vault_content" not in watched.read


class TestKeys:
    async def test_whoever_has_no_key_seals_and_reads(self, desk: Desk) -> None:
        jwt = Bearer(Identity(user="ann"), None)
        with pytest.raises(Forbidden):
            await desk.push(plain("x"), by=jwt, base=7)
        assert not await everything(desk.store)
        assert (await desk.push(desk.seal(["x"]), by=jwt)).outcome == "created"
        assert await desk.said(1) == ["x"]
        assert (await desk.vault.versions(ANN.who, 1))[1][0].token is None

    async def test_what_has_not_changed_since_the_key_was_renewed(self, desk: Desk) -> None:
        await desk.push(plain("x"))
        old = desk.keys.newest("ann")
        new = desk.keys.rotated("ann")
        assert (await desk.push(plain("x"))).outcome == "unchanged"
        assert (await desk.push(plain("x"), details={"title": "t"})).outcome == "described"
        assert (await desk.push(plain("y"))).version == 2
        _, versions = await desk.vault.versions(ANN.who, 1)
        assert [v.key for v in versions] == [old.id, new.id]
        assert [await desk.said(1, n) for n in (1, 2)] == [["x"], ["y"]]

    async def test_without_the_key_of_the_latest_version_nothing_can_be_compared(self, desk: Desk) -> None:
        await desk.push(plain("x"))
        desk.keys.withheld.add(desk.keys.newest("ann").id)
        desk.keys.rotated("ann")
        assert (await desk.push(plain("x"))).version == 2
        assert (await desk.push(plain("x"))).outcome == "unchanged"

    async def test_plain_and_sealed_pushes_of_the_same(self, desk: Desk) -> None:
        await desk.push(plain("x"))
        assert (await desk.push(desk.seal(["x"]))).outcome == "unchanged"
        assert (await desk.push(desk.seal(["y"]))).version == 2
        assert (await desk.push(plain("y"))).outcome == "unchanged"
        assert (await desk.push(desk.seal(["y"], hashed=False))).version == 3
        assert (await desk.push(plain("y"))).version == 4


class TestSealedPushes:
    async def test_the_bytes_are_stored_as_they_are(self, desk: Desk) -> None:
        pushed = SealedPush(sealed=SealedContent(b"i" * 12, b"d" * 16), messages=7, content_hash="0" * 64)
        await desk.push(pushed)
        entry, sealed = await desk.vault.entry(ANN.who, 1)
        assert as_bytes(sealed) == pushed.sealed
        assert (entry.key, entry.content_hash, entry.messages, entry.size) == (None, "0" * 64, 7, 16)

    @pytest.mark.parametrize("key", ["mine", None])
    async def test_the_very_bytes_are_a_retry_and_others_a_version(self, desk: Desk, key: str | None) -> None:
        one, two = [desk.seal([said], key=new_key(), hashed=False, told=key) for said in ("x", "x")]
        pushed = [await desk.push(content) for content in (one, one, two, two)]
        assert [(p.version, p.outcome) for p in pushed] == [
            (1, "created"),
            (1, "unchanged"),
            (2, "updated"),
            (2, "unchanged"),
        ]
        assert (await desk.push(one)).version == 3
        assert as_bytes((await desk.vault.entry(ANN.who, 1))[1]) == one.sealed
        assert (await desk.push(two, details={"title": "back"})).version == 4
        assert (await desk.push(two, details={"title": "and forth"})).outcome == "described"

    async def test_equal_hashes_are_equal_content(self, desk: Desk) -> None:
        await desk.push(desk.seal(["x"]))
        before = await everything(desk.store)
        assert (await desk.push(desk.seal(["x"]))).outcome == "unchanged"
        assert await everything(desk.store) == before
        other = replace(desk.seal(["x"]), content_hash="f" * 64)
        assert (await desk.push(other)).version == 2

    async def test_an_iv_is_used_once_under_a_key(self, desk: Desk) -> None:
        iv, mine = b"\x07" * 12, new_key()
        await desk.push(desk.seal(["x"], key=mine, iv=iv))
        before = await everything(desk.store)
        for chat in ("c1", "c2"):
            for hashed in (True, False):
                with pytest.raises(InvalidInput) as caught:
                    await desk.push(desk.seal(["y"], key=mine, iv=iv, hashed=hashed), chat, details={"title": "t"})
                assert caught.value.field == "body.iv"
        # Whoever says that it is the same content, and sends other bytes, has sealed something else with it.
        liar = replace(desk.seal(["y"], key=mine, iv=iv), content_hash=desk.seal(["x"], key=mine).content_hash)
        with pytest.raises(InvalidInput):
            await desk.push(liar)
        assert await everything(desk.store) == before
        assert (await desk.push(desk.seal(["y"], key=mine, iv=iv, told="other"))).version == 2
        assert (await desk.push(desk.seal(["y"], key=mine, iv=iv), by=BOB)).outcome == "created"

    async def test_no_key_id_is_one_key(self, desk: Desk) -> None:
        iv = b"\x07" * 12
        await desk.push(desk.seal(["x"], key=new_key(), iv=iv, told=None))
        with pytest.raises(InvalidInput):
            await desk.push(desk.seal(["x"], key=new_key(), iv=iv, told=None), "c2")

    async def test_the_ivs_of_the_server_count(self, desk: Desk) -> None:
        await desk.push(plain("x"))
        entry, sealed = await desk.vault.entry(ANN.who, 1)
        with pytest.raises(InvalidInput):
            await desk.push(desk.seal(["y"], iv=as_bytes(sealed).iv))
        await desk.push(plain("y"))
        own = SealedPush(sealed=as_bytes(sealed), messages=1, key=entry.key)
        assert (await desk.push(own)).version == 3
        assert await desk.said(1) == ["x"]

    @BOTH
    async def test_an_iv_stays_used_when_its_version_is_gone(self, store: RecordStore) -> None:
        desk, mine = Desk(store, versions=1), new_key()
        ivs = [bytes([n]) * 12 for n in range(3)]
        for n, iv in enumerate(ivs):
            await desk.push(desk.seal([str(n)], key=mine, iv=iv))
        await desk.vault.delete(ANN.who, 1)
        for iv in ivs:
            with pytest.raises(InvalidInput):
                await desk.push(desk.seal(["other"], key=mine, iv=iv))
        assert (await desk.push(desk.seal(["0"], key=mine, iv=ivs[0]))).outcome == "created"

    @BOTH
    async def test_one_iv_for_two_contents_at_the_same_time(self, desk: Desk) -> None:
        iv, mine = b"\x07" * 12, new_key()
        contents = [(desk.seal([chat], key=mine, iv=iv, chat=chat), chat) for chat in "abcdef"]
        outcomes = await asyncio.gather(*[desk.push(*c) for c in contents], return_exceptions=True)
        assert sorted([type(o).__name__ for o in outcomes]) == ["InvalidInput"] * 5 + ["Pushed"]
        assert len(await everything(desk.store, "vault_entry")) == 1


class TestDeleting:
    @BOTH
    async def test_all_of_it_goes_but_for_the_ivs(self, desk: Desk) -> None:
        for n in range(3):
            await desk.push(plain(str(n)))
        await desk.push(plain("other"), "c2")
        await desk.vault.delete(ANN.who, 1)
        with pytest.raises(NotFound):
            await desk.vault.delete(ANN.who, 1)
        kinds = [kind for kind, _ in await everything(desk.store)]
        assert sorted(kinds) == sorted(
            ["vault_entry", "vault_version", "vault_content", "vault_counter", *["vault_nonce"] * 4]
        )
        assert await desk.said(2) == ["other"]

    async def test_the_same_chat_again_is_another_entry(self, desk: Desk) -> None:
        await desk.push(plain("x"), details={"title": "old"})
        await desk.push(plain("y"))
        await desk.vault.delete(ANN.who, 1)
        again = await desk.push(plain("y"))
        assert (again.entry, again.version, again.outcome) == (2, 1, "created")
        assert (await desk.about(2)).title is None
        assert await desk.numbers(2) == [1]

    @BOTH
    async def test_a_push_that_comes_in_between_goes_with_it(self, store: RecordStore) -> None:
        watched, desk = Watched(store), Desk(store)
        await desk.push(plain("x"))
        watched.before_apply = lambda: desk.push(plain("y"))
        await Desk(watched, desk.keys).vault.delete(ANN.who, 1)
        assert {kind for kind, _ in await everything(store)} == {"vault_counter", "vault_nonce"}

    @BOTH
    @pytest.mark.parametrize("details", [{}, {"title": "new"}])
    @pytest.mark.parametrize("recreated", [False, True])
    async def test_a_push_whose_entry_is_deleted_in_between(
        self, store: RecordStore, recreated: bool, details: dict[str, Any]
    ) -> None:
        """The record of what is made again is at the same version as the one that was read."""
        watched, desk = Watched(store), Desk(store)
        await desk.push(plain("x"))

        async def meanwhile() -> None:
            await desk.vault.delete(ANN.who, 1)
            if recreated:
                await desk.push(plain("x"))

        watched.before_apply = meanwhile
        content = plain("x") if details else plain("y")
        pushed = await Desk(watched, desk.keys).push(content, details=details)
        assert pushed.entry == 2
        assert await desk.said(2) == ["x" if details else "y"]
        assert await desk.pulled() == [2]
        assert await desk.numbers(2) == list(range(1, pushed.version + 1))
        with pytest.raises(NotFound):
            await desk.vault.entry(ANN.who, 1)

    async def test_a_number_that_was_given_and_freed_in_between(self, store: RecordStore) -> None:
        watched, desk = Watched(store), Desk(store)

        async def meanwhile() -> None:
            await desk.vault.delete(ANN.who, (await desk.push(plain("x"), "other")).entry)

        await desk.push(plain("x"), "first")
        watched.before_apply = meanwhile
        assert (await Desk(watched, desk.keys).push(plain("x"))).entry == 3
        assert (await desk.push(plain("x"), "last")).entry == 4

    @BOTH
    async def test_a_deletion_whose_entry_is_another_one_by_then(self, store: RecordStore) -> None:
        watched, desk = Watched(store), Desk(store)
        await desk.push(plain("x"))

        async def meanwhile() -> None:
            await desk.vault.delete(ANN.who, 1)
            await desk.push(plain("z"))

        watched.before_apply = meanwhile
        with pytest.raises(NotFound):
            await Desk(watched, desk.keys).vault.delete(ANN.who, 1)
        assert await desk.said(2) == ["z"]


class TestDamaged:
    """What no request has made, and none may wait for: a file that was restored in part, or written by hand."""

    @pytest.fixture
    async def store(self, tmp_path: Path) -> AsyncIterator[RecordStore]:
        """One that gives others their turn, so that what never ends can be stopped."""
        async with opened(tmp_path / "backchat.db", KINDS) as made:
            yield made

    async def _damage(self, desk: Desk, how: str) -> None:
        entry = await desk.about(1)
        if how == "without its latest version":
            await desk.store.apply([Delete("vault_version", latest_id(entry))])
            return
        latest = await desk.store.get("vault_version", latest_id(entry))
        assert latest is not None
        ahead = {**latest.doc, "number": entry.latest + 1}
        await desk.store.apply([Put("vault_version", version_id(lineage(entry), entry.latest + 1), ahead)])

    @pytest.mark.parametrize("how", ["without its latest version", "with one that is ahead of it"])
    async def test_a_push_of_an_entry(self, desk: Desk, how: str) -> None:
        for said in "ab":
            await desk.push(plain(said), details={"title": "t"})
        await desk.push(plain("x"), "other")
        await self._damage(desk, how)
        before = await everything(desk.store)
        for content in (plain("c"), desk.seal(["d"])):
            with pytest.raises(Internal, match="entry 1"):
                await asyncio.wait_for(desk.push(content), 10)
        assert await everything(desk.store) == before
        assert (await desk.push(plain("y"), "other")).outcome == "updated"
        await asyncio.wait_for(desk.vault.delete(ANN.who, 1), 10)
        assert await desk.pulled() == [2]
        for kind in ("vault_version", "vault_content"):
            assert {doc["entry"] for _, doc in (await everything(desk.store, kind)).values()} == {
                lineage(await desk.about(2))
            }
        again = await desk.push(plain("b"))
        assert (again.entry, again.outcome) == (3, "created")

    async def test_details_of_an_entry_without_its_latest_version(self, desk: Desk) -> None:
        await desk.push(plain("a"))
        await self._damage(desk, "without its latest version")
        with pytest.raises(Internal, match="entry 1"):
            await asyncio.wait_for(desk.push(plain("a"), details={"title": "t"}), 10)

    async def test_a_deletion_whose_entry_is_another_one_by_then(self, store: RecordStore) -> None:
        """The one that was damaged is gone when it is deleted; the one of the same chat that came after it stays."""
        watched, desk = Watched(store), Desk(store)
        await desk.push(plain("a"))
        await self._damage(desk, "without its latest version")

        async def meanwhile() -> None:
            await desk.vault.delete(ANN.who, 1)
            await desk.push(plain("z"))

        async def then() -> None:
            watched.before_apply = meanwhile

        watched.before_apply = then
        await asyncio.wait_for(Desk(watched, desk.keys).vault.delete(ANN.who, 1), 10)
        assert await desk.pulled() == [2]
        assert await desk.said(2) == ["z"]
        assert await desk.numbers(2) == [1]

    @pytest.mark.parametrize("how", ["lost", "behind"])
    async def test_a_counter(self, desk: Desk, how: str) -> None:
        for chat in "abc":
            await desk.push(plain("x"), chat)
        await desk.push(plain("x"), "bobs", BOB)
        changed = Delete("vault_counter", "ann") if how == "lost" else Put("vault_counter", "ann", COUNTER_AT_1)
        await desk.store.apply([changed])
        pushed = [await asyncio.wait_for(desk.push(plain("x"), chat), 10) for chat in "de"]
        assert [p.entry for p in pushed] == [4, 5]
        assert (await desk.push(plain("x"), "more", BOB)).entry == 2


class TestForgotten:
    """A push that was let in before its user was deleted, and is to be stored after that."""

    @BOTH
    @pytest.mark.parametrize("sealed", [False, True])
    @pytest.mark.parametrize("chat", ["there", "new", "first of all"])
    async def test_nothing_of_it_stays(self, store: RecordStore, chat: str, sealed: bool) -> None:
        watched, desk = Watched(store), Desk(store)
        if chat == "first of all":  # there is nothing of the user's yet that could be changed meanwhile
            await issued(store, ANN)
        else:
            await desk.push(plain("x"), "there")
        await desk.push(plain("x"), "bobs", BOB)
        watched.before_apply = lambda: belongings.forget(store, "ann")
        content = desk.seal(["late"], chat=chat) if sealed else plain("late")
        with pytest.raises(InvalidCredentials):
            await Desk(watched, desk.keys).push(content, chat)
        assert watched.before_apply is None
        assert {doc["owner"] for _, doc in (await everything(store)).values()} == {"bob"}
        assert (await desk.push(plain("y"), "bobs", BOB)).outcome == "updated"

    async def test_without_a_token_there_is_none_to_look_for(self, desk: Desk) -> None:
        assert (await desk.push(desk.seal(["x"]), by=Bearer(Identity(user="ann"), None))).outcome == "created"

    async def test_a_push_that_only_has_to_begin_again(self, store: RecordStore) -> None:
        """Others that write first are no reason to refuse it."""
        watched, desk = Watched(store), Desk(store)
        await desk.push(plain("x"))
        watched.before_apply = lambda: desk.push(plain("y"))
        assert (await Desk(watched, desk.keys).push(plain("z"))).version == 3


class TestAtTheSameTime:
    async def test_a_new_chat_from_two_processes(self, tmp_path: Path) -> None:
        path = tmp_path / "backchat.db"
        async with opened(path, KINDS) as one, opened(path, KINDS) as two:
            here = Desk(one)
            there = Desk(two, here.keys)
            for n in range(10):
                same, other = f"same{n}", f"other{n}"
                pushed = await asyncio.gather(here.push(plain("a"), same), there.push(plain("a"), same))
                assert sorted([(p.version, p.outcome) for p in pushed]) == [(1, "created"), (1, "unchanged")]
                assert len({p.entry for p in pushed}) == 1
                pushed = await asyncio.gather(here.push(plain("a"), other), there.push(plain("b"), other))
                assert sorted([(p.version, p.outcome) for p in pushed]) == [(1, "created"), (2, "updated")]

    @pytest.mark.parametrize("processes", [1, 2])
    async def test_many_new_chats_of_one_user(self, tmp_path: Path, processes: int) -> None:
        path = tmp_path / "backchat.db"
        async with opened(path, KINDS) as one, opened(path, KINDS) as two:
            here = Desk(one)
            desks = [here, Desk(two, here.keys)][:processes]
            pushes = [desks[n % processes].push(plain(str(n)), f"chat{n}") for n in range(200)]
            pushed = await asyncio.wait_for(asyncio.gather(*pushes), 60)
            assert sorted([p.entry for p in pushed]) == list(range(1, 201))
            assert await here.vault.count(ANN.who, VaultFilter()) == 200

    async def test_many_versions_of_one_chat(self, tmp_path: Path) -> None:
        path = tmp_path / "backchat.db"
        async with opened(path, KINDS) as one, opened(path, KINDS) as two:
            here = Desk(one, versions=5)
            desks = [here, Desk(two, here.keys, versions=5)]
            pushed = await asyncio.gather(*[desks[n % 2].push(plain(str(n))) for n in range(60)])
            assert sorted([p.version for p in pushed]) == list(range(1, 61))
            assert await here.numbers(1) == [56, 57, 58, 59, 60]
            said = {p.version: str(n) for n, p in enumerate(pushed)}
            assert [await here.said(1, n) for n in range(56, 61)] == [[said[n]] for n in range(56, 61)]


class TestPulling:
    @BOTH
    async def test_filters_combine(self, desk: Desk) -> None:
        for chat, platform, details in (
            ("a", "ollama", {"category": "work", "tags": ["x", "y"], "title": "Größe of things"}),
            ("b", "ollama", {"category": "work", "tags": ["x"], "topic": "things"}),
            ("a", "chatgpt", {"category": "play", "tags": ["y", "x", "z"], "title": "nothing"}),
            ("c", "chatgpt", {}),
        ):
            await desk.push(plain("thing"), chat, platform=platform, details=details)
        await desk.push(plain("thing"), "a", BOB, details={"title": "things"})
        for wanted, numbers in (
            ({}, [4, 3, 2, 1]),
            ({"platform": "OLLAMA"}, [2, 1]),
            ({"platform": "olla"}, []),
            ({"category": "work"}, [2, 1]),
            ({"category": "Work"}, []),
            ({"chat": "a"}, [3, 1]),
            ({"chat": "a", "platform": "ChatGPT"}, [3]),
            ({"tags": ["x"]}, [3, 2, 1]),
            ({"tags": ["x", "y", "x"]}, [3, 1]),
            ({"words": "thing"}, [2, 1]),
            ({"words": "GROSSE thi"}, [1]),
            ({"words": "größ thi"}, [1]),
            ({"words": "thing", "tags": ["y"], "platform": "ollama", "category": "work", "chat": "a"}, [1]),
            ({"words": "thing", "tags": ["z"]}, []),
        ):
            assert await desk.pulled(**wanted) == numbers, wanted
            assert await desk.vault.count(ANN.who, VaultFilter(**wanted)) == len(numbers)

    @BOTH
    async def test_last_changed_first_then_newest(self, desk: Desk) -> None:
        desk.step = timedelta(0)
        for chat in "abcde":
            await desk.push(plain("x"), chat)
        assert await desk.pulled() == [5, 4, 3, 2, 1]
        desk.step = timedelta(seconds=1)
        await desk.push(plain("x"), "b", details={"title": "t"})
        await desk.push(plain("y"), "d")
        await desk.push(plain("x"), "a")
        assert await desk.pulled() == [4, 2, 5, 3, 1]
        assert [await desk.pulled(limit=2, offset=n) for n in (0, 2, 4, 5)] == [[4, 2], [5, 3], [1], []]

    async def test_they_come_in_groups_that_fit_the_memory(self, desk: Desk) -> None:
        for chat, mib in zip("abcde", (1, 2, 3, 6, 1), strict=True):
            sealed = SealedContent(chat.encode() * 12, bytes(mib << 20))
            await desk.push(SealedPush(sealed=sealed, messages=1), chat)
        groups = [group async for group in desk.vault.pull(ANN.who, VaultFilter(), limit=100)]
        assert [[entry.chat for entry, _ in group] for group in groups] == [["e"], ["d"], ["c"], ["b", "a"]]
        assert all(as_bytes(sealed).iv == entry.chat.encode() * 12 for group in groups for entry, sealed in group)
        assert all(len(as_bytes(sealed).data) == entry.size for group in groups for entry, sealed in group)

    @BOTH
    async def test_what_is_dropped_meanwhile_comes_as_it_is_now_and_what_is_deleted_not_at_all(
        self, store: RecordStore
    ) -> None:
        watched, desk = Watched(store), Desk(store, versions=1)
        for chat in "abcd":
            await desk.push(plain("old"), chat, details={"category": "work"})
        reader = Desk(watched, desk.keys)

        async def meanwhile() -> None:
            await desk.push(plain("new"), "a")
            await desk.push(plain("new"), "b", details={"category": "play"})
            await desk.vault.delete(ANN.who, 3)

        watched.before_find = meanwhile
        groups = [g async for g in reader.vault.pull(ANN.who, VaultFilter(category="work"), limit=10)]
        found = [(entry.number, desk.opened(entry, entry.key, sealed)) for g in groups for entry, sealed in g]
        assert found == [(4, ["old"]), (1, ["new"])]

        watched.before_find = lambda: desk.push(plain("newer"), "a")
        assert await reader.said(1) == ["newer"]
        watched.before_find = lambda: desk.vault.delete(ANN.who, 1)
        with pytest.raises(NotFound):
            await reader.vault.entry(ANN.who, 1)

    async def test_content_that_is_missing_for_good_is_said(self, desk: Desk) -> None:
        await desk.push(plain("x"))
        ((kind, id),) = await everything(desk.store, "vault_content")
        await desk.store.apply([Delete(kind, id)])
        with pytest.raises(Internal, match="entry 1"):
            await asyncio.wait_for(desk.vault.entry(ANN.who, 1), 10)


@pytest.mark.parametrize(("more", "elsewhere"), [(3, False), (3000, True)])
async def test_many_versions_are_listed_in_a_thread(
    monkeypatch: pytest.MonkeyPatch, more: int, elsewhere: bool
) -> None:
    threads: dict[str, bool] = {}

    def noting(module: Any, name: str) -> None:
        real = getattr(module, name)

        def noted(*args: Any) -> Any:
            threads[name] = threading.current_thread() is not threading.main_thread()
            return real(*args)

        monkeypatch.setattr(module, name, noted)

    desk = Desk(MemoryStore(KINDS))
    await desk.push(plain("x"))
    record = await desk.store.get("vault_version", latest_id(await desk.about(1)))
    assert record is not None
    first, sealed = version_of(record), SealedContent(b"i" * 12, b"d" * 16)
    numbers = range(2, more + 2)
    await desk.store.apply([put for n in numbers for put in version_puts(replace(first, number=n), sealed)])
    noting(vault, "version_of")
    noting(shapes, "version")
    call: Any = SimpleNamespace(services=SimpleNamespace(vault=desk.vault), who=ANN.who, path=lambda name: "1")
    answer = json.loads((await list_versions(call)).body)  # type: ignore[arg-type]
    assert answer["total"] == more + 1
    assert [v["version"] for v in answer["versions"]] == [1, *numbers]
    assert threads == {"version_of": elsewhere, "version": elsewhere}


@pytest.mark.parametrize(("size", "elsewhere"), [(1 << 10, False), (1 << 20, True)])
async def test_only_what_is_large_is_sealed_in_a_thread(
    monkeypatch: pytest.MonkeyPatch, size: int, elsewhere: bool
) -> None:
    threads: dict[str, bool] = {}

    def noting(name: str) -> None:
        real = getattr(vault_contents, name)

        def noted(*args: Any) -> Any:
            threads[name] = threading.current_thread() is not threading.main_thread()
            return real(*args)

        monkeypatch.setattr(vault_contents, name, noted)

    for name in ("canonical", "hash_of", "seal", "content_of"):
        noting(name)
    desk = Desk(MemoryStore(KINDS))
    await desk.push(plain("x" * size))
    entry, sealed = await desk.vault.entry(ANN.who, 1)
    await desk.push(SealedPush(sealed=as_bytes(sealed), messages=1, key=entry.key))
    assert threads == dict.fromkeys(("canonical", "hash_of", "seal", "content_of"), elsewhere)
