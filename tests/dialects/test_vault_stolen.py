"""What the vault's database is worth to somebody who has no token, and what its values show of themselves."""

from __future__ import annotations

import asyncio
import hashlib
import importlib
import json
import pkgutil
import re
import sqlite3
from base64 import b64decode, b64encode
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import fields, is_dataclass
from pathlib import Path

import pytest

import backchat.client
import backchat.domain.vault
import backchat.ports.auth
import backchat.sealing
import backchat.services
import backchat.web.dialect
from backchat.domain.identity import Identity
from backchat.domain.vault import PlainPush, SealedText, VaultEntry, VaultMessage
from backchat.errors import Forbidden
from backchat.sealing.content import canonical, open_sealed
from backchat.sealing.failures import CannotOpen
from backchat.sealing.keys import VaultKey, accept, unwrap
from backchat.sealing.tokens import Secret
from backchat.services.keyrings import Keyring, keyring_of
from backchat.services.vault import VaultFilter
from backchat.services.vault_keys import Bearer
from backchat.testing.server import running
from backchat.web.dialect import Call, FieldProblem, Problem
from vault_desk import as_bytes
from vault_marked import traces, word
from vault_place import JWT_SECRET, PUSH, bearer_of

# ---- the database alone ----------------------------------------------------------------------------------------------

AUTH = {"auth": [{"use": "apikey"}, {"use": "jwt", "secret": JWT_SECRET}]}


async def test_the_database_without_a_token_opens_nothing(tmp_path: Path) -> None:
    """A server that is started anew, on all that there is, with a credential of the user that is no token."""
    mark = word()
    said = {"messages": [{"role": "user", "content": mark}], "platform": "ollama"}
    async with running(tmp_path, AUTH) as box:
        token = (await box.key("ann"))["Authorization"].removeprefix("Bearer ")
        owner = {"Authorization": f"Bearer {token}"}
        for chat in ("c1", "c2"):
            assert (await box.client.post(PUSH, json={**said, "chatId": chat}, headers=owner)).status == 200
        assert (await box.client.post("/api/v1/vault/recovery", headers=owner)).status == 201
        waiting = (await box.key("ann"))["Authorization"].removeprefix("Bearer ")
        assert (await box.client.get("/api/v1/pull", headers=owner)).status == 200  # leaves a grant
        user = (await box.services.accounts.ensure_user("ann")).id

    async with running(tmp_path, AUTH) as box:
        foreign = {"Authorization": f"Bearer {bearer_of(user)}"}
        pulled = await box.client.get("/api/v1/pull", headers=foreign)
        assert (pulled.status, (await pulled.json())["total"]) == (200, 2)
        assert not traces({"pulled": await pulled.read()}, [mark])
        for path in ("/api/v1/vault/key", "/api/v1/vault/key?keyId=vk-0"):
            answer = await box.client.get(path, headers=foreign)
            assert answer.status == 403
            assert "wrappedKey" not in await answer.json()
        bearer = Bearer(Identity(user=user), None)
        with pytest.raises(Forbidden):
            await box.services.vault_keys.current(bearer)
        found = [row async for group in box.services.vault.pull(bearer.who, VaultFilter(), limit=9) for row in group]
        record = await box.services.runs.store.get("vault_keyring", user)
        assert record is not None
        ring = keyring_of(record)
        assert [{h.use for h in ring.holders.values()}, len(ring.keys[0].wraps), len(ring.keys[0].grants)] == [
            {"token", "recovery"},
            2,
            1,
        ]

    texts = await asyncio.to_thread(all_texts, tmp_path / "backchat.db")
    assert len(texts) > 100
    # Nor anything by which a guess could be confirmed.
    plain = canonical([VaultMessage("user", mark)])
    digests = {new(guess) for guess in (plain, mark.encode()) for new in (hashlib.sha256, hashlib.sha1, hashlib.md5)}
    assert texts.isdisjoint({d.hexdigest() for d in digests} | {b64encode(d.digest()).decode() for d in digests})
    assert opened_by(texts, ring, found) == set()
    for text in (token, waiting):
        assert opened_by({text.split("_", 2)[2]}, ring, found) == {"c1", "c2"}, "the attempt itself is no good"


def all_texts(database: Path) -> set[str]:
    """Every text in the database, in documents as well."""
    found: set[str] = set()

    def gather(value: object) -> None:
        if isinstance(value, dict):
            gather([*value, *value.values()])
        elif isinstance(value, list):
            for item in value:
                gather(item)
        elif isinstance(value, bytes):
            found.update((value.hex(), b64encode(value).decode()))
            gather(value.decode(errors="replace"))
        elif isinstance(value, str):
            found.add(value)
            with suppress(ValueError):
                if value[:1] in ("{", "["):
                    gather(json.loads(value))

    with closing(sqlite3.connect(database)) as db:
        for (table,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            for row in db.execute(f'SELECT * FROM "{table}"'):
                gather(list(row))
    return found


def opened_by(texts: Iterable[str], ring: Keyring, found: Sequence[tuple[VaultEntry, SealedText]]) -> set[str]:
    """The chats that somebody opens who tries each text as the secret of each holder, and as the vault key itself."""
    keys = []
    for text in texts:
        for kept in ring.keys:
            for id, holder in ring.holders.items():
                secret = Secret(holder.use, id, text)
                with suppress(CannotOpen):
                    if id in kept.wraps:
                        keys.append(unwrap(kept.wraps[id], secret))
                with suppress(CannotOpen):
                    if id in kept.grants:
                        keys.append(accept(kept.grants[id], kept.id, secret))
            for decoded in (bytes.fromhex, b64decode, str.encode):
                with suppress(ValueError):
                    keys.append(VaultKey(kept.id, decoded(text)))
    chats = set()
    for key in keys:
        for entry, sealed in found:
            with suppress(CannotOpen):
                open_sealed(as_bytes(sealed), key, entry.platform, entry.chat)
                chats.add(entry.chat)
    return chats


# ---- the code -------------------------------------------------------------------------------------------------------

IDS = {
    *(
        "id",
        "owner",
        "entry",
        "chat",
        "platform",
        "category",
        "model",
        "name",
        "scopes",
        "timestamp",
        "message",
        "scheme",
    ),
    *("VaultEntry.key", "VaultVersion.key", "SealedPush.key", "Fresh.key", "Wrap.key", "Entry.key"),
    *("VaultVersion.token", "Writing.token", "Keyring.holders", "RingKey.wraps", "Call.settings"),
}
"""The texts that these values show of themselves."""
TEXT = re.compile(r"\b(str|bytes|Any)\b")
ELSEWHERE = (backchat.domain.vault, backchat.web.dialect, backchat.ports.auth)
ABOUT = re.compile(r"vault|ring|keyless|issuing|adopting")


def classes() -> Iterator[type]:
    """The values that a push, a key or a token goes through, on its way and in the client."""
    modules = list(ELSEWHERE)
    for package in (backchat.sealing, backchat.client, backchat.services):
        for found in pkgutil.iter_modules(package.__path__):
            if package is not backchat.services or ABOUT.match(found.name):
                modules += [importlib.import_module(f"{package.__name__}.{found.name}")]
    for module in modules:
        for thing in vars(module).values():
            if isinstance(thing, type) and thing.__module__ == module.__name__ and is_dataclass(thing):
                yield thing


def test_values_do_not_show_what_is_secret() -> None:
    rest = {backchat.web.dialect.Route, backchat.web.dialect.Dialect, Problem, FieldProblem}
    found = [thing for thing in classes() if thing not in rest]
    assert {Call, VaultKey, VaultEntry, Bearer, PlainPush} <= set(found)
    shown = {
        f"{thing.__name__}.{f.name}" for thing in found for f in fields(thing) if f.repr and TEXT.search(str(f.type))
    }
    assert {name for name in shown if name.partition(".")[2] not in IDS} - IDS == set()
