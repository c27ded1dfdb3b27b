"""The errors that the Gemini API reports: as statuses, in mid-stream, behind the events."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest

from backchat.errors import ProviderCredentials, ProviderError, ProviderRejected, ProviderThrottled, ProviderTimeout
from backchat_google.provider import GoogleProvider, open_google
from google_trials import KEY, fail, healthy, settings
from google_upstream import Cut, Hang, Step, Upstream, chunk, serve

SO_FAR = b"data: " + orjson.dumps(chunk("so far")) + b"\r\n\r\n"
JSON = {"Content-Type": "application/json; charset=UTF-8"}


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with serve() as upstream:
        yield upstream
        assert upstream.problems == []


@pytest.fixture
async def provider(upstream: Upstream) -> AsyncIterator[GoogleProvider]:
    async with open_google(settings(upstream)) as provider:
        yield provider


@pytest.fixture
async def impatient(upstream: Upstream) -> AsyncIterator[GoogleProvider]:
    async with open_google(settings(upstream, read_timeout=0.4)) as provider:
        yield provider


ERRORS = [
    ({"code": 503, "message": "The model is overloaded.", "status": "UNAVAILABLE"}, ProviderError, False),
    ({"code": 429, "message": "Quota", "status": "RESOURCE_EXHAUSTED"}, ProviderThrottled, False),
    ({"message": "Quota", "status": "RESOURCE_EXHAUSTED"}, ProviderThrottled, False),
    ({"code": 403, "message": "no", "status": "PERMISSION_DENIED"}, ProviderCredentials, False),
    ({"code": 400, "message": "too long", "status": "INVALID_ARGUMENT"}, ProviderRejected, False),
    ({"code": 400, "details": [{"reason": "API_KEY_INVALID"}]}, ProviderCredentials, False),
    ({"code": 504, "status": "DEADLINE_EXCEEDED"}, ProviderTimeout, True),
    ({"code": True, "status": "NEW"}, ProviderError, True),
    ("boom", ProviderError, True),
    ([1], ProviderError, True),
]


@pytest.mark.parametrize(("error", "kind", "at_work"), ERRORS)
async def test_an_error_event(
    provider: GoogleProvider, upstream: Upstream, error: Any, kind: type[ProviderError], at_work: bool
) -> None:
    upstream.play(SO_FAR + b"data: " + orjson.dumps({"error": error}) + b"\n\n")
    kept, failure = await fail(provider)
    assert kept == "so far"
    assert type(failure) is kind
    assert failure.at_work is at_work
    await healthy(provider, upstream)


@pytest.mark.parametrize("end", [b"", b"data: " + orjson.dumps(chunk(finish="STOP")) + b"\r\n\r\n"])
@pytest.mark.parametrize("cut", [True, False])
async def test_an_error_behind_the_events(provider: GoogleProvider, upstream: Upstream, end: bytes, cut: bool) -> None:
    """As plain JSON, also when the answer seemed to be over."""
    error = orjson.dumps({"error": ERRORS[1][0]}, option=orjson.OPT_INDENT_2)
    events = (SO_FAR + end)[:-2] + b"id: 7\r\n"  # the last of them is unfinished
    upstream.play(events, error[:30], error[30:], *([] if cut else [b"\n"]))
    kept, failure = await fail(provider)
    assert kept == "so far"
    assert type(failure) is ProviderThrottled


@pytest.mark.parametrize("as_list", [True, False])
@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (302, ProviderError),
        (400, ProviderRejected),
        (401, ProviderCredentials),
        (403, ProviderCredentials),
        (404, ProviderRejected),
        (429, ProviderThrottled),
        (500, ProviderError),
        (503, ProviderError),
        (504, ProviderTimeout),
    ],
)
async def test_a_status(
    provider: GoogleProvider, upstream: Upstream, status: int, kind: type[ProviderError], as_list: bool
) -> None:
    error = {"error": {"code": status, "message": f"the words of the service\n{KEY}", "status": "SOME"}}
    upstream.play(orjson.dumps([error] if as_list else error), status=status, headers={**JSON, "Location": "/"})
    _, failure = await fail(provider)
    assert type(failure) is kind
    assert failure.at_work == (kind is ProviderTimeout)
    assert ("the words of the service [key]" in str(failure)) == (kind is ProviderRejected)
    await healthy(provider, upstream)


@pytest.mark.parametrize("steps", [[b'{"error": {"mess', Cut], [b'{"error": {"mess', Hang], [b"x" * 1_000_000], []])
async def test_a_status_is_told_whatever_its_body(
    impatient: GoogleProvider, upstream: Upstream, steps: list[Step]
) -> None:
    upstream.play(*steps, status=422)
    assert type((await fail(impatient))[1]) is ProviderRejected
    await healthy(impatient, upstream)


@pytest.mark.parametrize(
    ("details", "headers", "seconds"),
    [
        ([{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "37s"}], {}, 37),
        ([{"links": []}, {"retryDelay": "37.82626638s"}], {"Retry-After": "5"}, 38),
        ([{"retryDelay": 37}, 7], {"retry-after": "5"}, 5),
        ([{"retryDelay": "soons"}], {}, None),
        ({"retryDelay": "37s"}, {}, None),
        (None, {}, None),
    ],
)
async def test_how_long_to_wait(
    provider: GoogleProvider, upstream: Upstream, details: Any, headers: dict[str, str], seconds: int | None
) -> None:
    error = {"code": 429, "message": "Quota exceeded", "status": "RESOURCE_EXHAUSTED", "details": details}
    upstream.play(orjson.dumps({"error": error}), status=429, headers={**JSON, **headers})
    assert (await fail(provider))[1].retry_after == seconds


async def test_a_wrong_key_is_a_bad_request_to_the_service(provider: GoogleProvider, upstream: Upstream) -> None:
    details = [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}]
    error = {"code": 400, "message": "API key not valid.", "status": "INVALID_ARGUMENT", "details": details}
    upstream.play(orjson.dumps({"error": error}), status=400, headers=JSON)
    assert type((await fail(provider))[1]) is ProviderCredentials
