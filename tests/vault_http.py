"""Plain requests to the vault dialect of a server in the test's own process, and what a client opens of its answers."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import orjson
from aiohttp import ClientResponse

from backchat.domain.vault import SealedContent, VaultMessage
from backchat.sealing.binary import from_text, to_text
from backchat.sealing.content import canonical, hash_of, messages_of, open_sealed, seal
from backchat.sealing.keys import VaultKey, Wrap, new_key, unwrap
from backchat.sealing.tokens import parse
from backchat.testing.server import Box

PASSWORD = "correct horse battery"
HI: Mapping[str, str] = {"role": "user", "content": "Hello"}


def said(*texts: str) -> list[dict[str, str]]:
    """By user and assistant in turn."""
    return [{"role": "assistant" if n % 2 else "user", "content": text} for n, text in enumerate(texts)]


class Caller:
    """One credential of a user."""

    def __init__(self, box: Box, token: str) -> None:
        self.box, self.token = box, token
        self.headers = {"Authorization": f"Bearer {token}"} if token else {}

    async def raw(self, method: str, path: str, **more: Any) -> ClientResponse:
        """``path`` is below the dialect's mount."""
        headers = {**self.headers, **more.pop("headers", {})}
        return await self.box.client.request(method, f"/api/v1{path}", headers=headers, **more)

    async def ask(self, method: str, path: str, **more: Any) -> tuple[int, Any]:
        """Status, and the JSON of the answer, None if it is empty."""
        answer = await self.raw(method, path, **more)
        raw = await answer.read()
        return answer.status, orjson.loads(raw) if raw else None

    async def ok(self, method: str, path: str, **more: Any) -> Any:
        status, body = await self.ask(method, path, **more)
        assert 200 <= status < 300, (status, body)
        return body

    async def push(self, chat: str, messages: Sequence[Mapping[str, Any]] = (HI,), /, **more: Any) -> Any:
        """A plain push from ``ollama``, unless it says otherwise; its answer."""
        body = {"chatId": chat, "platform": "ollama", "messages": list(messages), **more}
        return await self.ok("POST", "/push", json=body)

    async def pull(self, query: str = "") -> Any:
        return await self.ok("GET", f"/pull?{query}")

    async def chats(self, query: str = "") -> list[str]:
        """The chat ids of a pull, in its order."""
        return [e["chatId"] for e in (await self.pull(query))["entries"]]

    async def refused(self, field: str, **body: Any) -> list[str]:
        """What is said of a field of a push that does not fit, when nothing else is wrong."""
        status, told = await self.ask("POST", "/push", json={"chatId": "c1", "platform": "ollama", **body})
        assert (status, told["error"]) == (422, "validation_error"), told
        assert set(told["details"]) == {field}
        found: list[str] = told["details"][field]
        return found

    # ---- what a client does -----------------------------------------------------------------------------------------

    async def key(self, id: str | None = None) -> VaultKey:
        """The vault key, opened with the token."""
        told = await self.ok("GET", "/vault/key" + (f"?keyId={id}" if id else ""))
        secret = parse(self.token)
        assert secret is not None
        return unwrap(Wrap(told["keyId"], from_text(told["wrappedKey"]), from_text(told["iv"])), secret)

    async def opened(self, entry: Mapping[str, Any], of: Mapping[str, Any] | None = None) -> list[VaultMessage]:
        """The messages of an entry, or of a version of the entry ``of``."""
        named = of or entry
        key = await self.key(entry["keyId"])
        sealed = SealedContent(from_text(entry["iv"]), from_text(entry["encryptedContent"]))
        plaintext = open_sealed(sealed, key, named["platform"], named["chatId"])
        assert hash_of(plaintext, key) == entry["contentHash"]
        return messages_of(plaintext)


def sealed(*texts: str, key: VaultKey | None = None, chat: str = "c1", **more: Any) -> dict[str, Any]:
    """The body of a sealed push from ``ollama``, under a key of the client's own unless it is given."""
    plaintext = canonical([VaultMessage("user", text) for text in texts])
    content = seal(plaintext, key or new_key(), "ollama", chat)
    return {
        "chatId": chat,
        "platform": "ollama",
        "messageCount": len(texts),
        "iv": to_text(content.iv),
        "encryptedContent": to_text(content.data),
        **more,
    }


def noise(size: int, chat: str) -> dict[str, Any]:
    """The body of a sealed push of so many bytes of nothing."""
    iv, data = os.urandom(12), os.urandom(size)
    told = {"messageCount": 1, "iv": to_text(iv), "encryptedContent": to_text(data)}
    return {"chatId": chat, "platform": "ollama", **told}


async def caller(
    box: Box,
    user: str = "ann",
    *,
    platform: str | None = None,
    scopes: Sequence[str] = (),
    expires: datetime | None = None,
) -> Caller:
    """Somebody with a new API key, made beside the server."""
    account = await box.services.accounts.ensure_user(user)
    _, token = await box.services.accounts.create_key(
        account, "test", platform=platform, scopes=scopes, expires=expires
    )
    return Caller(box, token)


async def logged_in(box: Box, user: str = "eve") -> Caller:
    """Somebody who is there for the first time, without an API key."""
    await box.services.accounts.create_user(user, email=f"{user}@example.org", password=PASSWORD)
    login = {"email": f"{user}@example.org", "password": PASSWORD}
    answer = await box.client.post("/auth/jwt/create/", json=login)
    return Caller(box, (await answer.json())["access"])
