"""The options of the ``anthropic`` provider, and its list of models."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest
from marshmallow import ValidationError

from anthropic_trials import KEY, healthy, settings
from anthropic_upstream import Cut, Hang, Step, Upstream, serve
from backchat.errors import ProviderCredentials, ProviderError, ProviderThrottled, ProviderTimeout
from backchat.plugins import Plugins
from backchat.ports.providers import Abilities
from backchat_anthropic import provider as provider_module
from backchat_anthropic.messages import IMAGES
from backchat_anthropic.provider import AnthropicProvider, open_anthropic
from backchat_anthropic.settings import SettingsSchema

JSON = {"Content-Type": "application/json"}


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with serve() as upstream:
        yield upstream
        assert upstream.problems == []


@pytest.fixture
async def provider(upstream: Upstream) -> AsyncIterator[AnthropicProvider]:
    async with open_anthropic(settings(upstream)) as provider:
        yield provider


def test_the_plugin_offers_it() -> None:
    import backchat_anthropic

    offers = Plugins([backchat_anthropic]).providers
    assert list(offers) == ["anthropic"]
    schema = offers.pick("anthropic").schema
    loaded = schema.load({"model": "m"})
    assert (loaded.base_url, loaded.read_timeout, loaded.max_tokens) == ("https://api.anthropic.com", 300, 32_000)
    assert all(field.metadata["description"] for field in schema.fields.values())


async def test_abilities_are_as_configured() -> None:
    plain = SettingsSchema().load({"model": "claude-1"})
    async with open_anthropic(plain) as provider:
        assert provider.abilities == Abilities(image_types=IMAGES, files=frozenset({"application/pdf"}))
        assert provider.model == "claude-1"
    less = dict.fromkeys(("vision", "tools", "reasoning", "json_output", "files"), False)
    async with open_anthropic(SettingsSchema().load({"model": "claude-1", **less})) as provider:
        assert provider.abilities == Abilities(
            vision=False, tools=False, reasoning=False, json_output=False, image_types=IMAGES
        )


@pytest.mark.parametrize(
    "section",
    [
        {},
        {"model": ""},
        {"base_url": "http://user:secret@host"},
        {"base_url": "https://api.anthropic.com/v1"},
        {"base_url": "https://gateway.example.org/claude/v1/messages/"},
        {"api_key": "sk-secret\n"},
        {"headers": {"X-Api-Key": "secret"}},
        {"headers": {"X": "secret\r\nY: 1"}},
        {"extra_body": {"messages": []}},
        {"extra_body": {"max_tokens": 1}},
        {"max_tokens": 0},
        {"max_tokens": "9"},
        {"thinking": "much"},
        {"sampling": True},
        {"cache_ttl": "1d"},
        {"read_timeout": 0},
    ],
)
def test_refuses_bad_settings_without_repeating_them(section: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as caught:
        SettingsSchema().load(section if "model" in section or not section else {"model": "m", **section})
    assert "secret" not in str(caught.value.messages)


def test_settings_do_not_show_secrets() -> None:
    section = {"model": "m", "api_key": "sk-secret", "headers": {"X-Key": "secret"}, "extra_body": {"user": "secret"}}
    assert "secret" not in repr(SettingsSchema().load(section))


async def test_lists_all_pages(upstream: Upstream) -> None:
    async with open_anthropic(settings(upstream, base_url=f"{upstream.base_url}/proxy?team=7")) as provider:
        assert await provider.models() == ["claude-1", "claude-2", "claude-3"]
    assert upstream.paths == [
        "/proxy/v1/models?team=7&limit=1000",
        "/proxy/v1/models?team=7&limit=1000&after_id=claude-2",
    ]
    sent = {name.lower(): value for name, value in upstream.requests[0].items()}
    assert (sent["x-api-key"], sent["accept"]) == (KEY, "application/json")


async def test_a_name_is_listed_once(provider: AnthropicProvider, upstream: Upstream) -> None:
    upstream.play(orjson.dumps({"data": [{"id": "b"}, {"id": "a"}, {"id": "b"}]}), headers=JSON)
    assert await provider.models() == ["b", "a"]


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"7", b"{}", b'{"data": {}}', b'{"data": [7]}', b'{"data": [{"id": ""}]}']
)
async def test_what_is_no_list(provider: AnthropicProvider, upstream: Upstream, body: bytes) -> None:
    upstream.play(body, headers=JSON)
    with pytest.raises(ProviderError):
        await provider.models()
    await healthy(provider, upstream)


@pytest.mark.parametrize(
    ("status", "kind"),
    [(401, ProviderCredentials), (404, ProviderError), (429, ProviderThrottled), (302, ProviderError)],
)
async def test_a_refused_list(
    provider: AnthropicProvider, upstream: Upstream, status: int, kind: type[ProviderError]
) -> None:
    upstream.play(orjson.dumps({"error": {"message": f"bad key {KEY}"}}), status=status, headers=JSON)
    with pytest.raises(kind) as caught:
        await provider.models()
    assert KEY not in f"{caught.value!r}"
    await healthy(provider, upstream)


@pytest.mark.parametrize(("steps", "kind"), [([b"[", Cut], ProviderError), ([b"[", Hang], ProviderTimeout)])
async def test_a_list_on_a_broken_connection(upstream: Upstream, steps: list[Step], kind: type[ProviderError]) -> None:
    async with open_anthropic(settings(upstream, read_timeout=0.2)) as provider:
        upstream.play(*steps, headers=JSON)
        with pytest.raises(kind) as caught:
            await provider.models()
        assert type(caught.value) is kind
        await healthy(provider, upstream)


async def test_a_list_that_goes_on_and_on(
    provider: AnthropicProvider, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provider_module, "_MOST_PAGES", 3)
    for _ in range(3):
        upstream.play(orjson.dumps({"data": [{"id": "a"}], "has_more": True, "last_id": "a"}), headers=JSON)
    with pytest.raises(ProviderError, match="too long"):
        await provider.models()
    monkeypatch.setattr(provider_module, "_LISTING", 1000)
    upstream.play(b"[" + b" " * 1001, Hang, headers=JSON)
    with pytest.raises(ProviderError, match="too long"):
        await provider.models()
    await upstream.left.wait()
