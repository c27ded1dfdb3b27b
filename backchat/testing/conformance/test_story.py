"""One story over every dialect, on a whole server: start, say, stream, list, read, delete."""

from __future__ import annotations

from typing import Any

import pytest

from backchat.domain.vault import VaultMessage
from backchat.sealing.binary import to_text
from backchat.sealing.content import canonical, seal
from backchat.sealing.keys import new_key
from backchat.testing.conformance.drivers import DRIVERS
from backchat.testing.server import Box

pytestmark = pytest.mark.asyncio


@pytest.mark.parametrize("name", DRIVERS)
async def test_the_story(box: Box, name: str) -> None:
    dialect, ann = DRIVERS[name], await box.key()
    other, _ = await dialect.say(box, ann, "Something else", None)
    id, first = await dialect.say(box, ann, "Tell me of the sea", None)
    assert "Tell me of the sea" in first
    same, second = await dialect.stream(box, ann, "And of the mountains", id)
    assert same == id
    assert "And of the mountains" in second
    assert await dialect.browse(box, ann) == [id, other]
    assert await dialect.read(box, ann, id) == [
        ("user", "Tell me of the sea"),
        ("assistant", first),
        ("user", "And of the mountains"),
        ("assistant", second),
    ]
    await dialect.delete(box, ann, id)
    assert await dialect.browse(box, ann) == [other]


async def test_the_story_of_the_vault(box: Box) -> None:
    """It has no conversations of its own: entries are pushed, sealed by the client, and every push is a version."""
    ann, bob, key = await box.key(), await box.key("bob"), new_key()

    async def ask(method: str, path: str, who: Any = ann, status: int = 200, **more: Any) -> Any:
        answer = await box.client.request(method, f"/api/v1{path}", headers=who, **more)
        assert answer.status == status, await answer.text()
        return await answer.json() if status != 204 else None

    async def push(chat: str, *texts: str) -> tuple[Any, str]:
        """What the server says, and what it was given to keep."""
        content = seal(canonical([VaultMessage("user", text) for text in texts]), key, "ollama", chat)
        kept = {"iv": to_text(content.iv), "encryptedContent": to_text(content.data)}
        body = {"chatId": chat, "platform": "ollama", "messageCount": len(texts), **kept}
        return await ask("POST", "/push", json=body), kept["encryptedContent"]

    other, _ = await push("c1", "Something else")
    entry, first = await push("c2", "Tell me of the sea")
    id = entry["entryId"]
    again, second = await push("c2", "Tell me of the sea", "And of the mountains")
    assert (again["entryId"], again["version"]) == (id, 2)
    assert [e["id"] for e in (await ask("GET", "/pull"))["entries"]] == [id, other["entryId"]]
    assert (await ask("GET", f"/entries/{id}"))["encryptedContent"] == second
    assert (await ask("GET", f"/entries/{id}/versions"))["total"] == 2
    assert (await ask("GET", f"/entries/{id}/versions/1"))["encryptedContent"] == first
    assert (await ask("GET", "/pull", bob))["entries"] == []
    await ask("GET", f"/entries/{id}", bob, 404)
    await ask("DELETE", f"/entries/{id}", status=204)
    assert [e["id"] for e in (await ask("GET", "/pull"))["entries"]] == [other["entryId"]]
    await ask("GET", f"/entries/{id}/versions/1", status=404)
