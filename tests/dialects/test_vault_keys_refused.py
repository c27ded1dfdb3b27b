"""What is refused of those who change keys and tokens, until they say that they mean it, or come again later."""

from __future__ import annotations

import pytest

from backchat.client.vault import VaultClient, VaultError
from backchat.testing.plugin import Serve
from backchat.testing.server import Box
from backchat_dialect_vault.settings import SettingsSchema
from vault_http import Caller, caller, logged_in


@pytest.fixture
async def ann(box: Box) -> Caller:
    return await caller(box)


def id_of(who: Caller) -> str:
    return who.token.split("_")[1]


async def test_a_login_alone_issues_no_token(box: Box) -> None:
    eve = await logged_in(box)
    mine: Caller | None = None
    for _ in range(2):  # before there is a first token, and after
        status, told = await eve.ask("POST", "/vault/tokens", json={"name": "for ever"})
        assert (status, told["error"]) == (403, "forbidden")
        assert "recoveryKey" in told["message"]
        mine = mine or await caller(box, "eve")
    assert mine is not None
    recovery = (await mine.ok("POST", "/vault/recovery"))["recoveryKey"]
    issued = await eve.ok("POST", "/vault/tokens", json={"name": "n", "recoveryKey": recovery})
    assert issued["hasKey"] is True
    assert (await eve.ok("GET", "/vault/tokens"))["total"] == 2


async def test_a_token_that_is_issued_with_one_that_waits_says_so(ann: Caller, box: Box) -> None:
    waiting = await caller(box)
    assert (await waiting.ok("POST", "/vault/tokens", json={"name": "n"}))["hasKey"] is False
    await ann.pull()
    assert (await waiting.ok("POST", "/vault/tokens", json={"name": "n"}))["hasKey"] is True


async def test_the_last_token_that_has_the_key_goes_only_if_that_is_said(ann: Caller, box: Box) -> None:
    waiting = await caller(box)
    path = f"/vault/tokens/{id_of(ann)}"
    for query in ("", "?abandon=false"):
        status, told = await waiting.ask("DELETE", path + query)
        assert (status, told["error"]) == (409, "conflict")
        assert "recovery key" in told["message"]
    for odd in ("1", "yes", "", "True", "true%20"):
        status, told = await waiting.ask("DELETE", f"{path}?abandon={odd}")
        assert (status, list(told["details"])) == (422, ["abandon"]), odd
    assert (await ann.ask("GET", "/vault/key"))[0] == 200
    assert (await waiting.raw("DELETE", path)).status == 204, "it has been left the key"


async def test_and_then_it_goes(ann: Caller, box: Box) -> None:
    waiting = await caller(box)
    assert (await waiting.raw("DELETE", f"/vault/tokens/{id_of(ann)}?abandon=true")).status == 204
    assert (await ann.ask("GET", "/vault/key"))[0] == 401
    assert (await waiting.ask("GET", "/vault/key"))[0] == 403


async def test_a_recovery_key_that_alone_opens_something_is_not_replaced_by_the_way(ann: Caller, box: Box) -> None:
    recovery = (await ann.ok("POST", "/vault/recovery"))["recoveryKey"]
    await ann.ok("DELETE", f"/vault/tokens/{id_of(ann)}")
    new = await caller(box)
    await new.ok("POST", "/vault/key/rotate", json={"abandon": True})
    status, told = await new.ask("POST", "/vault/recovery")
    assert (status, told["error"]) == (409, "conflict")
    assert "version" not in told
    status, told = await new.ask("POST", "/vault/recovery", json={"abandon": "true"})
    assert (status, list(told["details"])) == (422, ["abandon"])
    await new.ok("POST", "/vault/recover", json={"recoveryKey": recovery})
    await new.ok("POST", "/vault/recovery")


async def test_a_recovery_key_that_is_lost_is_given_up(ann: Caller, box: Box) -> None:
    await ann.ok("POST", "/vault/recovery")
    await ann.ok("DELETE", f"/vault/tokens/{id_of(ann)}")
    new = await caller(box)
    await new.ok("POST", "/vault/key/rotate", json={"abandon": True})
    async with VaultClient(str(box.client.make_url("")), new.token) as client:
        with pytest.raises(VaultError) as caught:
            await client.make_recovery_key()
        assert caught.value.status == 409
        assert (await client.make_recovery_key(abandon=True)).startswith("bsr_")


async def test_how_often_keys_and_tokens_may_be_changed(serve: Serve) -> None:
    box = await serve({"dialects": ["workspaces", {"use": "vault", "keys_per_user": "5/hour"}]})
    ann, other, bob = await caller(box), await caller(box), await caller(box, "bob")
    await ann.ok("POST", "/vault/tokens", json={"name": "n"})
    changes = (
        ("POST", "/vault/key/rotate"),
        ("POST", "/vault/recovery"),
        ("POST", "/vault/recover"),
        ("DELETE", "/vault/tokens/none"),
    )
    for method, path in changes:
        assert (await ann.ask(method, path, data=b"{}" if method == "POST" else None))[0] in (200, 201, 404, 422), path
    for method, path in (*changes, ("POST", "/vault/tokens")):
        answer = await other.raw(method, path, data=b"{")
        assert (answer.status, (await answer.json())["error"]) == (429, "rate_limited"), path
        assert 0 < int(answer.headers["Retry-After"]) <= 3600
    await other.push("c1")
    assert (await ann.ask("GET", "/vault/key"))[0] == 200
    assert (await ann.ask("GET", "/vault/tokens"))[0] == 200
    await bob.ok("POST", "/vault/key/rotate")


def test_keys_are_limited_unless_that_is_turned_off() -> None:
    assert SettingsSchema().load({}).keys_per_user == "60/hour"
    assert SettingsSchema().load({"keys_per_user": "off"}).keys_per_user is None


async def test_the_client_says_it_only_when_it_is_told_to(ann: Caller, box: Box) -> None:
    async with VaultClient(str(box.client.make_url("")), ann.token) as client:
        with pytest.raises(VaultError) as caught:
            await client.revoke_token(id_of(ann))
        assert caught.value.status == 409
        await client.revoke_token(id_of(ann), abandon=True)
        with pytest.raises(VaultError) as caught:
            await client.tokens()
        assert caught.value.status == 401
