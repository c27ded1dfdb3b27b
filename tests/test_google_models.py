"""The ``google`` provider's list of models: what is asked, what is read, what goes wrong."""

from __future__ import annotations

from collections.abc import AsyncIterator

import orjson
import pytest

from backchat.errors import ProviderCredentials, ProviderError, ProviderThrottled, ProviderTimeout
from backchat_google import provider as provider_module
from backchat_google.provider import GoogleProvider, open_google
from google_trials import KEY, healthy, settings
from google_upstream import Cut, Hang, Step, Upstream, serve

JSON = {"Content-Type": "application/json"}


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with serve() as upstream:
        yield upstream
        assert upstream.problems == []


@pytest.fixture
async def provider(upstream: Upstream) -> AsyncIterator[GoogleProvider]:
    async with open_google(settings(upstream)) as provider:
        yield provider


async def test_turns_the_pages(upstream: Upstream) -> None:
    async with open_google(settings(upstream, base_url=f"{upstream.base_url}?team=7")) as provider:
        assert await provider.models() == ["gemini-3.8-flash", "gemini-2.5-pro", "tunedModels/mine"]
    assert upstream.paths == [
        "/v1beta/models?team=7&pageSize=1000",
        "/v1beta/models?team=7&pageSize=1000&pageToken=2",
    ]
    for asked in upstream.requests:
        assert asked["x-goog-api-key"] == KEY
        assert asked["Accept"] == "application/json"


@pytest.mark.parametrize(
    ("answer", "names"),
    [
        ({}, []),
        ({"models": [{"name": "models/a"}, {"name": "models/b", "supportedGenerationMethods": 7}]}, []),
        ({"models": [{"name": "models/b", "supportedGenerationMethods": ["generateContent"]}] * 2}, ["b"]),
    ],
)
async def test_reads(provider: GoogleProvider, upstream: Upstream, answer: object, names: list[str]) -> None:
    upstream.play(orjson.dumps(answer), headers=JSON)
    assert await provider.models() == names
    await healthy(provider, upstream)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b"7",
        b'{"models": {}}',
        b'{"models": [7]}',
        b'{"models": [{"name": 7}]}',
        b'{"models": [{"name": ""}]}',
        b'{"models": [], "nextPageToken": 7}',
        b'{"error": {"code": 500}}',
    ],
)
async def test_what_is_no_list(provider: GoogleProvider, upstream: Upstream, body: bytes) -> None:
    upstream.play(body, headers=JSON)
    with pytest.raises(ProviderError):
        await provider.models()
    await healthy(provider, upstream)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, ProviderCredentials),
        (404, ProviderError),
        (429, ProviderThrottled),
        (500, ProviderError),
        (302, ProviderError),
    ],
)
async def test_a_refusal(provider: GoogleProvider, upstream: Upstream, status: int, kind: type[ProviderError]) -> None:
    headers = {**JSON, "Location": "/v1beta/models"}
    upstream.play(orjson.dumps({"error": {"message": f"bad key {KEY}"}}), status=status, headers=headers)
    with pytest.raises(kind) as caught:
        await provider.models()
    assert KEY not in f"{caught.value!r}"
    await healthy(provider, upstream)


@pytest.mark.parametrize(("steps", "kind"), [([b"{", Cut], ProviderError), ([b"{", Hang], ProviderTimeout)])
async def test_a_broken_connection(upstream: Upstream, steps: list[Step], kind: type[ProviderError]) -> None:
    async with open_google(settings(upstream, read_timeout=0.2)) as provider:
        upstream.play(*steps, headers=JSON)
        with pytest.raises(kind) as caught:
            await provider.models()
        assert type(caught.value) is kind
        await healthy(provider, upstream)


async def test_a_page_that_is_too_long(
    provider: GoogleProvider, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provider_module, "_LISTING", 1000)
    upstream.play(b"{" + b" " * 1001, Hang, headers=JSON)
    with pytest.raises(ProviderError, match="too long"):
        await provider.models()
    await upstream.left.wait()


async def test_pages_without_end(provider: GoogleProvider, upstream: Upstream, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provider_module, "_MOST_PAGES", 3)
    for _ in range(3):
        upstream.play(b'{"models": [], "nextPageToken": "a"}', headers=JSON)
    with pytest.raises(ProviderError, match="too long"):
        await provider.models()
    assert len(upstream.paths) == 3
