"""Plain requests to the convos dialect of a server in the test's own process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any

import orjson
from aiohttp import FormData

from backchat.testing.server import Box

ROOT = "00000000-0000-0000-0000-000000000000"
MISSING = "11111111-1111-4111-8111-111111111111"
FREE: Mapping[str, Any] = {
    "dialects": [
        "chat",
        "threads",
        {"use": "convos", "fork_per_user": "off", "fork_per_address": "off", "login_per_address": "off"},
    ]
}
"""Without limits on how often."""


class Convos:
    """One user of the dialect."""

    def __init__(self, box: Box, who: Mapping[str, str]) -> None:
        self.box, self.who = box, who

    async def ask(self, method: str, path: str, **more: Any) -> tuple[int, Any]:
        """Status, and the JSON of the answer, or its text if it is none."""
        headers = {**self.who, **more.pop("headers", {})}
        answer = await self.box.client.request(method, path, headers=headers, **more)
        raw = await answer.read()
        return answer.status, orjson.loads(raw) if answer.content_type == "application/json" else raw.decode()

    async def get(self, path: str, *pairs: tuple[str, str], **query: str) -> tuple[int, Any]:
        return await self.ask("GET", path, params=[*pairs, *query.items()])

    async def arg(self, method: str, path: str, **arg: Any) -> tuple[int, Any]:
        return await self.ask(method, path, json={"arg": arg})

    async def ok(self, method: str, path: str, **more: Any) -> Any:
        status, body = await self.ask(method, path, **more)
        assert status in (200, 201), (status, body)
        return body

    async def say(self, text: str, conversation: str = "new", **more: Any) -> Any:
        """Store a message; the message."""
        return await self.ok("POST", f"/api/messages/{conversation}", json={"text": text, **more})

    async def start(self, *titles: str) -> list[str]:
        """Conversations with a message each; their ids."""
        return [(await self.say(title))["conversationId"] for title in titles]

    async def listed(self, *pairs: tuple[str, str], **query: str) -> list[str]:
        """The titles on a page."""
        status, body = await self.get("/api/convos", *pairs, **query)
        assert status == 200, body
        return [c["title"] for c in body["conversations"]]

    async def walk(self, **query: str) -> list[str]:
        """The titles on all pages."""
        found: list[str] = []
        cursor: str | None = ""
        while cursor is not None:
            status, body = await self.get("/api/convos", **query, **({"cursor": cursor} if cursor else {}))
            assert status == 200, body
            found += [c["title"] for c in body["conversations"]]
            cursor = body["nextCursor"]
        return found

    async def messages(self, conversation: str) -> Sequence[Any]:
        found: Sequence[Any] = await self.ok("GET", f"/api/messages/{conversation}")
        return found

    async def upload(
        self, data: bytes, name: str = "chats.json", mime: str = "application/json", query: str = ""
    ) -> tuple[int, Any]:
        form = FormData(quote_fields=False)  # names are sent as they are
        form.add_field("file", BytesIO(data), filename=name, content_type=mime)
        return await self.ask("POST", f"/api/convos/import{query}", data=form)


async def convos(box: Box, user: str = "ann") -> Convos:
    return Convos(box, await box.key(user))


async def tree(ann: Convos, title: str = "root") -> dict[str, Any]:
    """The worked example of forks: messages by their texts, under ``id`` their conversation."""
    made: dict[str, Any] = {}
    for line in ("U0", "A1 U0", "U2 A1", "A3 U2", "U4 A3", "A5 U4", "A3b U2", "U2b A1", "A3c U2b", "A1b U0", "U2c A1b"):
        text, _, parent = line.partition(" ")
        more = {"parentMessageId": made[parent]["messageId"]} if parent else {}
        made[text] = await ann.say(text, made.get("id", "new"), isCreatedByUser=text[0] == "U", **more)
        made.setdefault("id", made[text]["conversationId"])
    for text, parent in (("R2", ""), ("R2A", "R2")):
        more = {"parentMessageId": made[parent]["messageId"]} if parent else {}
        made[text] = await ann.say(text, made["id"], isCreatedByUser=text == "R2", **more)
    await ann.arg("POST", "/api/convos/update", conversationId=made["id"], title=title)
    return made
