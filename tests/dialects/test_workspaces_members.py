"""Workspaces and their members."""

from __future__ import annotations

import re

import pytest

from backchat.testing.plugin import Serve
from workspaces_box import FREE, MISSING, Person, ids, person, team

STAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


@pytest.fixture
async def ann(serve: Serve) -> Person:
    return await person(await serve(FREE))


async def test_everybody_has_a_personal_workspace(ann: Person) -> None:
    found = await ann.ok("GET", "/api/workspaces/")
    (own,) = found["results"]
    assert found == {"count": 1, "next": None, "previous": None, "results": [own]}
    assert set(own) == {"id", "name", "owner", "role", "is_personal", "created_at", "updated_at"}
    assert (own["id"], own["owner"], own["role"], own["is_personal"]) == (ann.home, ann.id, "owner", True)
    assert STAMP.fullmatch(own["created_at"])
    assert await ann.ok("GET", "/api/workspaces/") == found, "it is made once"
    assert await ann.ask("DELETE", f"/api/workspaces/{ann.home}/") == (
        400,
        {"non_field_errors": ["A personal workspace cannot be deleted."]},
    )
    assert await ann.page("chats/") == []


async def test_a_workspace_from_its_beginning_to_its_end(ann: Person) -> None:
    status, made = await ann.ask("POST", "/api/workspaces/", json={"name": "  Lab ", "id": "mine", "owner": "me"})
    assert status == 201
    assert (made["name"], made["owner"], made["role"], made["is_personal"]) == ("Lab", ann.id, "owner", False)
    path = f"/api/workspaces/{made['id']}/"
    assert await ann.ok("GET", path) == made
    assert ids(await ann.page("/api/workspaces/")) == [ann.home, made["id"]]
    renamed = await ann.ok("PUT", path, json={"name": "Office"})
    assert renamed == {**made, "name": "Office", "updated_at": renamed["updated_at"]}
    assert await ann.ok("PATCH", path, json={}) == renamed
    assert await ann.ask("DELETE", path) == (204, None)
    assert (await ann.ask("GET", path))[0] == 404
    assert ids(await ann.page("/api/workspaces/")) == [ann.home]


async def test_names_that_are_refused(ann: Person) -> None:
    for name in ("", "  ", "x" * 256, 7, None, True, ["x"], "a\0b"):
        for method, path in (("POST", "/api/workspaces/"), ("PUT", f"/api/workspaces/{ann.home}/")):
            status, told = await ann.ask(method, path, json={"name": name})
            assert (status, list(told)) == (400, ["name"]), name
    status, told = await ann.ask("POST", "/api/workspaces/", json={})
    assert (status, told) == (400, {"name": ["This field is required."]})
    assert len(await ann.page("/api/workspaces/")) == 1


async def test_members_come_and_go(ann: Person) -> None:
    box = ann.box
    bob, cem = await person(box, "bob"), await person(box, "cem")
    ws = await team(ann)
    bob.ws = cem.ws = ws
    assert (await bob.ask("GET", ""))[0] == 404
    status, row = await ann.ask("POST", "members/", json={"email": "BOB@example.org"})
    assert status == 201
    assert row == {
        "user": {"id": bob.id, "email": "bob@example.org"},
        "role": "member",
        "created_at": row["created_at"],
    }
    assert (await bob.ok("GET", ""))["role"] == "member"
    assert await bob.ask("POST", "members/", json={"user_id": cem.id}) == (
        403,
        {"detail": "Your role in this workspace does not allow this.", "code": "permission_denied"},
    )
    status, row = await ann.ask("POST", "members/", json={"user_id": bob.id, "role": "admin"})
    assert (status, row["role"]) == (200, "admin")
    assert await ann.ask("POST", "members/", json={"user_id": bob.id}) == (200, row), "no role is no other role"
    await bob.ok("POST", "members/", json={"user_id": cem.id})
    assert [(m["user"]["id"], m["role"]) for m in await cem.page("members/")] == [
        (ann.id, "owner"),
        (bob.id, "admin"),
        (cem.id, "member"),
    ]
    assert (await cem.ask("DELETE", f"members/{bob.id}/"))[0] == 403
    assert (await bob.ask("DELETE", f"members/{ann.id}/"))[0] == 400, "the owner stays"
    assert (await ann.ask("DELETE", f"members/{ann.id}/"))[0] == 400
    assert (await bob.ask("DELETE", f"members/{cem.id}/")) == (204, None)
    assert (await cem.ask("GET", "members/"))[0] == 404, "at once"
    assert (await bob.ask("DELETE", f"members/{cem.id}/"))[0] == 404
    assert (await bob.ask("DELETE", f"members/{bob.id}/")) == (204, None), "whoever wants to may leave"
    assert (await bob.ask("GET", ""))[0] == 404


async def test_members_that_are_refused(ann: Person) -> None:
    await person(ann.box, "bob")
    await team(ann)
    refused: list[tuple[dict[str, object], str]] = [
        ({}, "non_field_errors"),
        ({"user_id": "x", "email": "y"}, "non_field_errors"),
        ({"user_id": MISSING}, "user_id"),
        ({"user_id": "a\0b"}, "user_id"),
        ({"email": "nobody@example.org"}, "email"),
        ({"email": 7}, "email"),
        ({"email": "bob@example.org", "role": "owner"}, "role"),
        ({"email": "bob@example.org", "role": None}, "role"),
        ({"email": "ann@example.org"}, "email"),
    ]
    for body, name in refused:
        status, told = await ann.ask("POST", "members/", json=body)
        assert (status, list(told)) == (400, [name]), (body, told)
    assert len(await ann.page("members/")) == 1


async def test_pages(ann: Person) -> None:
    others = [await person(ann.box, f"user{n}") for n in range(4)]
    await team(ann, *others)
    address = str(ann.box.client.make_url(f"/api/workspaces/{ann.ws}/members/"))
    found = await ann.ok("GET", "members/", params={"page_size": "2", "page": "2", "token": "secret"})
    assert found["count"] == 5
    assert found["next"] == f"{address}?page_size=2&page=3"
    assert found["previous"] == f"{address}?page_size=2&page=1"
    walked = [m["user"]["id"] for m in await ann.page("members/", page_size="2")]
    while found["next"] is not None:
        walked += [m["user"]["id"] for m in found["results"]]
        found = await ann.ok("GET", found["next"].removeprefix(str(ann.box.client.make_url("")).rstrip("/")))
    walked += [m["user"]["id"] for m in found["results"]]
    assert walked == [ann.id, *(one.id for one in others)]
    beyond = (404, {"detail": "Invalid page.", "code": "not_found"})
    for size, page in (("2", "4"), ("100", "9" * 19), ("100", "9" * 30), ("1", "9" * 5000)):
        assert await ann.ask("GET", "members/", params={"page_size": size, "page": page}) == beyond
    for name, bad in (("page", "0"), ("page", "-1"), ("page", "x"), ("page", "1.5"), ("page", "²")):
        assert list((await ann.ask("GET", "members/", params={name: bad}))[1]) == ["page"]
    for bad in ("0", "101", "", "x"):
        status, told = await ann.ask("GET", "members/", params={"page_size": bad})
        assert (status, list(told)) == (400, ["page_size"])
