"""How errors look, in which order they come, and both spellings of every path."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import pytest

from backchat.errors import ConfigError
from backchat.hookspecs import hookimpl
from backchat.plugins import Plugins
from backchat.testing.plugin import Serve
from backchat.web.body import MULTIPART
from backchat.web.dialect import Call, Dialect, Route
from workspaces_box import FREE, MISSING, Person, person, team

LARGE = b" " * 100_000
"""More than a body may have here."""
DIALECT = Plugins(from_entry_points=True).dialects["workspaces"]


@pytest.fixture
async def ann(serve: Serve) -> Person:
    return await person(await serve({**FREE, "server": {"body_limit": len(LARGE) - 1}}))


# ---- spellings ------------------------------------------------------------------------------------------------------


def test_every_path_ends_with_a_slash() -> None:
    assert [r.path for r in DIALECT.routes if not r.path.endswith("/")] == []


def test_put_and_patch_are_the_same() -> None:
    for route in DIALECT.routes:
        if route.method == "PUT":
            (twin,) = [r for r in DIALECT.routes if (r.method, r.path) == ("PATCH", route.path)]
            assert (twin.handler, type(twin.body)) == (route.handler, type(route.body))


@pytest.mark.any_storage
async def test_every_route_is_served_with_and_without_its_slash(ann: Person) -> None:
    """By the route itself: the answer is the same, is no redirect, and none that says that there is no such path."""
    compared = 0
    for route in DIALECT.routes:
        path = re.sub(r"{(\w+)[^}]*}", MISSING, route.path)
        accepted = {"headers": {"Content-Type": route.accepts[0]}} if route.body is not None else {}
        told = []
        for spelling in (path, path.rstrip("/")):
            answer = await ann.raw(route.method, spelling, allow_redirects=False, **accepted)
            told.append((answer.status, re.sub(rb"\?page|chats/?", b"", await answer.read())))
        assert told[0] == told[1], path
        assert told[0][0] not in (301, 302, 307, 308, 405), (path, told)
        assert MULTIPART in route.accepts or b'"Not found."' not in told[0][1] or route.public, (path, told)
        compared += 1
    assert compared == len(DIALECT.routes)


@pytest.mark.any_storage
async def test_a_post_without_the_slash_keeps_its_body(ann: Person) -> None:
    status, made = await ann.ask("POST", "/api/workspaces", json={"name": "Lab"}, allow_redirects=False)
    assert (status, made["name"]) == (201, "Lab")
    status, changed = await ann.ask("PATCH", f"/api/workspaces/{made['id']}", json={"name": "Office"})
    assert (status, changed["name"]) == (200, "Office")


@pytest.mark.any_storage
async def test_both_spellings_are_one_path_in_the_documentation(ann: Person) -> None:
    paths = (await ann.ok("GET", "/openapi.json"))["paths"]
    mine = [p for p in paths if p.startswith(("/api/workspaces", "/api/chats", "/auth/jwt"))]
    assert set(mine) == {re.sub(r":[^{}]+}", "}", r.path) for r in DIALECT.routes} & set(mine)
    assert len(mine) > 10
    assert set(paths["/api/workspaces/{workspace_id}/"]) == {"get", "put", "patch", "delete"}
    counted = await (await ann.box.client.get("/metrics")).text()
    await ann.raw("GET", "/api/workspaces")
    counted = await (await ann.box.client.get("/metrics")).text()
    assert 'route="/api/workspaces/"' in counted
    assert 'route="/api/workspaces"' not in counted


async def _hello(call: Call) -> Any:
    raise AssertionError


@pytest.mark.any_storage
@pytest.mark.parametrize(
    ("path", "slashes"), [("/api/workspaces", False), ("/api/workspaces/", False), ("/api/workspaces/", True)]
)
async def test_what_either_spelling_takes_is_taken(serve: Serve, path: str, slashes: bool) -> None:
    class Other:
        @hookimpl
        def backchat_dialects(self) -> Sequence[Dialect]:
            routes = [Route(method="GET", path=path, handler=_hello, summary="")]
            return [Dialect(name="other", mount="", routes=routes, render_error=DIALECT.render_error, slashes=slashes)]

    for order in (["workspaces", "other"], ["other", "workspaces"]):
        with pytest.raises(ConfigError, match="both serve GET /api/workspaces"):
            await serve({"dialects": order}, [Other()])


@pytest.mark.any_storage
async def test_other_dialects_keep_their_one_spelling(ann: Person) -> None:
    assert (await ann.raw("GET", "/api/convos")).status == 200
    assert (await ann.raw("GET", "/api/convos/")).status == 404


# ---- shapes ---------------------------------------------------------------------------------------------------------


async def test_who_is_not_known(ann: Person) -> None:
    for headers in ({}, {"Authorization": "Bearer bsk_x"}, {"Authorization": "Basic eA=="}):
        answer = await ann.box.client.get(f"/api/workspaces/{MISSING}/chats/?page=x", headers=headers)
        assert answer.status == 401
        assert answer.headers["WWW-Authenticate"] == 'JWT realm="api"'
        told = await answer.json()
        assert set(told) == {"detail", "code"}
        assert told["code"] == ("token_not_valid" if headers else "not_authenticated")


@pytest.mark.any_storage
async def test_both_words_before_a_token(ann: Person) -> None:
    token = ann.headers["Authorization"].split()[1]
    for word in ("JWT", "Bearer", "jwt"):
        answer = await ann.box.client.get("/api/workspaces/", headers={"Authorization": f"{word} {token}"})
        assert answer.status == 200


@pytest.mark.any_storage
async def test_paths_and_methods_that_there_are_not(ann: Person) -> None:
    none = {"detail": "Not found.", "code": "not_found"}
    for path in (f"/api/workspaces/{ann.home}/nothing/", "/api/workspaces//", "/auth/jwt/nothing/"):
        assert await ann.ask("GET", path) == (404, none)
    answer = await ann.raw("PUT", "/api/workspaces")
    assert answer.status == 405
    assert answer.headers["Allow"] == "GET,POST"
    assert await answer.json() == {"detail": 'Method "PUT" not allowed.', "code": "method_not_allowed"}
    for words in ("regenerate", "regenerate/"):
        assert (await ann.raw("GET", f"chats/{MISSING}/messages/{words}")).headers["Allow"] == "POST"
        assert (await ann.ask("DELETE", f"chats/{MISSING}/messages/{words}"))[0] == 405
    assert await ann.ask("GET", f"chats/{MISSING}/messages/agent-task-status/") == (404, none)


@pytest.mark.any_storage
async def test_bodies_that_are_none(ann: Person) -> None:
    for data in (b"{", b"\xff", b'{"name": NaN}', b'{"name": "\\ud800"}', b'{"name": 1e999}', b"[" * 3000):
        told = {"non_field_errors": ["The body is not valid JSON."]}
        assert await ann.ask("POST", "/api/workspaces/", data=data) == (400, told)
    for data in (b"[]", b'"x"', b"7", b"null"):
        told = {"non_field_errors": ["The body must be a JSON object."]}
        assert await ann.ask("POST", "/api/workspaces/", data=data) == (400, told)
    status, body = await ann.ask("POST", "/api/workspaces/", data=LARGE)
    assert (status, body["code"]) == (413, "too_large")
    status, body = await ann.ask("POST", "/api/workspaces/", headers={"Content-Type": MULTIPART})
    assert (status, body["code"]) == (415, "unsupported_media_type")


# ---- order ----------------------------------------------------------------------------------------------------------


async def test_the_order_of_errors(ann: Person) -> None:
    bob, cem = await person(ann.box, "bob"), await person(ann.box, "cem")
    ws = await team(ann, bob)
    session = await ann.session()
    await ann.ok("POST", f"chats/{session}/share/", json={"user_id": bob.id})
    path = f"/api/workspaces/{ws}/chats/{session}/"
    for body in (b"{", b'{"content": ""}', LARGE):

        async def send(who: Person | None, session: str, body: bytes = body) -> tuple[int, Any]:
            to = f"/api/workspaces/{ws}/chats/{session}/messages/"
            if who is not None:
                return await who.ask("POST", to, data=body)
            return (await ann.box.client.post(to, data=body)).status, None

        assert (await send(None, session))[0] == 401
        assert await send(cem, session) == (404, {"detail": "Workspace not found.", "code": "not_found"})
        assert await send(bob, MISSING) == (404, {"detail": "Conversation not found.", "code": "not_found"})
        assert (await send(bob, session))[0] == 403
        assert (await send(ann, session))[0] == (413 if body is LARGE else 400)
    assert (await cem.ask("GET", f"{path}messages/?page=x"))[0] == 404
    assert (await bob.ask("GET", f"{path}messages/?page=x"))[0] == 400


async def test_a_session_is_found_in_its_own_workspace_only(ann: Person) -> None:
    session = await ann.session()
    await team(ann)
    assert (await ann.ask("GET", f"chats/{session}/"))[0] == 404
    assert (await ann.ask("POST", f"chats/{session}/messages/", json={"content": "hi"}))[0] == 404
    ann.ws = ann.home
    assert (await ann.ask("GET", f"chats/{session}/"))[0] == 200


async def test_ids_that_are_none(ann: Person) -> None:
    session = await ann.session()
    for id in ("x", "%00", "%ff", "a%2fb", "'", "x" * 2000, "é", "%ed%a0%80"):
        for path in (
            *(f"/api/workspaces/{id}/{rest}" for rest in ("", "chats/", f"chats/{session}/")),
            *(f"chats/{id}/", f"chats/{id}/messages/", f"chats/{session}/messages/{id}/"),
            f"chats/{session}/messages/agent-task-status/{id}/",
        ):
            assert (await ann.ask("GET", path))[0] == 404, path
        assert (await ann.ask("DELETE", f"chats/{session}/messages/{id}/"))[0] == 404
        assert (await ann.ask("DELETE", f"members/{id}/"))[0] == 404
