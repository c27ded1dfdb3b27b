"""Plain requests to the workspaces dialect of a server in the test's own process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from aiohttp import ClientResponse

from backchat.domain.identity import Identity
from backchat.domain.workspace import personal_workspace
from backchat.testing.provider import ScriptedProvider
from backchat.testing.server import Box

MISSING = "11111111-1111-4111-8111-111111111111"
DIALECT: Mapping[str, Any] = {
    "use": "workspaces",
    "login_per_address": "off",
    "share_per_address": "off",
    "transcribe_per_user": "off",
}
"""Without limits on how often."""
FREE: Mapping[str, Any] = {"dialects": ["chat", "threads", "convos", DIALECT]}


def scripted(provider: ScriptedProvider, **more: Any) -> tuple[dict[str, Any], list[object]]:
    """Config and plugins of a server that asks this provider; ``more`` are settings of the dialect."""
    dialects = ["chat", "threads", "convos", {**DIALECT, **more}]
    return {"dialects": dialects, "providers": {provider.name: {"use": provider.name}}}, [provider]


class Person:
    """One user of the dialect. ``home`` is their personal workspace, ``ws`` the one that they are in just now."""

    def __init__(self, box: Box, name: str, id: str, headers: Mapping[str, str]) -> None:
        self.box, self.name, self.id, self.headers = box, name, id, headers
        self.identity = Identity(user=id, name=name)
        self.home = self.ws = personal_workspace(id)

    async def raw(self, method: str, path: str, **more: Any) -> ClientResponse:
        """``path`` from the root, or, without a slash before it, within the workspace."""
        headers = {**self.headers, **more.pop("headers", {})}
        where = path if path.startswith("/") else f"/api/workspaces/{self.ws}/{path}"
        return await self.box.client.request(method, where, headers=headers, **more)

    async def ask(self, method: str, path: str, **more: Any) -> tuple[int, Any]:
        """Status, and the JSON of the answer, None if it is empty."""
        answer = await self.raw(method, path, **more)
        raw = await answer.read()
        return answer.status, orjson.loads(raw) if raw else None

    async def ok(self, method: str, path: str, **more: Any) -> Any:
        status, body = await self.ask(method, path, **more)
        assert 200 <= status < 300, (status, body)
        return body

    async def page(self, path: str, **query: str) -> list[Any]:
        found: list[Any] = (await self.ok("GET", path, params=query))["results"]
        return found

    async def session(self, **fields: Any) -> str:
        """A new session; its id."""
        made: str = (await self.ok("POST", "chats/", json=fields))["id"]
        return made

    async def send(self, session: str, content: str) -> Any:
        """Say something and wait for the reply."""
        return await self.ok("POST", f"chats/{session}/messages/", json={"content": content})

    async def messages(self, session: str, **query: str) -> list[Any]:
        return await self.page(f"chats/{session}/messages/", **query)

    async def texts(self, session: str) -> list[tuple[str, str]]:
        return [(m["role"], m["content"]) for m in await self.messages(session)]


async def person(box: Box, name: str = "ann") -> Person:
    """A user with an account, an e-mail address and an API key."""
    accounts = box.services.accounts
    account = await accounts.user_by_name(name) or await accounts.create_user(name, email=f"{name}@example.org")
    return Person(box, name, account.id, await box.key(name))


async def team(owner: Person, *members: Person, name: str = "Team") -> str:
    """A new workspace in which all of them are from now on."""
    ws: str = (await owner.ok("POST", "/api/workspaces/", json={"name": name}))["id"]
    for member in members:
        await owner.ok("POST", f"/api/workspaces/{ws}/members/", json={"user_id": member.id})
    for one in (owner, *members):
        one.ws = ws
    return ws


def ids(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    return [row["id"] for row in rows]
