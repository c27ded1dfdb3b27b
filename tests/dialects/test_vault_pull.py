"""Pulling: filters, order, pages, and what is never found."""

from __future__ import annotations

from typing import Any

import pytest

from backchat.services import vault_reading
from backchat.testing.server import Box
from vault_http import HI, Caller, caller, noise, said

PLAIN = ("id", "chatId", "title", "platform", "category", "topic", "tags", "model", "messageCount")
MORE = ("createdAt", "updatedAt", "version", "contentHash", "keyId", "encryptedContent", "iv")


@pytest.fixture
async def ann(box: Box) -> Caller:
    return await caller(box)


async def test_what_an_entry_looks_like(ann: Caller) -> None:
    empty = {"entries": [], "total": 0, "platform": "all"}
    assert await ann.pull() == empty
    pushed = await ann.push("c1", said("q", "a"))
    pulled = await ann.pull()
    assert set(pulled) == set(empty)
    (entry,) = pulled["entries"]
    assert set(entry) == {*PLAIN, *MORE}
    told = {name: entry[name] for name in PLAIN}
    assert told == {
        "id": pushed["entryId"],
        "chatId": "c1",
        "title": "Untitled",
        "platform": "ollama",
        "category": None,
        "topic": None,
        "tags": [],
        "model": None,
        "messageCount": 2,
    }
    assert entry["version"] == 1
    assert entry["createdAt"] == entry["updatedAt"]
    assert entry["createdAt"].endswith("Z")
    await ann.push("c1", said("q"))
    (later,) = (await ann.pull())["entries"]
    assert (later["version"], later["messageCount"], later["createdAt"]) == (2, 1, entry["createdAt"])
    assert later["updatedAt"] > entry["updatedAt"]
    await ann.push("c1", said("q"))
    assert (await ann.pull())["entries"] == [later]


async def test_filters_combine(ann: Caller) -> None:
    await ann.push("c1", title="Tides at the harbour", category="sea", tags=["a", "b"], topic="Water")
    await ann.push("c2", title="Tide tables", category="sea", tags=["b"])
    await ann.push("c2", platform="ChatGPT", title="Sewing", category="Sea", tags=["a", "b,c"])
    every = ["c2", "c2", "c1"]
    for query, found in {
        "": every,
        "platform=OLLAMA": ["c2", "c1"],
        "platform=chatgpt": ["c2"],
        "platform=chat": [],
        "platform=%20ollama": [],
        "category=sea": ["c2", "c1"],
        "category=": [],
        "chatId=c2": ["c2", "c2"],
        "chatId=C2": [],
        "tag=b": ["c2", "c1"],
        "tag=b&tag=a": ["c1"],
        "tag=b&tag=b&tag=%20b%20": ["c2", "c1"],
        "tag=a,b": [],
        "tag=b,c": ["c2"],
        "tag=A": [],
        "search=tide": ["c2", "c1"],
        "search=TIDE%20har": ["c1"],
        "search=wat+tides": ["c1"],
        "search=ide": [],
        "search=%20%20": every,
        "search=" + "%20" * 300: every,
        "search=": every,
        "search=tide&platform=ollama&category=sea&tag=b&chatId=c2": ["c2"],
        "search=tide&platform=ollama&category=sea&tag=a&chatId=c2": [],
        "unknown=1&search=tide&token=2": ["c2", "c1"],
        "platform=chatgpt&platform=ollama": ["c2", "c1"],
    }.items():
        pulled = await ann.pull(query)
        assert [e["chatId"] for e in pulled["entries"]] == found, query
        assert pulled["total"] == len(found), query
    assert [(await ann.pull(q))["platform"] for q in ("", "platform=OLLAMA", "platform=X")] == ["all", "ollama", "x"]


async def test_no_character_of_a_search_means_anything(ann: Caller) -> None:
    titles = ('say "hi" 100%', "snake_case AND more", "star* c++", "near OR far", "wörter ĳs")
    for n, title in enumerate(titles):
        await ann.push(f"c{n}", title=title)
    for words, found in {
        '"hi': ["c0"],
        '"': [],
        "100%": ["c0"],
        "10_": ["c0"],
        "%": [],
        "case": ["c1"],
        "and": ["c1"],
        "s*": ["c2", "c1", "c0"],
        "AND OR": [],
        "far OR": ["c3"],
        "-far": ["c3"],
        "NOT far": [],
        "WÖRT": ["c4"],
        "title:near": [],
    }.items():
        status, told = await ann.ask("GET", "/pull", params={"search": words})
        assert status == 200
        assert [e["chatId"] for e in told["entries"]] == found, words


async def test_what_is_said_is_never_found(ann: Caller) -> None:
    await ann.push("c1", said("xylophone"), title="Music")
    assert await ann.chats("search=xylophone") == []
    assert await ann.chats("search=music") == ["c1"]


async def test_pages(ann: Caller) -> None:
    for n in range(25):
        await ann.push(f"c{n}")
    await ann.push("c3", said("more"))
    order = ["c3", *[f"c{n}" for n in reversed(range(25)) if n != 3]]
    assert await ann.chats("limit=100") == order
    assert await ann.chats() == order[:20]
    assert await ann.chats("limit=1") == order[:1]
    assert await ann.chats("limit=10&offset=20") == order[20:]
    for offset in (25, 10**15, 10**40):
        assert await ann.pull(f"offset={offset}") == {"total": 25, "platform": "all", "entries": []}
    assert (await ann.pull("limit=3&offset=5"))["total"] == 25


async def test_queries_that_do_not_fit(ann: Caller) -> None:
    numbers = ("", "x", "1.0", "-1", "+1", "%201", "1e1", "٣", "0x1", "1_0")
    for query, field in {
        **{f"limit={n}": "limit" for n in (*numbers, 0, 101, 10**40)},
        **{f"offset={n}": "offset" for n in numbers},
        f"search={'x' * 201}": "search",
        "search=%00": "search",
        "platform=": "platform",
        "platform=%00": "platform",
        "chatId=": "chatId",
        "category=a%00": "category",
        "tag=": "tag.0",
        "tag=a&tag=%20": "tag.1",
        f"tag={'x' * 65}": "tag.0",
        "&".join(f"tag={n}" for n in range(33)): "tag",
    }.items():
        status, told = await ann.ask("GET", f"/pull?{query}")
        assert (status, told["error"], list(told["details"])) == (422, "validation_error", [field]), query
    status, told = await ann.ask("GET", "/pull?limit=0&offset=x&search=%00")
    assert set(told["details"]) == {"limit", "offset", "search"}
    await ann.pull(f"search={'x' * 200}")


async def test_what_is_large_comes_in_parts(ann: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which are one JSON text, whatever their number and sizes."""
    pushed = [noise(size, f"c{n}") for n, size in enumerate((200_000, 10, 10, 300_000, 70_000, 10))]
    for body in pushed:
        await ann.ok("POST", "/push", json=body | {"encryptedContent": body["encryptedContent"]} | _least(body))
    for size in (1, 100_000, 10**9):
        monkeypatch.setattr(vault_reading, "GROUP", size)
        entries = (await ann.pull())["entries"]
        assert [e["chatId"] for e in entries] == [f"c{n}" for n in reversed(range(len(pushed)))]
        for entry, body in zip(entries, reversed(pushed), strict=True):
            assert entry["encryptedContent"] == (body | _least(body))["encryptedContent"]


def _least(body: dict[str, Any]) -> dict[str, Any]:
    """No content is shorter than its tag."""
    return {} if len(body["encryptedContent"]) >= 24 else {"encryptedContent": "A" * 22 + "=="}


async def test_a_pull_that_breaks_off_is_no_answer(ann: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before its first part it has a status; after that it does not end as if it were whole."""
    for n in range(3):
        await ann.push(f"c{n}", [{**HI, "content": "x" * 50_000}])
    vault = ann.box.services.vault
    whole = type(vault).pull

    async def broken(self: Any, *args: Any, **more: Any) -> Any:
        given = 0
        async for group in whole(self, *args, **more):
            if given == after:
                raise RuntimeError("the disk is gone")
            yield group
            given += 1

    monkeypatch.setattr(vault_reading, "GROUP", 1)
    monkeypatch.setattr(type(vault), "pull", broken)
    after = 0
    status, told = await ann.ask("GET", "/pull")
    assert (status, told["error"]) == (500, "internal_error")
    after = 2
    with pytest.raises(Exception, match=r"payload|disconnected|closed|reset"):
        await ann.pull()


async def test_everybody_has_a_vault_of_their_own(ann: Caller, box: Box) -> None:
    bob = await caller(box, "bob")
    mine = await ann.push("c1", title="Mine", tags=["t"])
    assert await bob.pull("chatId=c1&platform=ollama&tag=t&search=mine") == {
        "total": 0,
        "platform": "ollama",
        "entries": [],
    }
    theirs = await bob.push("c1", title="Theirs")
    assert theirs["version"] == 1
    (entry,) = (await ann.pull())["entries"]
    assert (entry["id"], entry["title"]) == (mine["entryId"], "Mine")
    assert (await bob.pull())["total"] == 1
