"""Two users, every route: nobody sees, changes, streams, cancels or counts what is somebody else's.

Generated from the mounted routes. A route with a parameter that this file does not know fails here until it is taught.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
import pytest
from aiohttp import FormData
from marshmallow import fields

from backchat.domain.identity import Identity
from backchat.plugins import Plugins
from backchat.ports.providers import Abilities
from backchat.ports.storage import Query
from backchat.testing.plugin import Serve
from backchat.testing.provider import ScriptedProvider
from backchat.testing.server import Box, events
from backchat.web.body import JSON
from backchat.web.dialect import Dialect, Route

pytestmark = pytest.mark.any_storage

MARKER = "xylophone"
HARMLESS: dict[str, Any] = {
    "text": "hello",
    "content": "hello",
    "keep_count": 0,
    "allow": True,
    "provider": "default",
    "mood": "normal",
    "name": "mine",
    "query": "hello",
    "tool_outputs": [],
    "file": b"[]",
    "provider_name": "nobody",
    "model_name": "nothing",
    "tag": "nothing",
    "tags": ["nothing"],
    "addToConversation": True,
    "target": "de",
    "email": "nobody@example.org",
    "password": "nothing",
    "refresh": "nothing",
    "token": "nothing",
    "audio_file": b"RIFF",
    "chatId": "nothing",
    "platform": "nothing",
    "messages": [{"role": "user", "content": "hello"}],
}
ALWAYS = ("content", "conversationId", "addToConversation", "arg", "messages", "platform")
"""Fields that a request needs for its ids to count, though no schema requires them."""
KINDS = {
    "conversation_id": "conversation",
    "thread_id": "conversation",
    "run_id": "run",
    "assistant_id": "assistant",
    "document_id": "document",
    "memory_id": "memory",
    "operation_id": "memory_operation",
    "conversationId": "conversation",
    "messageId": "message",
    "latestMessageId": "message",
    "targetMessageId": "message",
    "parentMessageId": "message",
    "shareId": "share",
    "job": "import",
    "workspace_id": "workspace",
    "session_id": "conversation",
    "message_id": "message",
    "task_id": "run",
    "link_uuid": "public_link",
    "user_id": "user",
    "share_id": None,
    "entryId": None,
    "version": None,
    "tokenId": "api_key",
    "recoveryKey": None,
}
"""The kinds of the things that routes ask for, by the names of their ids; None: it is in another record, or its record
has another id.
"""
VAULT = ("vault_entry", "vault_version", "vault_content", "vault_nonce", "vault_counter", "vault_keyring")
COUNTED = ("entryId", "version")
"""Numbers that everybody counts from one: that they are in an answer says nothing."""
TRIED = ("recoveryKey",)
"""What is not one's own does not fit, like what is nobody's."""
GIVEN_AWAY: Mapping[str, tuple[str, ...]] = {
    "GET /api/share/{shareId}": ("shareId",),
    "POST /api/share/{shareId}/fork": ("shareId",),
    "GET /api/chats/shared/{link_uuid}/": ("messageId", "message_id"),
}
"""Here the id is all that is needed: whoever has it was given it. It also shows these ids."""
QUIET = ("DELETE /api/convos",)
"""Answers that nothing was deleted, whether it is somebody else's or nobody's."""
KNOWING = ("GET /api/config",)
"""Public, and says more to those who log in."""


DIALECTS = tuple(Plugins(from_entry_points=True).dialects.values())


@dataclass(frozen=True)
class Ask:
    path: str
    query: Mapping[str, Any]
    body: Mapping[str, Any] | None
    aimed: bool


class Anns:
    """What belongs to Ann, by the names under which routes ask for it."""

    def __init__(self, ids: Mapping[str, str]) -> None:
        assert set(ids) == set(KINDS)
        self.ids = ids

    def asks(self, route: Route) -> Sequence[Ask]:
        """Requests that aim at Ann's things: one with nothing but what must be there, one for each id beside that."""
        path = re.sub(r"{(\w+)[^}]*}", lambda name: str(self._value(name[1])), route.path)
        names = re.findall(r"{(\w+)", route.path)
        query = route.query.fields if route.query else {}
        body = route.body.fields if route.body else {}
        mine = {*self.ids, "arg"}
        must = {n for given in (query, body) for n, f in given.items() if f.required or n in ALWAYS}
        found = []
        for more in [set[str](), *[{n} for n in (*query, *body) if n in mine and n not in must]]:
            wanted = must | more
            found.append(
                Ask(
                    path,
                    {n: self._value(n) for n in query if n in wanted},
                    {n: _fitting(f, self._value(n)) for n, f in body.items() if n in wanted} if route.body else None,
                    any(n in mine for n in (*names, *wanted)),
                )
            )
        return found

    def _value(self, name: str) -> Any:
        if name == "arg":  # in which some clients wrap what they send
            return {"conversationId": self.ids["conversationId"], "title": "t", "isArchived": True, "pinned": True}
        return self.ids[name] if name in self.ids else HARMLESS[name]


async def anns_things(box: Box, ann: Mapping[str, str], provider: ScriptedProvider) -> Anns:
    """One of each, made through the threads dialect, and a reply in the middle of its first words."""

    async def make(path: str, name: str, **body: Any) -> str:
        answer = await box.client.post(f"/api{path}", headers=ann, **body)
        assert answer.status == 200, await answer.text()
        found: str = (await answer.json())[name]
        return found

    assistant = await make("/assistants", "assistant_id", json={"name": MARKER, "system_prompt": MARKER})
    message = {"content": f"I like my {MARKER}.", "assistant_id": assistant, "memory": "Auto"}
    answer = await box.client.post("/api/threads/messages", headers=ann, json=message)
    said = await answer.json()
    thread, operation = said["thread_id"], said["memory_operation_id"]
    while True:
        if (await _operation(box, ann, operation))["status"] != "PENDING":
            break
        await asyncio.sleep(0.01)
    memory = await make(f"/assistants/{assistant}/memories", "memory_id", json={"content": MARKER})
    file = FormData()
    file.add_field("file", MARKER.encode() * 9, filename=f"{MARKER}.txt")
    document = await make(f"/threads/{thread}/documents", "document_id", data=file)
    await box.services.documents.ready(Identity(user=""), assistant=assistant, conversation=thread)
    link = await box.client.post(f"/api/share/{thread}", headers=ann, json={})
    share = (await link.json())["shareId"]
    first = (await (await box.client.get(f"/api/messages/{thread}", headers=ann)).json())[0]["messageId"]
    file = FormData()
    file.add_field("file", b"[]", filename=f"{MARKER}.json")
    begun = await box.client.post("/api/convos/import?background=true", headers=ann, data=file)
    job = (await begun.json())["jobId"]
    await finished(box, ann, job)
    workspace, share_id = await shared(box, ann, thread)
    published = await box.client.post(f"/api/workspaces/{workspace}/chats/{thread}/toggle-public/", headers=ann)
    entry, recovery = await pushed(box, ann)
    body = {"text": MARKER, "conversation_id": thread}
    stream = await box.client.post("/api/chat/stream", headers=ann, json=body)
    head = b""
    while b"started" not in head:
        head += await stream.content.readany()
    run = orjson.loads(head.split(b"data: ")[1].split(b"\n")[0])["run_id"]
    return Anns(
        {
            "conversation_id": thread,
            "thread_id": thread,
            "run_id": run,
            "assistant_id": assistant,
            "document_id": document,
            "memory_id": memory,
            "operation_id": operation,
            "conversationId": thread,
            "messageId": first,
            "latestMessageId": first,
            "targetMessageId": first,
            "parentMessageId": first,
            "shareId": share,
            "job": job,
            "workspace_id": workspace,
            "session_id": thread,
            "message_id": first,
            "task_id": run,
            "link_uuid": (await published.json())["shareable_link_id"],
            "user_id": (await box.services.accounts.ensure_user("ann")).id,
            "share_id": share_id,
            "entryId": entry,
            "version": "1",
            "tokenId": ann["Authorization"].split("_")[1],
            "recoveryKey": recovery,
        }
    )


async def shared(box: Box, ann: Mapping[str, str], thread: str) -> tuple[str, str]:
    """Ann's personal workspace, with Cem in it, with whom the thread is shared; its id and that of the share."""
    cem = {"user_id": (await box.services.accounts.ensure_user("cem")).id}
    listed = await box.client.get("/api/workspaces/", headers=ann)
    workspace: str = (await listed.json())["results"][0]["id"]
    at = f"/api/workspaces/{workspace}"
    assert (await box.client.post(f"{at}/members/", headers=ann, json=cem)).status == 201
    share = await box.client.post(f"{at}/chats/{thread}/share/", headers=ann, json=cem)
    return workspace, (await share.json())["id"]


async def pushed(box: Box, ann: Mapping[str, str]) -> tuple[str, str]:
    """The number of an entry in Ann's vault, and her recovery key."""
    body = {"chatId": MARKER, "platform": MARKER, "title": MARKER, "messages": [{"role": "user", "content": MARKER}]}
    answer = await box.client.post("/api/v1/push", headers=ann, json=body)
    recovery = await box.client.post("/api/v1/vault/recovery", headers=ann)
    return str((await answer.json())["entryId"]), (await recovery.json())["recoveryKey"]


async def _operation(box: Box, ann: Mapping[str, str], id: str) -> Any:
    return await (await box.client.get(f"/api/assistants/memories/operations/{id}", headers=ann)).json()


async def finished(box: Box, ann: Mapping[str, str], job: str) -> None:
    stream = {**ann, "Accept": "text/event-stream"}
    told = await events(await box.client.get(f"/api/convos/import/{job}", headers=stream))
    assert told[-1][2]["status"] == "done"


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
async def test_a_stranger(serve: Serve, dialect: Dialect, subtests: pytest.Subtests) -> None:
    """One of his own at each route: what he may do there is not in the way of the next."""
    able = Abilities(instructions=False)
    provider = ScriptedProvider(["ok"], ["started ", asyncio.Event()], ["ok"], abilities=able)
    box = await serve({"providers": {"scripted": {"use": "scripted"}}}, [provider])
    ann = await box.key("ann")
    anns = await anns_things(box, ann, provider)
    before = await standing(box, anns)
    for number, route in enumerate(dialect.routes):
        name = f"{route.method} {dialect.mount}{route.path}"
        with subtests.test(name):
            await stranger(box, await box.key(f"bob {number}"), anns, dialect, route)
        # Not for each route alone: those after one that changed something would be asked for what is not there.
        assert await standing(box, anns) == before, f"{name} changed something"


async def standing(box: Box, anns: Anns) -> Mapping[str, Any]:
    """All records that are Ann's, as they are."""
    store = box.services.runs.store
    named = [(name, kind) for name, kind in KINDS.items() if kind is not None]
    found = await asyncio.gather(*[store.get(kind, anns.ids[name]) for name, kind in named])
    assert None not in found
    below = [Query(kind=kind, where=(("owner", (anns.ids["user_id"],)),)) for kind in VAULT]
    below.append(Query(kind="message", where=(("conversation", (anns.ids["conversation_id"],)),)))
    below.append(Query(kind="chunk", where=(("document", (anns.ids["document_id"],)),)))
    kept = await asyncio.gather(*[store.find(query) for query in below])
    assert all(kept)
    return dict(zip([name for name, _ in named], found, strict=True)) | {
        f"all {query.kind}": list(some) for query, some in zip(below, kept, strict=True)
    }


async def stranger(box: Box, bob: Mapping[str, str], anns: Anns, dialect: Dialect, route: Route) -> None:
    """Bob, and somebody without a key, ask a route for what is Ann's."""
    for asked in anns.asks(route):

        async def ask(who: Mapping[str, str], asked: Ask = asked) -> tuple[int, bytes]:
            sent: dict[str, Any] = {} if asked.body is None else {"json": asked.body}
            if asked.body is not None and JSON not in route.accepts:
                sent = {"data": _form(asked.body)}
            path = dialect.mount + asked.path
            answer = await box.client.request(route.method, path, params=asked.query, headers=who, **sent)
            return answer.status, await answer.read()

        if not route.public:
            status, said = await ask({})
            assert status == 401, said
            status, said = await ask({"Authorization": "Bearer bsk_" + "0" * 12 + "_" + "0" * 43})
            assert status == 401, said
        status, said = await ask(bob)
        name = f"{route.method} {dialect.mount}{route.path}"
        shown = {MARKER, *(anns.ids[n] for n in GIVEN_AWAY[name])} if name in GIVEN_AWAY else set[str]()
        if name in GIVEN_AWAY or name in QUIET:
            assert status in (200, 201), said
        elif asked.aimed:
            tried = any(field in TRIED for field in asked.body or ())
            assert status in ((422,) if tried else (403, 404)), said
        elif route.public:
            assert name in KNOWING or (status, said) == await ask({})
        else:
            successes = [s for s in route.statuses if 200 <= s < 300]
            assert status in ([404] if asked.path.endswith("/nothing") else successes), said
        for secret in {MARKER, *[id for name, id in anns.ids.items() if name not in COUNTED]} - shown:
            assert secret.encode() not in said


def _fitting(field: fields.Field[Any], value: Any) -> Any:
    """The same name may be that of a text in one dialect and of a list in another one."""
    return [] if isinstance(field, fields.List) and not isinstance(value, list) else value


def _form(body: Mapping[str, Any]) -> FormData:
    data = FormData()
    for name, value in body.items():
        data.add_field(name, value, filename="hello.json" if isinstance(value, bytes) else None)
    return data
