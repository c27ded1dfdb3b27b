"""The client of the vault and what is between it and a server: broken connections, other servers, wrong answers."""

from __future__ import annotations

import re
import socket
from contextlib import AsyncExitStack, suppress
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from aiohttp import web

from backchat.client import pages, transport
from backchat.client.vault import VaultClient, VaultError, VaultMessage
from backchat.sealing.keys import VaultKey
from backchat.testing.plugin import Serve
from backchat.testing.server import Box
from vault_between import (
    CONFIG,
    HI,
    Act,
    address,
    after,
    another,
    before,
    between,
    cuts,
    loses,
    passes,
    said,
    says,
    token,
    vanishes,
    vault,
)

pytestmark = pytest.mark.any_storage
TOKEN = "bsk_a_" + "0123456789" * 5
OWN = VaultKey("own", bytes(32))
NONE = {"tokens": [], "total": 0}
BUSY = {"success": False, "error": "rate_limited", "message": "too many requests"}
DONE = {"success": True, "entryId": 1, "version": 1, "changed": True, "message": "created"}


@pytest.fixture
async def box(serve: Serve) -> Box:
    return await serve(CONFIG)


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long it would have slept, each time."""
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    monkeypatch.setattr(transport, "sleep", sleep)
    return pauses


async def refusal(*acts: Act, ask: str = "tokens", url: str = "{}") -> tuple[VaultError, list[str]]:
    """What a request comes to that meets this, and what was asked."""
    async with between(None, *acts) as way, VaultClient(url.format(way.url), TOKEN, key=OWN) as client:
        asked: dict[str, Any] = {
            "tokens": client.tokens,
            "push": lambda: client.push("c", [HI], platform="p"),
            "rotate": client.rotate_key,
            "recovery": client.make_recovery_key,
            "issue": lambda: client.issue_token("n"),
            "adopt": lambda: client.adopt(1, [HI]),
            "delete": lambda: client.delete(1),
            "entry": lambda: client.entry(1),
            "version": lambda: client.version(1, 1),
        }
        with pytest.raises(VaultError) as caught:
            await asked[ask]()
    assert TOKEN not in f"{caught.value!r}{caught.value.__dict__}{caught.value.__cause__!r}"
    return caught.value, way.asked


# ---- again ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("act", [vanishes, says(502), says(503, "<html>"), says(504), says(429, BUSY)])
async def test_what_may_be_repeated_is(act: Act, slept: list[float]) -> None:
    async with between(None, act, act, says(200, NONE)) as way, VaultClient(way.url, TOKEN) as client:
        assert await client.tokens() == []
    assert way.asked == ["GET vault/tokens"] * 3
    assert slept == list(transport.PAUSES[:2])


@pytest.mark.parametrize("act", [vanishes, says(502), says(503), says(504), says(429, BUSY)])
async def test_a_push_is_repeated_with_the_same_bytes(act: Act, slept: list[float]) -> None:
    async with between(None, act, says(200, DONE)) as way, VaultClient(way.url, TOKEN, key=OWN) as client:
        assert (await client.push("c", [HI], platform="p")).changed
    assert way.asked == ["POST push"] * 2
    assert way.bodies[0] == way.bodies[1]


@pytest.mark.parametrize(
    ("act", "status", "code", "uncertain"),
    [
        (vanishes, 0, "unreachable", True),
        (says(503), 503, "internal_error", True),
        (says(429, BUSY), 429, "rate_limited", False),
    ],
)
@pytest.mark.parametrize("ask", ["tokens", "push", "delete"])
async def test_it_gives_up_in_the_end(
    act: Act, status: int, code: str, uncertain: bool, ask: str, slept: list[float]
) -> None:
    error, asked = await refusal(*[act] * 20, ask=ask)
    assert len(asked) == len(transport.PAUSES) + 1
    assert (error.status, error.code, error.uncertain) == (status, code, uncertain)
    assert slept == list(transport.PAUSES)


@pytest.mark.parametrize("ask", ["rotate", "recovery", "issue", "adopt"])
@pytest.mark.parametrize("act", [vanishes, says(502), says(503), says(504)])
async def test_what_would_be_done_twice_is_not_repeated(ask: str, act: Act, slept: list[float]) -> None:
    error, asked = await refusal(act, says(200, {}), ask=ask)
    assert len(asked) == 1
    assert error.uncertain
    assert slept == []


@pytest.mark.parametrize("ask", ["rotate", "recovery", "issue", "adopt"])
async def test_what_was_told_to_come_later_was_not_done(ask: str, slept: list[float]) -> None:
    refused = says(403, {"success": False, "error": "forbidden", "message": "no"})
    error, asked = await refusal(says(429, BUSY), refused, ask=ask)
    assert len(asked) == 2
    assert not error.uncertain
    assert error.status == 403


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 413, 415, 422, 500])
async def test_other_refusals_are_final(status: int, slept: list[float]) -> None:
    body = {"success": False, "error": "a_code", "message": "some words", "details": {"a.0": ["b"], "c": 1}}
    error, asked = await refusal(says(status, body), ask="push")
    assert (str(error), error.status, error.code) == ("some words; a.0: b", status, "a_code")
    assert error.fields == {"a.0": ["b"]}
    assert not error.uncertain
    assert len(asked) == 1


def in_seconds(seconds: float) -> str:
    return format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)


@pytest.mark.parametrize(
    ("told", "least", "most"),
    [
        ("7", 7, 7),
        ("0", 0.2, 0.2),
        ("-5", 0.2, 0.2),
        ("soon", 0.2, 0.2),
        ("1e3", 0.2, 0.2),
        (40, 1, 40),
        (-40, 0.2, 0.2),
    ],
)
async def test_it_waits_as_long_as_it_is_told(told: str | int, least: float, most: float, slept: list[float]) -> None:
    """A number is a time so many seconds from now on."""
    acts = says(429, BUSY, Retry_After=told if isinstance(told, str) else in_seconds(told)), says(200, NONE)
    async with between(None, *acts) as way, VaultClient(way.url, TOKEN) as client:
        await client.tokens()
    (pause,) = slept
    assert least <= pause <= most


async def test_it_does_not_wait_for_too_long(slept: list[float]) -> None:
    error, asked = await refusal(says(429, BUSY, Retry_After="3600"))
    assert (error.status, slept, len(asked)) == (429, [], 1)
    error, asked = await refusal(*[says(429, BUSY, Retry_After="25")] * 9)
    assert (error.status, slept, len(asked)) == (429, [25, 25], 3)


async def test_nobody_listens(slept: list[float]) -> None:
    """It is the URL, and waiting does not mend that."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        url = f"http://127.0.0.1:{found.getsockname()[1]}"
    async with VaultClient(url, TOKEN) as client:
        for ask in (client.tokens, client.rotate_key):
            with pytest.raises(VaultError, match=f"cannot reach {url}/api/v1: Connection refused") as caught:
                await ask()
            assert not caught.value.uncertain
    assert slept == []


async def test_a_server_that_restarts(slept: list[float]) -> None:
    async with AsyncExitStack() as server:
        way = await server.enter_async_context(between(None, says(200, NONE)))
        async with VaultClient(way.url, TOKEN) as client:
            await client.tokens()
            await server.aclose()
            with pytest.raises(VaultError, match="Connection refused"):
                await client.tokens()  # on the connection that was there, perhaps
            assert slept == [*transport.PAUSES]
            with pytest.raises(VaultError, match="Connection refused") as caught:
                await client.rotate_key()
    # It never reached anybody, so that what is not repeatable may be tried again as well.
    assert not caught.value.uncertain
    assert slept == [*transport.PAUSES] * 2


# ---- lost answers ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", [loses, cuts])
async def test_a_push_whose_answer_is_lost(box: Box, fault: Act, slept: list[float]) -> None:
    async with between(box, passes, passes, fault) as way, VaultClient(way.url, await token(box)) as ann:
        assert not (await ann.push("c", [HI])).changed  # by this request: the one before had done it
        (entry,) = [e async for e in ann.pull()]
    assert way.asked[2:4] == ["POST push"] * 2
    assert (entry.version, entry.messages) == (1, 1)


@pytest.mark.parametrize("fault", [loses, cuts])
async def test_a_push_with_a_base_whose_answer_is_lost_is_recognised(box: Box, fault: Act, slept: list[float]) -> None:
    async with between(box) as way, VaultClient(way.url, await token(box)) as ann:
        entry = (await ann.push("c", said("one"))).entry
        await ann.push("c", said("one"), platform="elsewhere")
        way.acts = [fault]
        result = await ann.push("c", said("two"), base=1)
        assert (result.entry, result.version, result.changed) == (entry, 2, True)
        way.acts = [fault]
        result = await ann.push("new", said("three"), base=0)
        assert (result.version, result.changed) == (1, True)
        assert len(await ann.versions(entry)) == 2


async def test_one_version_is_looked_at_to_recognise_it(box: Box, slept: list[float]) -> None:
    async with between(box) as way, VaultClient(way.url, await token(box)) as ann:
        entry = (await ann.push("c", said("one"))).entry
        way.acts = [loses]
        await ann.push("c", said("two"), base=1)
        assert way.asked[-2:] == ["GET pull", f"GET entries/{entry}/versions/2"]
        # What was said is not there any more.
        way.acts = [after(lambda: ann.delete(entry))]
        with pytest.raises(VaultError) as caught:
            await ann.push("c", said("three"), base=2)
        assert (caught.value.status, caught.value.uncertain) == (409, True)


async def test_it_is_recognised_behind_a_later_version(box: Box, slept: list[float]) -> None:
    async with between(box) as way, VaultClient(way.url, await token(box)) as ann, another(ann, box) as bob:
        await ann.push("c", said("one"))
        way.acts = [after(lambda: bob.push("c", said("three")))]
        result = await ann.push("c", said("two"), base=1)
        assert (result.version, result.changed) == (2, True)
        assert await ann.open(await ann.entry(result.entry)) == said("three")


async def test_a_version_of_somebody_else_is_not_taken_for_ones_own(box: Box, slept: list[float]) -> None:
    async with between(box) as way, VaultClient(way.url, await token(box)) as ann, another(ann, box) as bob:
        await ann.push("c", said("one"))
        way.acts = [before(lambda: bob.push("c", said("other")))]
        with pytest.raises(VaultError) as caught:
            await ann.push("c", said("two"), base=1)
        assert (caught.value.status, caught.value.version) == (409, 2)
        # The same words, but earlier.
        way.acts = [before(lambda: bob.push("c", said("more")))]
        with pytest.raises(VaultError) as caught:
            await ann.push("c", said("other"), base=2)
        assert caught.value.version == 3


async def test_a_conflict_is_told_to_who_may_only_push(box: Box, slept: list[float]) -> None:
    async with between(box) as way, VaultClient(way.url, await token(box, scopes=["push"])) as ann:
        await ann.push("c", said("one"))
        way.acts = [loses]
        with pytest.raises(VaultError) as caught:
            await ann.push("c", said("two"), base=1)
        assert (caught.value.status, caught.value.version, caught.value.uncertain) == (409, 2, True)


async def test_what_is_deleted_unheard_is_deleted(box: Box, slept: list[float]) -> None:
    async with between(box) as way, VaultClient(way.url, await token(box)) as ann:
        entry = (await ann.push("c", [HI])).entry
        made, _ = await ann.issue_token("phone")
        way.acts = [loses]
        await ann.delete(entry)
        way.acts = [loses]
        await ann.revoke_token(made.id)
        assert [e async for e in ann.pull()] == []
        assert len(await ann.tokens()) == 1


async def test_a_token_that_was_issued_unheard_is_there(box: Box, slept: list[float]) -> None:
    async with between(box) as way, VaultClient(way.url, await token(box)) as ann:
        way.acts = [loses]
        with pytest.raises(VaultError) as caught:
            await ann.issue_token("phone")
        assert caught.value.uncertain
        assert [t.name for t in await ann.tokens()] == ["test", "phone"]


# ---- servers that are no vault --------------------------------------------------------------------------------------

PAGE = "<!doctype html><title>Welcome</title>"


@pytest.mark.parametrize(
    ("act", "why"),
    [
        (says(200, PAGE), "is not a vault: its answer is not a JSON object"),
        (says(200, []), "is not a vault: its answer is not a JSON object"),
        (says(200, "1" * 5000), "is not a vault: its answer is not a JSON object"),
        (says(404, PAGE), "is not a vault: 404 Not Found"),
        (says(404, {"detail": "Not Found"}), "is not a vault: 404 Not Found"),
        (says(404, {"success": False, "error": 1, "message": "x"}), "is not a vault: 404 Not Found"),
        (says(401, {"error": "unauthorized", "message": "x"}), "is not a vault: 401 Unauthorized"),
        (says(413, PAGE), "is not a vault: 413 Request Entity Too Large"),
        (says(301, "", Location="https://elsewhere/"), "is not a vault: 301 Moved Permanently, a redirect, which is"),
        (says(202, {}), "is not a vault: 202 Accepted"),
        (says(599, PAGE), "answers 599"),
        (says(500, PAGE), "answers 500 Internal Server Error"),
    ],
)
async def test_another_site(act: Act, why: str) -> None:
    error, asked = await refusal(act)
    assert why in str(error)
    assert re.match(r"http://127\.0\.0\.1:\d+/chat/api/v1 ", str(error))
    assert error.code == ("internal_error" if "answers" in why and "not a vault" not in why else "not_a_vault")
    assert len(asked) == 1


async def test_a_redirect_gets_no_token(slept: list[float]) -> None:
    async with (
        between(None) as other,
        between(None, says(307, "", Location=other.url)) as way,
        VaultClient(way.url, TOKEN) as client,
    ):
        with pytest.raises(VaultError, match="redirect"):
            await client.tokens()
    assert other.asked == []


TIME = "2026-01-02T03:04:05.678Z"
GOOD = {
    "id": 1,
    "chatId": "c",
    "title": "T",
    "platform": "p",
    "category": None,
    "topic": None,
    "tags": [],
    "model": None,
    "messageCount": 1,
    "version": 1,
    "contentHash": None,
    "keyId": None,
    "createdAt": TIME,
    "updatedAt": TIME,
    "encryptedContent": "AAAA",
    "iv": "AAAA",
}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("id", "1"),
        ("id", True),
        ("id", -1),
        ("chatId", None),
        ("title", None),
        ("platform", 1),
        ("category", []),
        ("topic", 1),
        ("tags", None),
        ("tags", [1]),
        ("model", {}),
        ("messageCount", 1.5),
        ("version", None),
        ("contentHash", 1),
        ("keyId", "a b"),
        ("createdAt", "yesterday"),
        ("createdAt", "2026-01-02T03:04:05"),
        ("updatedAt", 1),
        ("encryptedContent", "_-_-"),
        ("encryptedContent", None),
        ("iv", "AAA"),
    ],
)
async def test_an_entry_that_is_none(field: str, value: object) -> None:
    error, _ = await refusal(says(200, {**GOOD, field: value}), ask="entry")
    assert str(error) == f"the server answers with an entry that is not one: {field}"
    assert error.code == "not_a_vault"


async def test_what_is_missing_and_may_not_be() -> None:
    optional = {"category", "topic", "model", "contentHash", "keyId"}
    for field in GOOD:
        less = {name: value for name, value in GOOD.items() if name != field}
        async with between(None, says(200, less)) as way, VaultClient(way.url, TOKEN) as client:
            if field in optional:
                assert (await client.entry(1)).id == 1
            else:
                with pytest.raises(VaultError, match=f"not one: {field}$"):
                    await client.entry(1)


async def test_other_answers_that_are_none() -> None:
    for ask, answer, why in [
        ("tokens", {"tokens": {}}, "a list of tokens that is not one: tokens"),
        ("tokens", {"tokens": [1]}, "a list of tokens that is not one: tokens"),
        ("tokens", {"tokens": [{"id": 1}]}, "a list of tokens that is not one: id"),
        ("push", {**DONE, "changed": 1}, "the outcome of a push that is not one: changed"),
        ("push", {**DONE, "entryId": None}, "the outcome of a push that is not one: entryId"),
        ("rotate", {"keyId": ""}, "a new vault key that is not one: keyId"),
        ("recovery", {}, "a recovery key that is not one: recoveryKey"),
        ("recovery", {"recoveryKey": TOKEN}, "a recovery key that is not one: recoveryKey"),
        ("adopt", {"conversationId": 1}, "a conversation that is not one: conversationId"),
        ("version", {**GOOD, "version": 2}, "another version than it was asked for"),
    ]:
        error, _ = await refusal(says(200, answer), ask=ask)
        assert why in str(error)
        assert error.code == "not_a_vault"


@pytest.mark.parametrize("odd", ["\x1b]0;x\x07", "", "a" * 65, "a b", "\u202e", "../entries/1"])
async def test_the_id_of_a_token_is_one(odd: str) -> None:
    found: dict[str, object] = {
        "name": "n",
        "scopes": [],
        "platform": None,
        "createdAt": TIME,
        "expiresAt": None,
        "hasKey": True,
    }
    for ask, answer in (
        ("tokens", {"tokens": [{**found, "id": odd}], "total": 1}),
        ("issue", {**found, "id": odd, "token": TOKEN}),
    ):
        error, _ = await refusal(says(200, answer), ask=ask)
        assert str(error).endswith(" that is not one: id")


async def test_a_server_cannot_have_the_token_shown_nor_command_a_terminal() -> None:
    words = f"you said Bearer {TOKEN}\n\x1b]0;x\x07 " + "long " * 1000
    error, _ = await refusal(says(401, {"success": False, "error": "unauthorized", "message": words}))
    assert "(the API key)" in str(error)
    assert str(error).isprintable()
    assert len(str(error)) <= 500


# ---- answers that are too large -------------------------------------------------------------------------------------


class Endless:
    """Sends on and on, until nobody listens. ``sent`` counts the bytes."""

    def __init__(self, status: int) -> None:
        self._status, self.sent = status, 0

    async def __call__(self, request: Any, forward: Any) -> web.StreamResponse:
        response = web.StreamResponse(status=self._status)
        await response.prepare(request)
        with suppress(ConnectionError):
            while self.sent < 2**24:
                await response.write(b" " * 2**16)
                self.sent += 2**16
        return response


@pytest.mark.parametrize(("ask", "uncertain"), [("tokens", False), ("push", True)])
@pytest.mark.parametrize("status", [200, 400])
async def test_an_answer_without_end(
    ask: str, uncertain: bool, status: int, slept: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "ANSWER_MAX", 2**18)
    endless = Endless(status)
    error, asked = await refusal(endless, ask=ask)
    assert re.search("the answer of http.* is too large: it has more than 262144 bytes", str(error))
    assert (error.code, error.status, error.uncertain) == ("too_large", status, uncertain)
    assert len(asked) == 1
    assert endless.sent < 2**24


async def test_large_entries_come_all_the_same(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    async with between(box) as way, VaultClient(way.url, await token(box)) as ann:
        for n in range(6):
            await ann.push(f"c{n}", said("x" * 20_000))
        monkeypatch.setattr(transport, "ANSWER_MAX", 2**16)  # two of them
        assert [e.chat async for e in ann.pull()] == [f"c{n}" for n in reversed(range(6))]
        monkeypatch.setattr(transport, "ANSWER_MAX", 2**14)
        with pytest.raises(VaultError, match="too large"):
            [e async for e in ann.pull()]


def test_two_of_the_largest_entries_fit() -> None:
    """A body of 10 MiB becomes this much in base64, with the brackets and the like that a client may leave out."""
    largest = (10 * 2**20 + 50 * 10_000) * 4 / 3
    assert largest * pages.SIZE_MIN < transport.ANSWER_MAX / 2


async def test_what_is_not_http(slept: list[float]) -> None:
    async def garbage(request: Any, forward: Any) -> Any:
        request.transport.write(b"SSH-2.0-OpenSSH_9.6\r\n\r\n")
        return await vanishes(request, forward)

    error, asked = await refusal(*[garbage] * 9)
    assert error.code == "not_a_vault"
    assert len(asked) == 1


# ---- addresses and tokens -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("url", ["{}", "{}/", "{}/api/v1", "{}/api/v1/", " {}//\n"])
async def test_the_same_server_by_other_words(url: str) -> None:
    async with between(None, says(200, NONE)) as way, VaultClient(url.format(way.url), TOKEN) as client:
        await client.tokens()
        assert way.asked == ["GET vault/tokens"]


async def test_without_a_prefix(box: Box) -> None:
    async with VaultClient(f"{address(box)}api/v1/", f" {await token(box)}\n") as client:
        assert len(await client.tokens()) == 1


@pytest.mark.parametrize(
    "url", ["", "chat.example.org", "/api/v1", "ftp://chat.example.org", "http://", "http://[", "http://h:port/"]
)
def test_what_is_no_address(url: str) -> None:
    with pytest.raises(VaultError, match="must begin with http:// or https://, and name a host"):
        VaultClient(url, TOKEN)


@pytest.mark.parametrize(
    "url", ["https://ann:pencil@host/", "https://pencil@host/", "https://host/?token=pencil", "https://host/#pencil"]
)
def test_an_address_holds_no_secret(url: str) -> None:
    with pytest.raises(VaultError, match="no user, password, query or fragment") as caught:
        VaultClient(url, TOKEN)
    assert "pencil" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "a b", "a\r\nX-Y: z", "é", "a\0"])
def test_what_is_no_token(text: str) -> None:
    with pytest.raises(VaultError, match="characters that no API key has") as caught:
        VaultClient("https://host", text)
    assert not text or text not in str(caught.value)


async def test_a_user_with_one_token_that_is_a_recovery_key(box: Box) -> None:
    """Pasted in the wrong place: it opens nothing by itself."""
    async with vault(box) as ann:
        recovery = await ann.make_recovery_key()
    async with VaultClient(address(box), recovery) as client:
        with pytest.raises(VaultError, match="no API key"):
            await client.push("c", [VaultMessage("user", "Hi")], platform="p")
        with pytest.raises(VaultError) as caught:
            await client.tokens()
    assert caught.value.status == 401
