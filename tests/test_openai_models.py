"""The ``openai`` provider's list of models: what is asked, what is read, what goes wrong."""

from __future__ import annotations

from collections.abc import AsyncIterator

import orjson
import pytest

from backchat.errors import ProviderCredentials, ProviderError, ProviderThrottled, ProviderTimeout
from backchat_openai import provider as provider_module
from backchat_openai.provider import OpenAIProvider, open_openai
from openai_trials import KEY, healthy, settings
from openai_upstream import Cut, Hang, Step, Upstream, serve

JSON = {"Content-Type": "application/json"}


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with serve() as upstream:
        yield upstream
        assert upstream.problems == []


@pytest.fixture
async def provider(upstream: Upstream) -> AsyncIterator[OpenAIProvider]:
    async with open_openai(settings(upstream)) as provider:
        yield provider


async def test_asks_beside_the_completions(upstream: Upstream) -> None:
    async with open_openai(settings(upstream, base_url=f"{upstream.base_url}/?version=7")) as provider:
        assert await provider.models() == ["m-1", "m-2"]
    assert upstream.paths == ["/v1/models?version=7"]
    (asked,) = upstream.requests
    assert asked["Authorization"] == f"Bearer {KEY}"
    assert asked["Accept"] == "application/json"


@pytest.mark.parametrize(
    ("answer", "names"),
    [
        ({"object": "list", "data": []}, []),
        ({"data": [{"id": "b"}, {"id": "a", "more": {}}, {"id": "b"}]}, ["b", "a"]),
        ([{"id": "vendor/a"}], ["vendor/a"]),
    ],
)
async def test_reads(provider: OpenAIProvider, upstream: Upstream, answer: object, names: list[str]) -> None:
    upstream.play(orjson.dumps(answer), headers=JSON)
    assert await provider.models() == names
    await healthy(provider, upstream)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"{}",
        b"7",
        b'{"data": {}}',
        b'{"data": [7]}',
        b'{"data": [{"id": 7}]}',
        b'[{"id": ""}]',
        b'{"error": "no", "data": [{"id": "a"}]}',
    ],
)
async def test_what_is_no_list(provider: OpenAIProvider, upstream: Upstream, body: bytes) -> None:
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
async def test_a_refusal(provider: OpenAIProvider, upstream: Upstream, status: int, kind: type[ProviderError]) -> None:
    upstream.play(orjson.dumps({"error": {"message": f"bad key {KEY}"}}), status=status, headers=JSON)
    with pytest.raises(kind) as caught:
        await provider.models()
    assert KEY not in f"{caught.value!r}"
    await healthy(provider, upstream)


@pytest.mark.parametrize(("steps", "kind"), [([b"[", Cut], ProviderError), ([b"[", Hang], ProviderTimeout)])
async def test_a_broken_connection(upstream: Upstream, steps: list[Step], kind: type[ProviderError]) -> None:
    async with open_openai(settings(upstream, read_timeout=0.2)) as provider:
        upstream.play(*steps, headers=JSON)
        with pytest.raises(kind) as caught:
            await provider.models()
        assert type(caught.value) is kind
        await healthy(provider, upstream)


async def test_a_list_that_is_too_long(
    provider: OpenAIProvider, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provider_module, "_LISTING", 1000)
    upstream.play(b"[" + b" " * 1001, Hang, headers=JSON)
    with pytest.raises(ProviderError, match="too long"):
        await provider.models()
    await upstream.left.wait()
