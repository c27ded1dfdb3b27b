"""``backchat keys`` beside a server: what becomes of the vault keys."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import pytest
from click.testing import CliRunner, Result

from backchat.app import new_id, now, open_store
from backchat.cli import main
from backchat.cli.installation import Installation
from backchat.domain.identity import Identity
from backchat.errors import Forbidden
from backchat.ports.storage import Put
from backchat.sealing.tokens import parse
from backchat.services.accounts import Accounts
from backchat.services.vault_keys import Bearer, VaultKeys
from backchat.services.vault_records import ENTRY

T = TypeVar("T")


class Place:
    """An installation, used by commands and, as a server does it, by requests with a key."""

    def __init__(self, data: Path) -> None:
        self.data = data

    def keys(self, *args: str) -> Result:
        done = CliRunner().invoke(main, ["keys", *args, "--data", str(self.data)])
        assert done.exit_code == 0, done.stderr
        return done

    def create(self, *args: str) -> str:
        return self.keys("create", "--user", "ada", *args).stdout.strip()

    def revoke(self, token: str, *more: str) -> str:
        """What is said about the vault."""
        return self.keys("revoke", token.split("_")[1], *more).stderr

    def pushed(self, token: str) -> None:
        """There is something in the vault."""
        config = Installation(None, self.data).load_usable()

        async def stored() -> None:
            async with open_store(config) as store:
                key = await Accounts(store, now=now, new_id=new_id).api_key(token.split("_")[1])
                assert key is not None
                await store.apply([Put(ENTRY.name, "e", {"owner": key.user}, 0)])

        asyncio.run(stored())

    def request(self, token: str, work: Callable[[VaultKeys, Bearer], Coroutine[Any, Any, T]]) -> T:
        config = Installation(None, self.data).load_usable()

        async def opened() -> T:
            async with open_store(config) as store:
                accounts, secret = Accounts(store, now=now, new_id=new_id), parse(token)
                assert secret is not None
                key = await accounts.api_key(secret.id)
                assert key is not None
                bearer = Bearer(Identity(user=key.user, key=key.id), secret)
                keys = VaultKeys(store, accounts, now=now, new_id=new_id)
                await keys.attend(bearer)
                return await work(keys, bearer)

        return asyncio.run(opened())


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path / "data")


def test_an_empty_vault_keeps_nobody_from_revoking(place: Place) -> None:
    assert place.revoke(place.create()) == ""


def test_a_key_made_beside_the_server_waits_for_the_next_request(place: Place) -> None:
    first, second = place.create(), place.create()
    with pytest.raises(Forbidden):
        place.request(second, VaultKeys.current)
    assert place.request(first, VaultKeys.current) == place.request(second, VaultKeys.current)


def test_the_last_key_that_opens_the_vault_is_revoked_only_if_that_is_said(place: Place) -> None:
    first, second, other = place.create(), place.create(), place.create("--scope", "chat")
    assert place.revoke(other) == ""
    place.request(first, VaultKeys.attend)
    place.pushed(first)
    assert place.revoke(first) == "", "the second has been left the key"
    refused = CliRunner().invoke(main, ["keys", "revoke", second.split("_")[1], "--data", str(place.data)])
    assert refused.exit_code == 1
    assert "with abandon" in refused.stderr
    assert place.request(second, VaultKeys.current), "it is as good as before"
    said = place.revoke(second, "--abandon")
    assert said.startswith("warning: ")
    assert "cannot be opened any more" in said
    assert place.revoke(second) == "", "it was revoked before"


def test_a_recovery_key_that_is_left_is_named(place: Place) -> None:
    first = place.create()
    recovery = place.request(first, VaultKeys.make_recovery)
    second = place.create()
    place.pushed(first)
    said = place.revoke(first)
    assert "only the recovery key" in said
    assert place.revoke(second) == "", "it was waiting"
    third = place.create()
    assert place.request(third, lambda keys, bearer: keys.recover(bearer, recovery.text))
    assert place.request(third, VaultKeys.current)
