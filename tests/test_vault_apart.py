"""What is in the vault is nowhere else: in no hook, prompt, memory, search and export, until it is adopted."""

from __future__ import annotations

import inspect
import io
import zipfile
from collections.abc import Awaitable, Callable, Mapping

import pytest

from backchat import hookspecs
from backchat.services.bundles import ExportFormat
from backchat.testing.plugin import Serve
from backchat.testing.provider import ScriptedProvider
from backchat.testing.server import Box
from threads_box import ask
from vault_http import Caller, caller, said
from vault_spy import ALL_DIALECTS, CONFIG, Spy

MARKS = ("quuxbarian", "zanzibarese")
"""Words that are in a message only."""
TALK = said(f"My cat is called {MARKS[0]}.", f"A {MARKS[1]} name.")
OPEN = {"providers": {"scripted": {"use": "scripted"}}, "dialects": list(ALL_DIALECTS)}


async def pushed(ann: Caller) -> int:
    """Two versions of a conversation with details, pulled and read as clients do; the entry's number."""
    details = {"title": "A pet", "category": "zoology", "topic": "names", "model": "qwen-3", "tags": ["cat"]}
    await ann.push("c1", TALK[:1], **details)
    entry: int = (await ann.push("c1", TALK))["entryId"]
    (found,) = (await ann.pull("search=pet"))["entries"]
    assert [m.content for m in await ann.opened(found)] == [m["content"] for m in TALK]
    assert (await ann.ok("GET", f"/entries/{entry}/versions"))["total"] == 2
    return entry


async def adopted(ann: Caller, entry: int) -> str:
    made: str = (await ann.ok("POST", f"/entries/{entry}/adopt", json={"messages": TALK}))["conversationId"]
    return made


# ---- hooks ----------------------------------------------------------------------------------------------------------


@pytest.mark.own_storage
async def test_no_hook_is_given_anything_until_it_is_adopted(serve: Serve) -> None:
    """Not even the storage. What adopting shows is a conversation like every other, to those that see such."""
    spy = Spy()
    box = await serve(CONFIG, [spy])
    ann = await caller(box)
    entry = await pushed(ann)
    refused = {"chatId": "c1", "platform": "ollama", "messages": TALK, "baseVersion": 7}
    assert (await ann.ask("POST", "/push", json=refused))[0] == 409
    assert (await ann.ask("POST", "/push", json={**refused, "title": 1}))[0] == 422
    said_elsewhere = {"content": "What is my cat called?", "memory": "Auto", "stream": False}
    assert (await ask(box, "POST", "/threads/messages", ann.headers, json=said_elsewhere))[0] == 200
    assert len(spy.provider.requests) >= 1
    assert spy.holding(*MARKS) == set()
    assert spy.holding("What is my cat called?") >= {"backchat_storages", "backchat_memories", "backchat_providers"}

    conversation = await adopted(ann, entry)
    assert spy.holding(*MARKS) == {"backchat_storages"}
    more = {"content": "And now?"}
    assert (await ask(box, "POST", f"/threads/{conversation}/messages", ann.headers, json=more))[0] == 200
    assert spy.holding(*MARKS) == {"backchat_storages", "backchat_memories", "backchat_providers"}


def test_the_spy_is_everywhere() -> None:
    """Dialects are what requests come in through; everything else that a plugin can be, it is."""
    hooks = {name for name, _ in inspect.getmembers(hookspecs, inspect.isfunction) if name.startswith("backchat_")}
    assert hooks - {"backchat_dialects"} == {name for name in dir(Spy) if name.startswith("backchat_")}


# ---- prompts and memories -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["Auto", "Readonly", "off"])
async def test_nothing_of_it_reaches_a_prompt_or_a_memory(serve: Serve, mode: str) -> None:
    provider = ScriptedProvider(["ok"])
    box = await serve(OPEN, [provider])
    ann = await caller(box)
    await pushed(ann)
    body = {"content": "I live in Oslo. What is my pet called?", "memory": mode}
    status, answer = await ask(box, "POST", "/threads/messages", ann.headers, json=body)
    assert status == 200, answer
    await box.client.post("/api/chat", json={"text": "What is my pet called?"}, headers=ann.headers)
    assert len(provider.requests) >= 2
    shown = repr(provider.requests)
    assert "Oslo" in shown
    assert not [word for word in (*MARKS, "A pet", "zoology") if word in shown]
    _, memories = await ask(box, "GET", f"/assistants/{answer['assistant_id']}/memories", ann.headers)
    assert not [word for word in MARKS if word in repr(memories)]


# ---- searches -------------------------------------------------------------------------------------------------------


async def _counted(box: Box, ann: Caller, path: str, list_of: str, **query: str) -> int:
    answer = await box.client.get(path, params=query, headers=ann.headers)
    assert answer.status == 200, await answer.text()
    return len((await answer.json())[list_of])


async def _memories(box: Box, ann: Caller, word: str) -> int:
    assistant = (await ask(box, "POST", "/assistants", ann.headers, json={"name": "a"}))[1]["assistant_id"]
    body = {"query": word, "limit": 9}
    status, found = await ask(box, "POST", f"/assistants/{assistant}/memories/search", ann.headers, json=body)
    assert status == 200, found
    return len(found["memories"])


async def _documents(box: Box, ann: Caller, word: str) -> int:
    """What grounds an answer in threads and in chats: passages of documents, and memories."""
    body = {"content": f"What about {word}?", "memory": "Readonly"}
    status, answer = await ask(box, "POST", "/threads/messages", ann.headers, json=body)
    assert status == 200, answer
    return len(answer.get("retrieved_files") or []) + len(answer.get("retrieved_memories") or [])


async def _sessions(box: Box, ann: Caller, word: str) -> int:
    workspaces = await box.client.get("/api/workspaces/", headers=ann.headers)
    ws = (await workspaces.json())["results"][0]["id"]
    return await _counted(box, ann, f"/api/workspaces/{ws}/chats/", "results", search=word)


Search = Callable[[Box, Caller, str], Awaitable[int]]
SEARCHES: Mapping[str, Search] = {
    "vault": lambda box, ann, word: _counted(box, ann, "/api/v1/pull", "entries", search=word),
    "conversations": lambda box, ann, word: _counted(box, ann, "/api/convos", "conversations", search=word),
    "messages": lambda box, ann, word: _counted(box, ann, "/api/messages", "messages", search=word),
    "links": lambda box, ann, word: _counted(box, ann, "/api/share", "links", search=word),
    "sessions": _sessions,
    "memories": _memories,
    "grounds": _documents,
}
OF_MESSAGES = {"conversations", "messages"}


@pytest.mark.parametrize("name", SEARCHES)
async def test_a_word_of_a_message_is_found_when_it_is_adopted(serve: Serve, name: str) -> None:
    box = await serve({"dialects": list(ALL_DIALECTS)})
    ann, bob = await caller(box), await caller(box, "bob")
    entry = await pushed(ann)
    search = SEARCHES[name]
    for word in (*MARKS, MARKS[0][:5], MARKS[0].upper()):
        assert await search(box, ann, word) == 0, word
    assert await _counted(box, ann, "/api/v1/pull", "entries", search="pet names") == 1
    await adopted(ann, entry)
    assert await search(box, ann, MARKS[1]) == (name in OF_MESSAGES)
    assert await search(box, bob, MARKS[1]) == 0


# ---- exports --------------------------------------------------------------------------------------------------------


def unpacked(file: bytes) -> str:
    """The text of an export, of all files of a zip."""
    if not zipfile.is_zipfile(io.BytesIO(file)):
        return file.decode()
    with zipfile.ZipFile(io.BytesIO(file)) as archive:
        return "".join([archive.read(name).decode() for name in archive.namelist()])


@pytest.mark.parametrize("format", ["jsonl", "zip"])
async def test_no_export_has_the_vault_in_it(serve: Serve, format: ExportFormat) -> None:
    """It has its own pull."""
    box = await serve({"dialects": list(ALL_DIALECTS)})
    ann = await caller(box)
    entry = await pushed(ann)
    (found,) = (await ann.pull())["entries"]
    told = ["A pet", "zoology", found["encryptedContent"][:24], found["iv"], *MARKS]

    async def exported() -> list[str]:
        answer = await box.client.get("/api/convos/export", params={"format": format}, headers=ann.headers)
        assert answer.status == 200
        whole = unpacked(await answer.read())
        return [word for word in told if word in whole]

    assert await exported() == []
    await adopted(ann, entry)
    assert await exported() == ["A pet", "zoology", *MARKS]
