"""Sessions that are shared with users, and links for everybody."""

from __future__ import annotations

import re
from collections.abc import Mapping

import pytest
from aiohttp import ClientResponse

from backchat.domain.message import Text, ToolCall, ToolResult
from backchat.services.trees import NewMessage
from backchat.testing.plugin import Serve
from workspaces_box import DIALECT, FREE, MISSING, Person, ids, person, team

NOTHING = b'{"detail":"Not found.","code":"not_found"}'
OURS = {"Server", "X-Request-ID", "Date", "Content-Type", "Content-Length"}
"""Headers that every answer has, or that say nothing about what is shown."""
HIDDEN = {"Cache-Control": "no-store", "X-Robots-Tag": "noindex", "Referrer-Policy": "no-referrer"}


@pytest.fixture
async def ann(serve: Serve) -> Person:
    """With Bob and Cem in a workspace."""
    box = await serve(FREE)
    people = [await person(box, name) for name in ("ann", "bob", "cem")]
    await team(*people)
    return people[0]


async def others(ann: Person) -> tuple[Person, Person]:
    bob, cem = await person(ann.box, "bob"), await person(ann.box, "cem")
    bob.ws = cem.ws = ann.ws
    return bob, cem


# ---- users ----------------------------------------------------------------------------------------------------------


async def test_sharing_and_taking_it_back(ann: Person) -> None:
    bob, cem = await others(ann)
    session = await ann.session(name="Plans")
    path = f"chats/{session}/"
    assert (await bob.ask("GET", path))[0] == 404
    status, share = await ann.ask("POST", f"{path}share/", json={"email": "Bob@example.org"})
    assert status == 201
    assert share == {
        "id": share["id"],
        "session": session,
        "user": {"id": bob.id, "email": "bob@example.org"},
        "shared_by": ann.id,
        "permission": "view",
        "created_at": share["created_at"],
    }
    shown = await bob.ok("GET", path)
    assert (shown["permission"], shown["is_shared"], shown["user"]) == ("view", True, ann.id)
    assert shown["shareable_link_id"] is None
    assert ids(await bob.page("chats/")) == [session]
    status, changed = await ann.ask("POST", f"{path}share/", json={"user_id": bob.id, "permission": "edit"})
    assert (status, changed) == (200, {**share, "permission": "edit"})
    assert await ann.ask("POST", f"{path}share/", json={"user_id": bob.id}) == (200, changed), "it stays as it is"
    assert (await bob.ok("GET", path))["permission"] == "edit"
    _, second = await ann.ask("POST", f"{path}share/", json={"user_id": cem.id})
    assert await ann.ok("GET", f"{path}shares/") == [changed, second]
    assert (await ann.ok("GET", path))["is_shared"] is True
    assert await ann.ask("POST", f"{path}revoke-share/", json={"share_id": share["id"]}) == (204, None)
    assert (await bob.ask("GET", path))[0] == 404
    assert await bob.page("chats/") == []
    assert (await ann.ask("POST", f"{path}revoke-share/", json={"share_id": share["id"]}))[0] == 404
    assert (await ann.ask("POST", f"{path}revoke-share/", json={"user_id": bob.id}))[0] == 404
    assert await ann.ask("POST", f"{path}revoke-share/", json={"email": "cem@example.org"}) == (204, None)
    assert (await ann.ok("GET", path))["is_shared"] is False


async def test_recipients_may_leave_and_nothing_else(ann: Person) -> None:
    bob, cem = await others(ann)
    session = await ann.session()
    for one in (bob, cem):
        await ann.ok("POST", f"chats/{session}/share/", json={"user_id": one.id, "permission": "edit"})
    revoke = f"chats/{session}/revoke-share/"
    assert (await bob.ask("POST", revoke, json={"user_id": cem.id}))[0] == 403
    assert (await bob.ask("POST", revoke, json={"user_id": MISSING}))[0] == 403, "who has a share is not told"
    assert await bob.ask("POST", revoke, json={"user_id": bob.id}) == (204, None)
    assert (await bob.ask("GET", f"chats/{session}/"))[0] == 404
    assert [s["user"]["id"] for s in await ann.ok("GET", f"chats/{session}/shares/")] == [cem.id]


async def test_shares_that_are_refused(ann: Person) -> None:
    await person(ann.box, "stranger")
    session = await ann.session()
    unknown = "There is no such user in this workspace."
    for body, told in (
        ({}, {"non_field_errors": ["Exactly one of user_id, email is required."]}),
        ({"user_id": "x", "email": "y"}, {"non_field_errors": ["Exactly one of user_id, email is required."]}),
        ({"email": "stranger@example.org"}, {"email": [unknown]}),
        ({"email": "nobody@example.org"}, {"email": [unknown]}),
        ({"user_id": MISSING}, {"user_id": [unknown]}),
        ({"user_id": "%\0"}, {"user_id": ["Null characters are not allowed."]}),
        ({"email": "bob@example.org", "permission": "own"}, {"permission": ["Must be one of: view, edit."]}),
        ({"user_id": ann.id}, {"user_id": ["A conversation is not shared with its owner."]}),
    ):
        assert await ann.ask("POST", f"chats/{session}/share/", json=body) == (400, told)
    for refused in ({}, {"share_id": "a", "user_id": "b"}, {"share_id": 7}):
        assert (await ann.ask("POST", f"chats/{session}/revoke-share/", json=refused))[0] == 400
    assert await ann.ok("GET", f"chats/{session}/shares/") == []


async def test_leaving_the_workspace_ends_every_access(ann: Person) -> None:
    bob, _ = await others(ann)
    session = await ann.session()
    await ann.ok("POST", f"chats/{session}/share/", json={"user_id": bob.id, "permission": "edit"})
    own = await bob.session(name="Bob's own")
    await bob.send(own, "hello")
    assert ids((await bob.ok("GET", "/api/chat/conversations"))["conversations"]) == [own]
    await bob.ok("DELETE", f"members/{bob.id}/")
    for id in (session, own):
        assert (await bob.ask("GET", f"chats/{id}/"))[0] == 404
        assert (await bob.ask("POST", f"chats/{id}/messages/", json={"content": "hi"}))[0] == 404
        bob.ws, there = bob.home, bob.ws
        assert (await bob.ask("GET", f"chats/{id}/"))[0] == 404, "nor by way of another workspace"
        bob.ws = there
    assert (await bob.ok("GET", "/api/chat/conversations"))["conversations"] == []
    assert (await bob.ask("POST", "/api/chat", json={"text": "hi", "conversation_id": own}))[0] == 403
    shares = await ann.ok("GET", f"chats/{session}/shares/")
    assert [s["user"]["id"] for s in shares] == [bob.id], "for the time when he comes back"
    assert (await ann.ok("GET", f"chats/{session}/"))["is_shared"] is True
    await ann.ok("POST", "members/", json={"user_id": bob.id})
    assert {s["id"] for s in await bob.page("chats/")} == {session, own}, "back again"
    await bob.ok("DELETE", f"members/{bob.id}/")
    await ann.ok("POST", f"chats/{session}/revoke-share/", json={"share_id": shares[0]["id"]})
    assert await ann.ok("GET", f"chats/{session}/shares/") == []
    await ann.ok("POST", "members/", json={"user_id": bob.id})
    assert ids(await bob.page("chats/")) == [own], "it was taken back meanwhile"


# ---- everybody ------------------------------------------------------------------------------------------------------


async def public(ann: Person, session: str) -> str:
    """Publish a session; the path of its link."""
    path: str = (await ann.ok("POST", f"chats/{session}/toggle-public/"))["public_path"]
    return path


async def look(ann: Person, path: str, headers: Mapping[str, str] | None = None) -> ClientResponse:
    """Without an account."""
    return await ann.box.client.get(path, headers=headers)


async def test_publishing_and_taking_it_back(ann: Person) -> None:
    made = await ann.ok("POST", "chats/", json={})
    session, link = made["id"], made["shareable_link_id"]
    path = f"/api/chats/shared/{link}/"
    told = {"id": session, "is_public": True, "shareable_link_id": link, "public_path": path}
    assert (await look(ann, path)).status == 404
    assert await ann.ask("POST", f"chats/{session}/toggle-public/") == (200, told)
    assert (await look(ann, path)).status == 200
    assert (await look(ann, path.rstrip("/"))).status == 200
    assert (await ann.ok("GET", f"chats/{session}/"))["is_public"] is True
    off = {**told, "is_public": False, "public_path": None}
    assert await ann.ask("POST", f"chats/{session}/toggle-public/") == (200, off)
    answer = await look(ann, path)
    assert (answer.status, await answer.read()) == (404, NOTHING)
    assert await ann.ask("POST", f"chats/{session}/toggle-public/") == (200, told), "the same link again"
    bob, _ = await others(ann)
    await ann.ok("POST", f"chats/{session}/share/", json={"user_id": bob.id, "permission": "edit"})
    assert (await bob.ask("POST", f"chats/{session}/toggle-public/"))[0] == 403


async def test_what_a_link_shows(ann: Person) -> None:
    chosen = {"system_prompt": "PROMPT", "model_parameters": {"secret": "PARAMETER"}, "temperature": 1.25}
    session = await ann.session(name="For all", **chosen)
    trees, who = ann.box.services.trees, ann.identity
    asked = await trees.put(who, session, NewMessage(parts=(Text("question"),)))
    calls = (Text("let me see"), ToolCall("CALL", "TOOL", '{"city": "ARGUMENT"}'))
    working = await trees.put(who, session, NewMessage(parent=asked.id, role="assistant", parts=calls))
    result = NewMessage(parent=working.id, role="tool", parts=(ToolResult("CALL", "RESULT"),))
    looked = await trees.put(who, session, result)
    answer = NewMessage(parent=looked.id, role="assistant", parts=(Text("answer"),), model="m")
    said = await trees.put(who, session, answer)
    note = await trees.put(who, session, NewMessage(parent=said.id, role="system", parts=(Text("SYSTEM"),)))
    last = await trees.put(who, session, NewMessage(parent=note.id, parts=(Text("thanks"),)))
    shown = await look(ann, await public(ann, session))
    body = await shown.json()
    row = await ann.ok("GET", f"chats/{session}/")
    assert body == {
        "name": "For all",
        "ai_provider": row["ai_provider"],
        "ai_model": row["ai_model"],
        "created_at": row["created_at"],
        "updated_at": row["updated_at"],
        "messages": [
            {
                "id": m.id,
                "role": m.role,
                "content": m.text,
                "sequence_number": m.seq,
                "created_at": body["messages"][n]["created_at"],
            }
            for n, m in enumerate((asked, working, said, last))
        ],
    }
    raw = await shown.text()
    for secret in (
        *("PROMPT", "PARAMETER", "CALL", "TOOL", "ARGUMENT", "RESULT", "SYSTEM", "1.25"),
        *(session, ann.id, ann.ws, "example.org", row["shareable_link_id"]),
    ):
        assert secret not in raw + str(shown.headers), secret
    assert {n: v for n, v in shown.headers.items() if n not in OURS} == HIDDEN
    assert shown.headers["Content-Type"] == "application/json"


async def test_a_link_is_live(ann: Person) -> None:
    session = await ann.session()
    path = await public(ann, session)
    assert (await (await look(ann, path)).json())["messages"] == []
    await ann.send(session, "one")
    first, _ = (await (await look(ann, path)).json())["messages"]
    assert first["content"] == "one"
    await ann.ok("DELETE", f"chats/{session}/")
    assert (await look(ann, path)).status == 404


async def test_whatever_the_reason_nothing_is_shown_in_the_same_way(ann: Person) -> None:
    bob, _ = await others(ann)
    switched = await ann.session()
    gone, left = await bob.session(), await bob.session()
    off = await public(ann, switched)
    await ann.ok("POST", f"chats/{switched}/toggle-public/")
    deleted, abandoned = await public(bob, gone), await public(bob, left)
    await bob.ok("DELETE", f"chats/{gone}/")
    assert (await look(ann, abandoned)).status == 200
    await bob.ok("DELETE", f"members/{bob.id}/")
    seen = set()
    for path in (
        *(off, deleted, abandoned, f"/api/chats/shared/{MISSING}/", f"/api/chats/shared/{switched}/"),
        *("/api/chats/shared/x/", "/api/chats/shared/%00/", "/api/chats/shared/%ff", "/api/chats/shared/" + "x" * 3000),
    ):
        answer = await look(ann, path)
        headers = {n: v for n, v in answer.headers.items() if n not in OURS - {"Content-Length", "Content-Type"}}
        seen.add((answer.status, await answer.read(), str(sorted(headers.items()))))
    assert len(seen) == 1, seen
    ((status, body, headers_seen),) = seen
    assert (status, body) == (404, NOTHING)
    assert all(value in headers_seen for value in HIDDEN.values())


async def test_a_link_takes_no_notice_of_who_looks(ann: Person) -> None:
    bob, _ = await others(ann)
    path = await public(ann, await ann.session(name="x"))
    bad = {"Authorization": "JWT not-a-token"}
    seen = [await (await look(ann, path, headers)).read() for headers in ({}, bad, ann.headers, bob.headers)]
    assert len(set(seen)) == 1
    assert b'"name":"x"' in seen[0]
    for method in ("POST", "PUT", "PATCH", "DELETE", "HEAD"):
        for headers in ({}, bad):
            answer = await ann.box.client.request(method, path, headers=headers)
            assert (answer.status, answer.headers["Allow"]) == (405, "GET")
            assert HIDDEN.items() <= answer.headers.items()


async def test_links_are_limited_by_address(serve: Serve) -> None:
    limited = {**DIALECT, "share_per_address": "2/minute"}
    ann = await person(await serve({"dialects": [limited], "server": {"proxies": 1}}))
    path = await public(ann, await ann.session())
    here, there = {"X-Forwarded-For": "192.0.2.1"}, {"X-Forwarded-For": "192.0.2.2"}
    assert [(await look(ann, path, here)).status for _ in range(3)] == [200, 200, 429]
    answer = await look(ann, f"/api/chats/shared/{MISSING}/", here)
    assert re.fullmatch(r"[1-9]\d?", answer.headers["Retry-After"])
    assert HIDDEN.items() <= answer.headers.items()
    assert await answer.json() == {"detail": "Too many requests. Try again later.", "code": "throttled"}
    assert (await look(ann, path, there)).status == 200
    assert await ann.page("chats/") != []
