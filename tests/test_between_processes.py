"""What is decided in one process holds in the others: two servers on one store, each with a memory of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import ClientResponse

from backchat.cli.welcome import first_key
from backchat.testing.plugin import Serve
from backchat.testing.provider import ScriptedProvider
from backchat.testing.server import Box, parse_events

MAIL, PASSWORD = "ann@example.org", "open the pod bay doors"
PATIENCE = 20.0


async def two(serve: Serve, config: Mapping[str, Any] | None = None, *providers: ScriptedProvider) -> tuple[Box, Box]:
    """They share nothing but the store, and providers if some are given."""
    named = {"providers": {p.name: {"use": p.name} for p in providers}} if providers else {}
    given = {**named, **(config or {})}
    return await serve(given, providers), await serve(given, providers)


async def status(box: Box, path: str, who: Mapping[str, str], method: str = "GET", **more: Any) -> int:
    async with box.client.request(method, path, headers=who, **more) as answer:
        await answer.read()
        return answer.status


async def say(box: Box, who: Mapping[str, str], text: str, **headers: str) -> tuple[int, Any]:
    async with box.client.post("/api/chat", json={"text": text}, headers={**who, **headers}) as answer:
        return answer.status, await answer.json()


class Stream:
    """A reply as it comes; ``heard`` is what has come so far."""

    def __init__(self, answer: ClientResponse) -> None:
        self._answer = answer
        self.heard = b""

    async def until(self, words: bytes) -> None:
        while words not in self.heard:
            piece = await self._answer.content.readany()
            assert piece, f"it ended without {words!r}: {self.heard!r}"
            self.heard += piece

    async def rest(self) -> Sequence[tuple[str, int | None, dict[str, Any]]]:
        self.heard += await self._answer.content.read()
        return parse_events(self.heard)

    @property
    def begun(self) -> Mapping[str, Any]:
        return parse_events(self.heard)[0][2]


@asynccontextmanager
async def stream(
    box: Box, who: Mapping[str, str], *, text: str | None = None, run: str = "", **headers: str
) -> AsyncIterator[Stream]:
    """What is said to a text, or the replay of a run."""
    path, method = ("/api/chat/stream", "POST") if text is not None else (f"/api/chat/stream/{run}", "GET")
    body = {"text": text} if text is not None else None
    async with box.client.request(method, path, headers={**who, **headers}, json=body) as answer:
        assert answer.status == 200, await answer.text()
        yield Stream(answer)


# ---- limits ---------------------------------------------------------------------------------------------------------


async def log_in(box: Box, password: str = PASSWORD) -> ClientResponse:
    async with box.client.post("/api/auth/login", json={"email": MAIL, "password": password}) as answer:
        await answer.read()
        return answer


async def test_wrong_passwords_count_wherever_they_are_tried(serve: Serve) -> None:
    here, there = await two(serve, {"dialects": [{"use": "convos", "login_per_address": "2 per 5 minutes"}]})
    await here.services.accounts.create_user("Ann", email=MAIL, password=PASSWORD)
    assert [(await log_in(box, "wrong")).status for box in (here, there)] == [404, 404]
    for box in (there, here):
        refused = await log_in(box)
        assert (refused.status, refused.headers["X-RateLimit-Remaining"]) == (429, "0")


async def test_calls_at_once_are_counted_exactly(serve: Serve) -> None:
    boxes = await two(serve, {"dialects": [{"use": "convos", "share_per_address": "15/minute"}]})
    asked = [status(box, "/api/share/nothing", {}) for _ in range(12) for box in boxes]
    told = await asyncio.gather(*asked)
    assert (told.count(404), told.count(429)) == (15, 9)


async def test_a_limit_is_one_for_each_user(serve: Serve) -> None:
    here, there = await two(serve, {"dialects": [{"use": "vault", "pull_per_user": "2/minute"}, "chat"]})
    ann, bob = await here.key("ann"), await here.key("bob")
    path = "/api/v1/pull"
    assert [await status(box, path, ann) for box in (here, there, here, there)] == [200, 200, 429, 429]
    assert [await status(box, path, bob) for box in (there, here)] == [200, 200]


async def test_what_is_spent_here_is_spent_there(serve: Serve) -> None:
    credits = {"per_user": "0.5", "prices": {"scripted-1": {"output": 1_000_000}}}
    provider = ScriptedProvider(["a word"])
    here, there = await two(serve, {"credits": credits}, provider)
    ann, bob = await here.key("ann"), await here.key("bob")
    assert (await say(here, ann, "one"))[0] == 200
    assert (await say(there, ann, "two"))[0] == 402
    assert (await say(there, bob, "three"))[0] == 200
    assert (await say(here, bob, "four"))[0] == 402
    assert len(provider.requests) == 2


# ---- revocations ----------------------------------------------------------------------------------------------------


async def test_a_key_that_is_revoked_here_is_refused_there(serve: Serve) -> None:
    here, there = await two(serve)
    user = await here.services.accounts.ensure_user("ann")
    key, secret = await here.services.accounts.create_key(user, "laptop")
    who = {"Authorization": f"Bearer {secret}"}
    assert [await status(box, "/api/chat/conversations", who) for box in (there, here)] == [200, 200]
    await here.services.accounts.revoke_key(key.id)
    assert [await status(box, "/api/chat/conversations", who) for box in (there, here)] == [401, 401]


async def test_a_login_that_ends_here_is_over_there(serve: Serve) -> None:
    here, there = await two(serve)
    await here.services.accounts.create_user("Ann", email=MAIL, password=PASSWORD)
    answer = await log_in(here)
    who = {"Authorization": f"Bearer {(await answer.json())['token']}"}
    cookie = {"Cookie": f"refreshToken={answer.cookies['refreshToken'].value}"}
    for box in (here, there):
        box.client.session.cookie_jar.clear()
    assert await status(there, "/api/user", who) == 200
    assert await status(there, "/api/auth/refresh", cookie, "POST") == 200
    there.client.session.cookie_jar.clear()
    assert await status(here, "/api/auth/logout", who, "POST") == 200
    assert await status(there, "/api/user", who) == 401
    assert await status(there, "/api/auth/refresh", cookie, "POST") == 401


async def test_two_first_starts_at_once_make_one_first_user(serve: Serve) -> None:
    boxes = await two(serve)
    keys = [
        key for key in await asyncio.gather(*[first_key(box.services.accounts) for box in boxes]) if key is not None
    ]
    assert len(keys) == 1
    who = {"Authorization": f"Bearer {keys[0]}"}
    assert [await status(box, "/api/chat/conversations", who) for box in boxes] == [200, 200]
    assert [user.name for user in await boxes[0].services.accounts.users()] == ["admin"]


# ---- Idempotency-Key ------------------------------------------------------------------------------------------------


async def test_a_key_that_was_used_here_attaches_there(serve: Serve) -> None:
    gate = asyncio.Event()
    provider = ScriptedProvider(["Hel", gate, "lo"])
    here, there = await two(serve, None, provider)
    ann, once = await here.key("ann"), {"Idempotency-Key": "k-1"}
    async with asyncio.timeout(PATIENCE), stream(here, ann, text="hi", **once) as first:
        await first.until(b"Hel")
        async with stream(there, ann, text="hi", **once) as second:
            await second.until(b"Hel")
            blocking = asyncio.create_task(say(there, ann, "hi", **once))
            assert (await say(there, ann, "bye", **once))[0] == 409
            gate.set()
            told = [await first.rest(), await second.rest()]
    assert told[0] == told[1]
    answered, body = await blocking
    assert (answered, body["reply"], body["conversation_id"]) == (200, "Hello", told[0][0][2]["conversation_id"])
    assert len(provider.requests) == 1


async def test_one_key_everywhere_at_once_begins_one_answer(serve: Serve) -> None:
    provider = ScriptedProvider(["Hello"])
    boxes = await two(serve, None, provider)
    ann, once = await boxes[0].key("ann"), {"Idempotency-Key": "k-1"}
    async with asyncio.timeout(PATIENCE):
        told = await asyncio.gather(*[say(box, ann, "hi", **once) for _ in range(6) for box in boxes])
    assert [answered for answered, _ in told] == [200] * 12
    assert len({body["conversation_id"] for _, body in told}) == 1
    assert len(provider.requests) == 1
    path = f"/api/chat/messages?conversation_id={told[0][1]['conversation_id']}"
    async with boxes[1].client.get(path, headers=ann) as answer:
        assert [m["content"] for m in (await answer.json())["messages"]] == ["hi", "Hello"]


# ---- deleting -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["where it is made", "where it is followed"])
async def test_a_conversation_that_is_deleted_ends_its_streams(serve: Serve, where: str) -> None:
    """Begun and read here, read there as well: both readers are told, and the model is asked no longer."""
    provider = ScriptedProvider(["Hel", asyncio.Event()])
    here, there = await two(serve, None, provider)
    ann = await here.key("ann")
    async with asyncio.timeout(PATIENCE), stream(here, ann, text="hi") as first:
        await first.until(b"Hel")
        async with stream(there, ann, run=first.begun["run_id"]) as second:
            await second.until(b"Hel")
            box = here if where == "where it is made" else there
            path = f"/api/chat/conversations/{first.begun['conversation_id']}"
            assert await status(box, path, ann, "DELETE") == 200
            async with asyncio.timeout(5):
                for each in (first, second):
                    assert (await each.rest())[-1][0] in ("assistant", "error")
    assert (provider.open, provider.closed) == (0, 1)
    assert await status(here, f"/api/chat/stream/{first.begun['run_id']}", ann) == 404
