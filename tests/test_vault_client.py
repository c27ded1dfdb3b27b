"""The client of the vault against a server, over HTTP."""

from __future__ import annotations

import inspect
import logging
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from backchat.client import keychain, pushing
from backchat.client.vault import Entry, Result, VaultClient, VaultError, VaultKey, VaultMessage
from backchat.sealing.binary import from_text, to_text
from backchat.sealing.failures import CannotOpen, WrongKey
from backchat.sealing.keys import new_key
from backchat.testing.plugin import Serve
from backchat.testing.server import Box
from vault_between import CONFIG, HI, address, another, between, passes, said, says, signed, token, vault
from vault_made import told

TALK = [
    VaultMessage("system", 'Be "brief" \\ / \x01\t\n\x7f\u2028'),
    VaultMessage("user", "Käse? 🙂 e\u0301", "2024-05-06T07:08:09.5+02:00"),
    VaultMessage("assistant", ""),
    VaultMessage("tool", "{}", "2016-12-31t23:59:60z"),
]
PAGE = (Path(__file__).parent.parent / "docs" / "vault-client.md").read_text("utf-8")
Alters = Callable[[Any], None]
HARD = "Käse 7~>🙂"


@pytest.fixture
async def box(serve: Serve) -> Box:
    return await serve(CONFIG)


async def pulled(client: VaultClient, **filters: Any) -> list[Entry]:
    return [entry async for entry in client.pull(**filters)]


async def plain(box: Box, text: str, **body: Any) -> int:
    """The status of a plain push."""
    headers = {"Authorization": f"Bearer {text}"}
    async with box.client.post("/api/v1/push", json=body, headers=headers) as answer:
        return answer.status


# ---- conversations --------------------------------------------------------------------------------------------------


async def test_what_is_pushed_is_pulled_and_opens(box: Box) -> None:
    async with vault(box) as ann:
        result = await ann.push(
            HARD, TALK, title="Cheese", category="food", topic="Dairy", tags=["a", "b"], model="gouda-1"
        )
        assert result == Result(result.entry, 1, True, "created")
        (entry,) = await pulled(ann)
        assert await ann.open(entry) == TALK
    assert (entry.id, entry.chat, entry.title, entry.platform) == (result.entry, HARD, "Cheese", "ollama")
    assert (entry.category, entry.topic, entry.tags, entry.model) == ("food", "Dairy", ("a", "b"), "gouda-1")
    assert (entry.messages, entry.version) == (4, 1)


async def test_the_server_gets_no_content(box: Box) -> None:
    async with between(box) as way, VaultClient(way.url, await token(box)) as ann:
        await ann.push("c", said("the marker"))
        (entry,) = await pulled(ann)
        await ann.open(entry)
    assert way.asked == ["GET vault/key", "GET vault/keys", "POST push", "GET pull"]
    assert "messages" not in way.bodies[2]
    assert "marker" not in str(way.bodies)


async def test_a_plain_push_of_the_same_messages_changes_nothing(box: Box) -> None:
    text = await token(box, platform=None)
    async with vault(box, text) as ann:
        await ann.push(HARD, TALK, platform="LM-Studio")
        assert await plain(box, text, chatId=HARD, platform="lm-STUDIO", messages=told(TALK)) == 200
        (entry,) = await pulled(ann)
        assert (entry.version, entry.platform) == (1, "lm-studio")
        await plain(box, text, chatId=HARD, platform="lm-studio", messages=told(TALK[:2]))
        assert await ann.open(await ann.entry(entry.id)) == TALK[:2]


async def test_a_repeated_push_changes_nothing(box: Box) -> None:
    async with vault(box) as ann:
        first = await ann.push("c", TALK)
        again = await ann.push("c", TALK)
        assert again == Result(first.entry, 1, False, "already up to date")
        async with another(ann, box) as other:  # which computes the same hash
            assert not (await other.push("c", TALK)).changed


async def test_details_that_are_not_given_stay_and_none_clears_them(box: Box) -> None:
    async with vault(box) as ann:
        pushed = await ann.push("c", [HI], title="T", category="x", topic="t", tags=["a"], model="m")
        await ann.push("c", [HI], title="U")
        entry = await ann.entry(pushed.entry)
        assert (entry.title, entry.category, entry.topic, entry.tags, entry.model) == ("U", "x", "t", ("a",), "m")
        await ann.push("c", [HI], title=None, category=None, topic=None, tags=None, model=None)
        entry = await ann.entry(pushed.entry)
        assert (entry.title, entry.category, entry.topic, entry.tags, entry.model) == ("Untitled", None, None, (), None)
        assert entry.version == 1


async def test_filters(box: Box) -> None:
    async with vault(box) as ann:
        await ann.push("a", [HI], title="Deep sea", tags=["x", "y"])
        await ann.push("b", [HI], platform="chatgpt", topic="Sea birds", tags=["x"], category="fun")
        await ann.push("a", [HI], platform="chatgpt")

        async def chats(**filters: Any) -> list[tuple[str, str]]:
            return [(e.chat, e.platform) for e in await pulled(ann, **filters)]

        assert await chats(platform="ChatGPT") == [("a", "chatgpt"), ("b", "chatgpt")]
        assert await chats(chat="a") == [("a", "chatgpt"), ("a", "ollama")]
        assert await chats(search="SEA") == [("b", "chatgpt"), ("a", "ollama")]
        assert await chats(tags=["y", "x"]) == [("a", "ollama")]
        assert await chats(category="fun") == [("b", "chatgpt")]
        assert await chats(search="sea", platform="ollama") == [("a", "ollama")]
        assert await chats(limit=2) == [("a", "chatgpt"), ("b", "chatgpt")]
        assert await chats(limit=0) == []


async def test_versions_also_of_an_older_key(box: Box) -> None:
    async with vault(box) as ann:
        entry = (await ann.push("c", said("one"), title="First")).entry
        await ann.push("c", said("one", "two"), base=1)
        await ann.rotate_key()
        await ann.push("c", said("three"), title="Third", base=2)
        async with another(ann, box) as other:
            versions = await other.versions(entry)
            assert [(v.number, v.messages) for v in versions] == [(1, 1), (2, 2), (3, 1)]
            found = [await other.version(entry, n) for n in (1, 2, 3)]
            opened = [await other.open(each) for each in found]
    assert opened == [said("one"), said("one", "two"), said("three")]
    assert [e.title for e in found] == ["Third"] * 3
    assert [e.updated_at for e in found] == [v.created_at for v in versions]
    assert found[0].key == found[1].key != found[2].key


async def test_what_is_deleted_is_gone(box: Box) -> None:
    async with vault(box) as ann:
        entry = (await ann.push("c", [HI])).entry
        await ann.delete(entry)
        for gone in (ann.entry(entry), ann.versions(entry), ann.version(entry, 1), ann.delete(entry)):
            with pytest.raises(VaultError) as caught:
                await gone
            assert (caught.value.status, caught.value.code) == (404, "not_found")


async def test_another_base_than_the_current_version_is_a_conflict(box: Box) -> None:
    async with vault(box) as ann:
        await ann.push("c", said("one"), base=0)
        await ann.push("c", said("two"), base=1)
        with pytest.raises(VaultError, match="current version is 2") as caught:
            await ann.push("c", said("three"), base=1)
        assert (caught.value.status, caught.value.code, caught.value.version) == (409, "conflict", 2)
        with pytest.raises(VaultError):
            await ann.push("c", said("two"), base=1)  # nothing was lost, so it is somebody else's


async def test_adopting(box: Box) -> None:
    async with vault(box) as ann:
        entry = (await ann.push("c", said("Ahoy"), title="Ships")).entry
        conversation = await ann.adopt(entry, said("Ahoy"))
        assert conversation != await ann.adopt(entry, said("Ahoy"))
        text = await token(box)
    headers = {"Authorization": f"Bearer {text}"}
    async with box.client.get(f"/api/chat/messages?conversation_id={conversation}", headers=headers) as answer:
        assert answer.status == 200
        assert "Ahoy" in await answer.text()


async def test_more_entries_than_a_page_holds(box: Box) -> None:
    async with vault(box) as ann:
        for n in range(45):
            await ann.push(f"c{n}", said(str(n)))
        assert [e.chat for e in await pulled(ann)] == [f"c{n}" for n in reversed(range(45))]
        assert [e.chat for e in await pulled(ann, limit=30)] == [f"c{n}" for n in range(44, 14, -1)]


# ---- what does not fit is not sent ----------------------------------------------------------------------------------

UNFIT = [
    ("messages.0.timestamp", [VaultMessage("user", "x", "yesterday")]),
    ("messages.0.timestamp", [VaultMessage("user", "x", "2024-05-06T07:08:09")]),
    ("messages.1.timestamp", [HI, VaultMessage("user", "x", "2023-02-29T00:00:00Z")]),
    ("messages.1.timestamp", [HI, VaultMessage("user", "x", "0000-01-01T00:00:00Z")]),
    ("messages.0.timestamp", [VaultMessage("user", "x", "2016-12-31T12:59:60Z")]),
    ("messages.0.role", [VaultMessage("root", "x")]),  # type: ignore[arg-type]
    ("messages.0.content", [VaultMessage("user", None)]),  # type: ignore[arg-type]
    ("messages", []),
]


@pytest.mark.any_storage
async def test_what_a_plain_push_may_not_hold_is_not_sealed(box: Box) -> None:
    text = await token(box)
    async with between(box) as way, VaultClient(way.url, text) as ann:
        for field, messages in UNFIT:
            assert await plain(box, text, chatId="c", messages=told(messages)) == 422, messages
            with pytest.raises(VaultError) as caught:
                await ann.push("c", messages)
            assert (caught.value.code, caught.value.status) == ("validation_error", 0)
            assert list(caught.value.fields) == [field]
            assert "yesterday" not in repr(caught.value)
            with pytest.raises(VaultError):
                await ann.adopt(1, messages)
    assert way.asked == []


async def test_the_most_messages(box: Box) -> None:
    async with vault(box) as ann:
        pushed = await ann.push("c", [HI] * 10_000)
        assert len(await ann.open(await ann.entry(pushed.entry))) == 10_000
        with pytest.raises(VaultError, match="1 to 10000 of them"):
            await ann.push("c", [HI] * 10_001)


ODD: list[dict[str, Any]] = [
    {"chat": ""},
    {"chat": "c" * 256},
    {"chat": "\ud800"},
    {"platform": ""},
    {"platform": "p" * 65},
    {"platform": "\udfff"},
    {"title": "\ud800"},
    {"tags": ["\ud800"]},
    {"messages": [VaultMessage("user", "\ud83d")]},
]


@pytest.mark.any_storage
async def test_other_things_that_do_not_fit(box: Box) -> None:
    async with between(box) as way, VaultClient(way.url, await token(box)) as ann:
        for arguments in ODD:
            with pytest.raises(VaultError) as caught:
                await ann.push(**{"chat": "c", "messages": [HI], **arguments})
            assert caught.value.code == "validation_error", arguments
    assert "POST push" not in way.asked


@pytest.mark.any_storage
async def test_a_platform_is_as_long_as_its_stored_form(box: Box) -> None:
    """A letter may become two: so for whoever seals, and for the server."""
    text = await token(box)
    async with between(box) as way, VaultClient(way.url, text) as ann:
        await ann.push("c", [HI], platform="İ" * 32)
        (entry,) = await pulled(ann)
        assert (len(entry.platform), await ann.open(entry)) == (64, [HI])
        asked = len(way.asked)
        with pytest.raises(VaultError, match="platform: must have 1 to 64"):
            await ann.push("c", [HI], platform="İ" * 33)
        assert len(way.asked) == asked
    assert await plain(box, text, chatId="c", platform="İ" * 33, messages=told([HI])) == 422


async def test_what_only_the_server_knows_to_refuse(box: Box) -> None:
    async with vault(box) as ann:
        with pytest.raises(VaultError, match=r"title: .*500") as caught:
            await ann.push("c", [HI], title="t" * 501)
    assert caught.value.status == 422
    assert list(caught.value.fields) == ["title"]


# ---- keys -----------------------------------------------------------------------------------------------------------


async def test_a_token_without_a_key_seals_nothing(box: Box) -> None:
    async with between(box) as way, VaultClient(way.url, await signed(box)) as ann:
        with pytest.raises(VaultError, match="no API key") as caught:
            await ann.push("c", [HI], platform="ollama")
    assert caught.value.code == "no_key"
    assert way.asked == []


async def test_a_key_of_ones_own(box: Box) -> None:
    own = new_key()
    async with between(box) as way, VaultClient(way.url, await signed(box), key=own) as ann:
        with pytest.raises(VaultError, match="name the platform") as caught:
            await ann.push("c", TALK)
        assert caught.value.code == "no_platform"
        assert way.asked == []
        await ann.push("c", TALK, platform="Ollama")
        assert not (await ann.push("c", TALK, platform="ollama")).changed
        (entry,) = await pulled(ann)
        assert entry.key == own.id
        assert await ann.open(entry) == TALK
        assert "GET vault/key" not in way.asked
        # Content of those who do not name their key is tried with it as well.
        assert await ann.open(replace(entry, key=None)) == TALK
    async with vault(box) as other:
        with pytest.raises(WrongKey, match=f"under the key {own.id}, which is not in this vault"):
            await other.open(entry)
        with pytest.raises(WrongKey, match="a key that only its sender has"):
            await other.open(replace(entry, key=None))


async def test_an_own_key_and_those_of_the_vault(box: Box) -> None:
    own, text = new_key(), await token(box)
    await plain(box, text, chatId="plain", messages=told(TALK))
    async with vault(box, text, own) as ann:
        await ann.push("own", [HI])  # the platform is the token's all the same
        own_one, plain_one = await pulled(ann)
        assert (own_one.key, own_one.platform) == (own.id, "ollama")
        assert await ann.open(own_one) == [HI]
        assert await ann.open(plain_one) == TALK
    async with vault(box, await signed(box), own) as ann:
        with pytest.raises(VaultError, match="no API key"):
            await ann.open(plain_one)


async def test_an_own_key_and_a_token_that_waits(box: Box) -> None:
    own = new_key()
    async with vault(box) as ann:
        await ann.push("c", [HI])
    async with vault(box, await token(box), own) as waiting:
        with pytest.raises(VaultError, match=r"name the platform: .* vault key") as caught:
            await waiting.push("d", [HI])
        assert (caught.value.code, caught.value.status) == ("no_platform", 0)
        await waiting.push("d", [HI], platform="ollama")
        with pytest.raises(VaultError) as caught:
            await waiting.open(next(e for e in await pulled(waiting) if e.chat == "c"))
        assert caught.value.status == 403


async def test_another_key_of_the_same_id_is_called_a_wrong_key(box: Box) -> None:
    own = new_key()
    async with vault(box, key=own) as ann:
        await ann.push("c", TALK)
        (entry,) = await pulled(ann)
    async with vault(box, key=VaultKey(own.id, bytes(32))) as ann:
        with pytest.raises(WrongKey):
            await ann.open(entry)


async def test_a_rotation_by_somebody_else(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(keychain.Keychain.__init__, "__defaults__", (lambda: now,))
    text = await token(box)
    async with between(box) as way, VaultClient(way.url, text) as ann, another(ann, box) as bob:
        await ann.push("c", [HI])
        new = await bob.rotate_key()
        entry = (await bob.push("d", [HI])).entry
        assert await ann.open(await ann.entry(entry)) == [HI]  # under a key that ann did not know
        await ann.push("e", [HI])
        now += keychain.FRESH
        await ann.push("f", [HI])
        keys = {e.chat: e.key for e in await pulled(ann)}
    assert keys["f"] == keys["d"] == new
    assert keys["c"] == keys["e"] != new
    assert way.asked.count("GET vault/key") == 3


async def test_ones_own_rotation_holds_at_once(box: Box) -> None:
    async with vault(box) as ann:
        first = await ann.push("c", [HI])
        new = await ann.rotate_key()
        assert (await ann.push("c", said("Hello"))).version == first.version + 1
        assert (await ann.entry(first.entry)).key == new


# ---- the same after a rotation --------------------------------------------------------------------------------------


async def test_after_a_rotation_the_same_messages_change_nothing(box: Box) -> None:
    async with vault(box) as ann:
        first = await ann.push("c", TALK, title="T")
        before = await ann.entry(first.entry)
        for _ in range(2):
            await ann.rotate_key()
            assert await ann.push("c", TALK, title="T") == Result(first.entry, 1, False, "already up to date")
            assert await ann.push("c", TALK, base=1) == Result(first.entry, 1, False, "already up to date")
            with pytest.raises(VaultError) as caught:
                await ann.push("c", TALK, base=0)
            assert (caught.value.status, caught.value.version) == (409, 1)
        assert await ann.entry(first.entry) == before
        assert await ann.push("c", TALK, title="U") == Result(first.entry, 1, True, "details updated")
        after = await ann.entry(first.entry)
        assert (after.title, after.sealed, after.key) == ("U", before.sealed, before.key)
        async with another(ann, box) as other:
            assert not (await other.push("c", TALK)).changed


async def test_after_a_rotation_what_is_new_is_under_the_new_key(box: Box) -> None:
    async with vault(box) as ann:
        first = await ann.push("c", TALK)
        new = await ann.rotate_key()
        assert (await ann.push("c", TALK[:2])).version == 2
        entry = await ann.entry(first.entry)
        assert entry.key == new
        assert await ann.open(entry) == TALK[:2]
        assert (await ann.push("c", TALK)).version == 3
        assert not (await ann.push("c", TALK)).changed
        with pytest.raises(VaultError) as caught:
            await ann.push("c", TALK, base=1)
        assert (caught.value.status, caught.value.version) == (409, 3)


async def test_only_after_a_rotation_is_an_entry_looked_at(box: Box) -> None:
    async with between(box) as way, VaultClient(way.url, await token(box)) as ann:
        for _ in range(2):
            await ann.push("c", [HI])
        assert way.asked == ["GET vault/key", "GET vault/keys", "POST push", "POST push"]
        await ann.rotate_key()
        way.asked.clear()
        await ann.push("c", [HI])
        assert way.asked == ["GET vault/key", "GET vault/keys", "GET pull", "POST push"]
    own = new_key()
    async with between(box) as way, VaultClient(way.url, await signed(box), key=own) as ann:
        await ann.push("c", [HI], platform="x")
        assert way.asked == ["POST push"]


@pytest.mark.any_storage
async def test_a_server_that_tells_of_no_keys(box: Box) -> None:
    async with between(box) as way, VaultClient(way.url, await token(box)) as ann:
        await ann.push("c", [HI])
        await ann.rotate_key()
        way.acts = [passes, says(404, {"success": False, "error": "not_found", "message": "no such route"})]
        assert (await ann.push("c", [HI])).version == 2
    assert "GET pull" not in way.asked


async def test_a_key_that_may_only_push_pushes_after_a_rotation(box: Box) -> None:
    async with vault(box) as ann:
        await ann.push("c", [HI])
        _, text = await ann.issue_token("sender", platform="ollama", scopes=["push"])
        await ann.rotate_key()
        async with between(box) as way, VaultClient(way.url, text) as sender:
            assert [(await sender.push("c", [HI])).version for _ in range(2)] == [2, 2]
        assert way.asked.count("GET pull") == 1


async def test_a_version_that_comes_between_looking_and_pushing(box: Box) -> None:
    """The hash that is sent is of the key of what was looked at, and must not be stored beside another key's id."""
    async with between(box) as way, VaultClient(way.url, await token(box)) as ann, another(ann, box) as bob:
        first = await ann.push("c", [HI])
        new = await ann.rotate_key()

        async def meanwhile(request: Any, forward: Any) -> Any:
            await bob.push("c", said("between"))
            return await forward()

        way.acts = [passes, passes, passes, meanwhile]
        assert (await ann.push("c", [HI])).version == 3
        entry = await ann.entry(first.entry)
        assert (entry.key, await ann.open(entry)) == (new, [HI])
        assert not (await bob.push("c", [HI])).changed, "the hash is of that key"
        await ann.push("d", [HI])
        await ann.rotate_key()
        way.acts = [passes, passes, passes, meanwhile]
        with pytest.raises(VaultError) as caught:
            await ann.push("c", [HI], base=3)
        assert (caught.value.status, caught.value.version) == (409, 4)


async def test_one_that_keeps_changing_is_pushed_in_the_end(box: Box) -> None:
    async with between(box) as way, VaultClient(way.url, await token(box)) as ann, another(ann, box) as bob:
        first = await ann.push("c", [HI])
        old = await ann.key_id()
        await ann.push("c", said("other"))
        await ann.rotate_key()
        before = await ann.version(first.entry, 1)

        def alters(answer: Any) -> None:
            """As if it were back at the first version each time."""
            for entry in answer.get("entries", ()):
                entry |= {"version": 1, "contentHash": before.content_hash, "keyId": old}

        way.alters = alters
        assert (await ann.push("c", [HI])).version == 3
        way.alters = lambda answer: None
        assert not (await bob.push("c", [HI])).changed
    assert way.asked.count("GET pull") == pushing.LOOKS


@pytest.mark.any_storage
@pytest.mark.parametrize("odd", [{"id": 1}, {"id": "no good id"}, None])
async def test_keys_that_are_none(box: Box, odd: Any) -> None:
    async with between(box) as way, VaultClient(way.url, await token(box)) as ann:
        way.alters = lambda answer: answer.update(keys=[odd]) if "keys" in answer else None
        with pytest.raises(VaultError) as caught:
            await ann.push("c", [HI])
        assert caught.value.code == "not_a_vault"


async def test_an_older_key_that_does_not_open_hinders_no_push(box: Box) -> None:
    async with between(box) as way, VaultClient(way.url, await token(box)) as ann:
        await ann.push("c", [HI])
        await ann.rotate_key()
        (old,) = {e.key for e in await pulled(ann)}

        def alters(answer: Any) -> None:
            if answer.get("keyId") == old and "wrappedKey" in answer:
                answer["wrappedKey"] = answer["wrappedKey"][::-1]
                altered.append(old)

        altered = list[str | None]()
        way.alters = alters
        _, text = await ann.issue_token("fresh", platform="ollama")
        async with VaultClient(way.url, text) as fresh:
            assert (await fresh.push("c", [HI])).version == 2
        assert altered


async def test_a_key_is_fetched_once(box: Box) -> None:
    async with between(box) as way, VaultClient(way.url, await token(box)) as ann:
        for n in range(3):
            await ann.push("c", said(str(n)))
        (entry,) = await pulled(ann)
        await ann.open(entry)
        for _ in range(2):
            with pytest.raises(WrongKey):
                await ann.open(replace(entry, key="vk-unknown"))
    assert way.asked.count("GET vault/key") == 2


async def test_a_lost_token_and_the_recovery_key(box: Box) -> None:
    async with vault(box) as ann:
        entry = (await ann.push("c", TALK)).entry
        recovery = await ann.make_recovery_key()
        (lost,) = await ann.tokens()
    late = await token(box)
    await box.services.accounts.revoke_key(lost.id)
    async with vault(box, late) as ann:
        with pytest.raises(VaultError) as caught:
            await ann.push("c", TALK)
        assert caught.value.status == 403
        sealed = await ann.entry(entry)
        with pytest.raises(VaultError) as caught:
            await ann.open(sealed)
        assert caught.value.status == 403
        for wrong in ("bsr_x", late, recovery[:-20]):
            with pytest.raises(VaultError, match="no recovery key") as caught:
                await ann.recover(wrong)
            assert wrong not in str(caught.value)
        assert await ann.recover(f" {recovery}\n") == sealed.key
        assert await ann.open(sealed) == TALK
        assert not (await ann.push("c", TALK)).changed


async def test_tokens(box: Box) -> None:
    until = datetime(2099, 1, 2, 3, 4, 5, tzinfo=UTC)
    async with vault(box) as ann:
        entry = (await ann.push("c", TALK)).entry
        made, text = await ann.issue_token("phone", platform="ChatGPT", scopes=["pull"], expires=until)
        assert (made.name, made.scopes, made.expires_at, made.has_key) == ("phone", ("pull",), until, True)
        async with vault(box, text) as phone:
            assert await phone.open(await phone.entry(entry)) == TALK
            with pytest.raises(VaultError) as caught:
                await phone.push("c", [HI])
            assert (caught.value.status, caught.value.code) == (403, "forbidden")
            assert [t.id for t in await ann.tokens()][1:] == [made.id]
            await ann.revoke_token(made.id)
            with pytest.raises(VaultError) as caught:
                await pulled(phone)
            assert (caught.value.status, caught.value.code) == (401, "unauthorized")
        assert len(await ann.tokens()) == 1
        with pytest.raises(VaultError) as caught:
            await ann.revoke_token("nobody")
        assert caught.value.status == 404
        with pytest.raises(VaultError, match="time zone"):
            await ann.issue_token("late", expires=until.replace(tzinfo=None))
        with pytest.raises(VaultError, match=r"expiresAt: .* 9999") as caught:
            await ann.issue_token("late", expires=datetime.max.replace(tzinfo=timezone(timedelta(hours=-10))))
        assert list(caught.value.fields) == ["expiresAt"]
        for odd in ("", "../entries/1", "a b"):
            with pytest.raises(VaultError, match="tokenId"):
                await ann.revoke_token(odd)


# ---- a server that tampers ------------------------------------------------------------------------------------------


def data(change: Callable[[bytes], bytes]) -> Alters:
    """Alters the sealed bytes of all entries."""

    def alters(answer: Any) -> None:
        for entry in answer.get("entries", ()):
            entry["encryptedContent"] = to_text(change(from_text(entry["encryptedContent"])))

    return alters


def swap(*fields: str) -> Alters:
    """Gives the first entry what is the second's."""

    def alters(answer: Any) -> None:
        if "entries" in answer:
            b, a = answer["entries"]
            for field in fields:
                a[field], b[field] = b[field], a[field]

    return alters


@pytest.mark.any_storage
async def test_each_way_to_tamper_is_told_in_its_own_words(box: Box) -> None:
    content_of = ("encryptedContent", "iv", "keyId")
    ways = {
        "flipped": data(lambda sealed: sealed[:60] + bytes([sealed[60] ^ 4]) + sealed[61:]),
        "flipped at the beginning": data(lambda sealed: bytes([sealed[0] ^ 128]) + sealed[1:]),
        "flipped at the end": data(lambda sealed: sealed[:-1] + bytes([sealed[-1] ^ 1])),
        "truncated": data(lambda sealed: sealed[:-5]),
        "cut to nothing": data(lambda sealed: sealed[:0]),
        "another chat's": swap(*content_of, "contentHash"),
        "another chat's, not its hash": swap(*content_of),
        "another iv": swap("iv"),
    }
    said_of = {}
    async with between(box) as way, VaultClient(way.url, await token(box)) as ann:
        await ann.push("a", TALK)
        await ann.push("b", said("another talk", "with other words"))
        for name, alters in ways.items():
            way.alters = alters
            entry = next(e for e in await pulled(ann) if e.chat == "a")
            with pytest.raises(CannotOpen) as caught:
                await ann.open(entry)
            said_of[name] = str(caught.value)
    changed = "the content has been changed since it was sealed, or is another conversation's"
    assert said_of == {
        "flipped": changed,
        "flipped at the beginning": changed,
        "flipped at the end": "the content's seal, the last 16 bytes of it, has been changed",
        "truncated": "the end of the content is missing",
        "cut to nothing": "most of the content is missing: it is shorter than that of no messages",
        "another chat's": "the content is whole, but it was sealed for another conversation",
        "another chat's, not its hash": changed,
        "another iv": "the content is sealed under another key or with another IV, or its beginning is missing",
    }


@pytest.mark.any_storage
async def test_a_wrapped_key_that_is_not_for_this_token(box: Box) -> None:
    other = await token(box, "bob")
    headers = {"Authorization": f"Bearer {other}"}
    async with box.client.get("/api/v1/vault/key", headers=headers) as answer:
        bobs = await answer.json()
    async with between(box) as way, VaultClient(way.url, await token(box)) as ann:
        way.alters = lambda answer: answer.update(bobs)
        with pytest.raises(WrongKey, match="does not open with this token, or is damaged"):
            await ann.push("c", [HI])
    assert way.asked == ["GET vault/key"]


OTHER_WRAPS = [
    ("kdf", "none"),
    ("kdf", None),
    ("info", "backspace-recovery-v1"),
    ("keyId", "a b"),
    ("iv", "?"),
    ("wrappedKey", 7),
    ("platform", 1),
]


@pytest.mark.any_storage
async def test_a_wrap_of_another_kind_is_not_opened(box: Box) -> None:
    async with between(box) as way, VaultClient(way.url, await token(box)) as ann:
        for field, value in OTHER_WRAPS:

            def alters(answer: Any, field: str = field, value: object = value) -> None:
                answer[field] = value

            way.alters = alters
            with pytest.raises(VaultError, match=f"a vault key that is not one: {field}") as caught:
                await ann.push("c", [HI])
            assert caught.value.code == "not_a_vault"
    assert "POST push" not in way.asked


@pytest.mark.any_storage
async def test_another_thing_than_was_asked_for(box: Box) -> None:
    text = await token(box)
    async with between(box) as way, VaultClient(way.url, text) as ann:
        entry = (await ann.push("c", [HI])).entry
        await ann.push("c", said("two"))
        old = await ann.entry(entry)
        await ann.rotate_key()
        way.alters = lambda answer: answer.update({"id": entry + 1, "version": 2})
        with pytest.raises(VaultError, match="another entry"):
            await ann.entry(entry)
        with pytest.raises(VaultError, match="another version"):
            await ann.version(entry, 1)
        way.alters = lambda answer: answer.update({"keyId": "vk-other"})
        async with VaultClient(way.url, text) as again:
            with pytest.raises(VaultError, match="another vault key"):
                await again.open(old)


OTHERS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"chat": "c"}, {"chatId": "d"}),
    ({"chat": "c"}, {"chatId": "C"}),
    ({"platform": "Ollama"}, {"platform": "chatgpt"}),
    ({"category": "x"}, {"category": None}),
    ({"category": "x"}, {"category": "X"}),
    ({"tags": ["a", " b "]}, {"tags": ["a"]}),
]


@pytest.mark.any_storage
async def test_other_entries_than_were_asked_for(box: Box) -> None:
    """A server may not choose which chat is opened, deleted or sent in the clear."""
    async with between(box) as way, VaultClient(way.url, await token(box)) as ann:
        await ann.push("c", [HI], category="x", tags=["a", "b", "c"])
        for filters, other in OTHERS:
            way.alters = lambda answer: None
            assert len(await pulled(ann, **filters)) == 1
            way.alters = lambda answer, other=other: answer["entries"][0].update(other)  # type: ignore[misc]
            with pytest.raises(VaultError, match="other entries than it was asked for") as caught:
                await pulled(ann, **filters)
            assert caught.value.code == "not_a_vault"
            assert len(await pulled(ann)) == 1


async def test_an_iv_that_was_used_before_is_refused(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backchat.sealing.content.os.urandom", bytes)
    async with vault(box) as ann:
        first = await ann.push("c", [HI])
        with pytest.raises(VaultError, match="IV has been used") as caught:
            await ann.push("d", said("other words"))
        assert (caught.value.status, list(caught.value.fields)) == (422, ["iv"])
        (entry,) = await pulled(ann)
        assert (entry.id, entry.version) == (first.entry, 1)


# ---- secrecy --------------------------------------------------------------------------------------------------------


@pytest.mark.any_storage
async def test_nothing_secret_is_in_logs_errors_and_reprs(box: Box, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    own, text = new_key(), await token(box)
    secret = text.rpartition("_")[2]
    shown = []
    async with vault(box, text, own) as ann:
        pushed = await ann.push("c", said("the marker"), title="the marker", topic="the marker", tags=["the marker"])
        entry = await ann.entry(pushed.entry)
        shown += [ann, entry, pushed, await ann.versions(entry.id), await ann.tokens()]
        assert await pulled(ann, search="the marker")
        recovery = await ann.make_recovery_key()
        for failing in (
            ann.push("c", said("the marker"), base=7),
            ann.push("c", said("the marker"), title="the marker" * 60),
            ann.push("c", [VaultMessage("user", "the marker", "the marker")]),
            ann.open(replace(entry, chat="d")),
            ann.recover(recovery + "a"),
            ann.adopt(999, said("the marker")),
        ):
            with pytest.raises((VaultError, CannotOpen)) as caught:
                await failing
            shown += [caught.value, caught.value.__dict__]
    # The server's own logs, here in the same process, are another test's.
    logged = [r.getMessage() for r in caplog.records if r.name.startswith(("backchat.client", "aiohttp", "asyncio"))]
    seen = f"{shown!r}{[str(each) for each in shown]}{logged}"
    for hidden in ("marker", secret, recovery.rpartition("_")[2], repr(own.secret), own.secret.hex()):
        assert hidden not in seen


@pytest.mark.any_storage
async def test_outside_of_the_context_it_says_what_to_do(box: Box) -> None:
    client = VaultClient(address(box), await token(box))
    with pytest.raises(RuntimeError, match="async with"):
        await client.tokens()


# ---- the documentation ----------------------------------------------------------------------------------------------


async def test_the_examples_of_its_page_run(
    box: Box, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BACKCHAT_URL", address(box))
    monkeypatch.setenv("BACKCHAT_KEY", await token(box))
    shown = []
    for example in re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL):
        names: dict[str, Any] = {}
        begun, run, rest = example.rpartition("asyncio.run(main())")
        assert (run, rest) == ("asyncio.run(main())", "\n")
        exec(begun, names)
        await names["main"]()
        shown.append([line for line in capsys.readouterr().out.splitlines() if not line.startswith("{")])
    sea, edits = shown
    assert len(sea) == 1
    assert sea[0] == "The sea ['How deep is the sea?', '3,700 m on average.']"
    assert edits == ["same 0 1 1", "removed 1 1 0"]


def test_every_method_is_on_the_page() -> None:
    methods = {name for name in vars(VaultClient) if not name.startswith("_")}
    table = [line for line in PAGE.splitlines() if line.startswith("| `")]
    told = {found[1]: found[2] for line in table if (found := re.match(r"\| `(\w+)\((.*?)\)` \|", line))}
    assert set(told) == methods
    for name, arguments in told.items():
        takes = list(inspect.signature(getattr(VaultClient, name)).parameters)[1:]
        assert [each.split("=")[0] for each in arguments.split(", ") if each] == takes, name
    failures = {each.__name__ for each in CannotOpen.__subclasses__()}
    assert failures <= set(re.findall(r"^\| `(\w+)`", PAGE, re.MULTILINE))


@pytest.mark.any_storage
async def test_time_is_no_secret(box: Box) -> None:
    """Entries tell when they were made, in UTC."""
    async with vault(box) as ann:
        entry = await ann.entry((await ann.push("c", [HI])).entry)
    assert abs(datetime.now(UTC) - entry.created_at) < timedelta(minutes=1)
    assert entry.created_at == entry.updated_at
