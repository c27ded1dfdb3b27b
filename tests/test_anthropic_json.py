"""JSON output of the ``anthropic`` provider."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from anthropic_events import answer, done, start
from anthropic_trials import settings
from anthropic_upstream import Upstream, serve
from backchat.domain.message import ToolCall
from backchat.errors import ProviderError
from backchat.testing.provider import WEATHER, ask, collect, said
from backchat_anthropic.objects import ObjectText
from backchat_anthropic.provider import open_anthropic


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with serve() as upstream:
        yield upstream
        assert upstream.problems == []


@pytest.mark.parametrize(
    ("pieces", "heard"),
    [
        (['{"a": 1}'], '{"a": 1}'),
        (["Here:\n```json\n{", '"a": {"b": "}\\"{"', "}}", "\n```\nThat's {it}."], '{"a": {"b": "}\\"{"}}'),
        (['{"a": "\\', '"}"}', "}"], '{"a": "\\"}"}'),
        (['{"a": "\\\\', '"}', "}"], '{"a": "\\\\"}'),
        (["  ", "{", "}", "  "], "{}"),
    ],
)
async def test_a_json_object_is_taken_out_of_what_is_said(upstream: Upstream, pieces: list[str], heard: str) -> None:
    for cut in (pieces, ["".join(pieces)], list("".join(pieces))):
        upstream.play(*answer(*cut))
        async with open_anthropic(settings(upstream)) as provider:
            assert said(await collect(provider, replace(ask("?"), json_output=True))) == heard
    assert "JSON object" in upstream.bodies[0]["system"][-1]["text"]


OBJECTS = [r'{"a": "\"}"}', r'{"a\\": {"\\\"{": {}}}', '{"a": ["}"]}']


@pytest.mark.parametrize("text", OBJECTS)
def test_an_object_is_found_wherever_the_text_is_cut(text: str) -> None:
    said = f"So: {text}}} or so."
    for cut in range(1, len(said)):
        found = ObjectText()
        assert found.feed(said[:cut]) + found.feed(said[cut:]) == text, cut
        found.check()


@pytest.mark.parametrize("text", ["I'd rather not.", '{"a": 1', "{a}", '["a"]', ""])
async def test_no_json_object_is_an_error(upstream: Upstream, text: str) -> None:
    upstream.play(*answer(text))
    with pytest.raises(ProviderError, match="did not answer with a JSON object"):
        async with open_anthropic(settings(upstream)) as provider:
            await collect(provider, replace(ask("?"), json_output=True))


async def test_json_output_goes_with_tools_and_thinking(upstream: Upstream) -> None:
    request = replace(ask("?", WEATHER), json_output=True, reasoning="low")
    async with open_anthropic(settings(upstream)) as provider:
        assert any(isinstance(e, ToolCall) for e in await collect(provider, request))
    upstream.play(start(), *done("max_tokens"))
    async with open_anthropic(settings(upstream)) as provider:
        await collect(provider, request)  # cut short, and it says so itself
