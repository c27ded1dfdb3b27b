"""A driver for each dialect, for the tests that hold for all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from backchat.testing.server import Box, events


class Driver(Protocol):
    """A dialect in ten lines."""

    async def say(self, box: Box, who: Mapping[str, str], text: str, conversation: str | None) -> tuple[str, str]:
        """Say something; the conversation's id and the answer."""
        ...

    async def stream(self, box: Box, who: Mapping[str, str], text: str, conversation: str | None) -> tuple[str, str]:
        """The same as a stream; the answer is what the deltas said."""
        ...

    async def browse(self, box: Box, who: Mapping[str, str]) -> Sequence[str]:
        """Ids of the conversations, newest activity first."""
        ...

    async def read(self, box: Box, who: Mapping[str, str], conversation: str) -> Sequence[tuple[str, str]]:
        """Role and text of each message, oldest first."""
        ...

    async def delete(self, box: Box, who: Mapping[str, str], conversation: str) -> None: ...


class Chat:
    async def _json(self, box: Box, method: str, path: str, who: Mapping[str, str], **more: Any) -> Any:
        answer = await box.client.request(method, f"/api/chat{path}", headers=who, **more)
        assert answer.status == 200, await answer.text()
        return await answer.json()

    async def say(self, box: Box, who: Mapping[str, str], text: str, conversation: str | None) -> tuple[str, str]:
        body = await self._json(box, "POST", "", who, json={"text": text, "conversation_id": conversation})
        return body["conversation_id"], body["reply"]

    async def stream(self, box: Box, who: Mapping[str, str], text: str, conversation: str | None) -> tuple[str, str]:
        body = {"text": text, "conversation_id": conversation}
        found = await events(await box.client.post("/api/chat/stream", json=body, headers=who))
        return found[0][2]["conversation_id"], "".join(d["delta"] for n, _, d in found if n == "assistant")

    async def browse(self, box: Box, who: Mapping[str, str]) -> Sequence[str]:
        return [c["id"] for c in (await self._json(box, "GET", "/conversations", who))["conversations"]]

    async def read(self, box: Box, who: Mapping[str, str], conversation: str) -> Sequence[tuple[str, str]]:
        query = {"conversation_id": conversation}
        body = await self._json(box, "GET", "/messages", who, params=query)
        return [(m["role"], m["content"]) for m in body["messages"]]

    async def delete(self, box: Box, who: Mapping[str, str], conversation: str) -> None:
        await self._json(box, "DELETE", f"/conversations/{conversation}", who)


class Threads:
    async def _json(self, box: Box, method: str, path: str, who: Mapping[str, str], **more: Any) -> Any:
        answer = await box.client.request(method, f"/api/threads{path}", headers=who, **more)
        assert answer.status == 200, await answer.text()
        return await answer.json()

    async def say(self, box: Box, who: Mapping[str, str], text: str, conversation: str | None) -> tuple[str, str]:
        body = await self._json(box, "POST", "/messages", who, json={"content": text, "thread_id": conversation})
        return body["thread_id"], body["content"]

    async def stream(self, box: Box, who: Mapping[str, str], text: str, conversation: str | None) -> tuple[str, str]:
        body = {"content": text, "thread_id": conversation, "stream": True}
        found = await events(await box.client.post("/api/threads/messages", json=body, headers=who))
        return found[0][2]["thread_id"], "".join(d["content"] for n, _, d in found if n == "content_streaming")

    async def browse(self, box: Box, who: Mapping[str, str]) -> Sequence[str]:
        return [t["thread_id"] for t in await self._json(box, "GET", "", who)]

    async def read(self, box: Box, who: Mapping[str, str], conversation: str) -> Sequence[tuple[str, str]]:
        body = await self._json(box, "GET", f"/{conversation}", who)
        return [(m["role"], m["content"]) for m in body["messages"]]

    async def delete(self, box: Box, who: Mapping[str, str], conversation: str) -> None:
        await self._json(box, "DELETE", f"/{conversation}", who)


class Convos(Chat):
    """No model answers here: it keeps, lists and deletes what is said elsewhere."""

    async def _ask(self, box: Box, method: str, path: str, who: Mapping[str, str], **more: Any) -> Any:
        answer = await box.client.request(method, f"/api{path}", headers=who, **more)
        assert answer.status in (200, 201), await answer.text()
        return await answer.json()

    async def browse(self, box: Box, who: Mapping[str, str]) -> Sequence[str]:
        return [c["conversationId"] for c in (await self._ask(box, "GET", "/convos", who))["conversations"]]

    async def read(self, box: Box, who: Mapping[str, str], conversation: str) -> Sequence[tuple[str, str]]:
        found = await self._ask(box, "GET", f"/messages/{conversation}", who)
        return [("user" if m["isCreatedByUser"] else "assistant", m["text"]) for m in found]

    async def delete(self, box: Box, who: Mapping[str, str], conversation: str) -> None:
        gone = await self._ask(box, "DELETE", "/convos", who, json={"arg": {"conversationId": conversation}})
        assert gone["deletedCount"] == 1


class Workspaces:
    """Sessions of the personal workspace. It does not stream: whoever does not want to wait asks again."""

    async def _ask(self, box: Box, method: str, path: str, who: Mapping[str, str], **more: Any) -> Any:
        """``path`` is within the personal workspace."""
        listed = await box.client.get("/api/workspaces/", headers=who)
        home = (await listed.json())["results"][0]["id"]
        headers = {**who, **more.pop("headers", {})}
        answer = await box.client.request(method, f"/api/workspaces/{home}/chats/{path}", headers=headers, **more)
        assert answer.status in (200, 201, 202, 204), await answer.text()
        return await answer.json() if answer.status != 204 else None

    async def _session(self, box: Box, who: Mapping[str, str], conversation: str | None) -> str:
        return conversation or (await self._ask(box, "POST", "", who, json={}))["id"]

    async def say(self, box: Box, who: Mapping[str, str], text: str, conversation: str | None) -> tuple[str, str]:
        session = await self._session(box, who, conversation)
        told = await self._ask(box, "POST", f"{session}/messages/", who, json={"content": text})
        return session, told["ai_messages"][-1]["content"]

    async def stream(self, box: Box, who: Mapping[str, str], text: str, conversation: str | None) -> tuple[str, str]:
        session = await self._session(box, who, conversation)
        later = {"Prefer": "respond-async"}
        told = await self._ask(box, "POST", f"{session}/messages/", who, json={"content": text}, headers=later)
        poll = f"{session}/messages/agent-task-status/{told['task_id']}/"
        while told["status"] == "processing":
            told = await self._ask(box, "GET", poll, who)
        return session, told["ai_messages"][-1]["content"]

    async def browse(self, box: Box, who: Mapping[str, str]) -> Sequence[str]:
        return [s["id"] for s in (await self._ask(box, "GET", "", who))["results"]]

    async def read(self, box: Box, who: Mapping[str, str], conversation: str) -> Sequence[tuple[str, str]]:
        found = await self._ask(box, "GET", f"{conversation}/messages/?page_size=100", who)
        return [(m["role"], m["content"]) for m in found["results"]]

    async def delete(self, box: Box, who: Mapping[str, str], conversation: str) -> None:
        await self._ask(box, "DELETE", f"{conversation}/", who)


DRIVERS: Mapping[str, Driver] = {
    "chat": Chat(),
    "threads": Threads(),
    "convos": Convos(),
    "workspaces": Workspaces(),
}
APART = {"vault"}
"""Dialects without conversations of their own."""
