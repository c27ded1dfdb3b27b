"""Conversations that begin with one model service and go on with any other one: each takes what the others have made.

The test upstreams hold every request against the types and rules that the vendors publish.
"""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest
from anthropic.types import Usage as TokensUsed

from anthropic_events import failure, start
from backchat.domain.message import Usage
from google_upstream import chunk
from pairs_made import Turn
from pairs_talk import ASK, SIDES, long_beginning, talk

pytestmark = pytest.mark.any_storage
PAIRS = list(permutations(SIDES, 2))
LOOK = ("look", {"what": "json"})


@pytest.mark.parametrize(("first", "second"), PAIRS)
async def test_a_conversation_goes_on_with_another_service_and_back(first: str, second: str) -> None:
    async with talk(first, second) as (t, a, b):
        await long_beginning(t, a)
        await t.say(b, "Go on.", Turn("I look. ", [LOOK, LOOK]), Turn("Two."), agent="none", reasoning="medium")
        await t.say(a, "And you?", Turn("", [LOOK]), Turn("Three."), agent="none", reasoning="low")


@pytest.mark.parametrize(("first", "second"), PAIRS)
async def test_another_service_goes_on_in_the_middle_of_a_reply(first: str, second: str) -> None:
    async with talk(first, second) as (t, a, b):
        asked = await t.say(
            a,
            "Hello",
            Turn("I look. ", [LOOK]),
            Turn("I ask. ", [("ask", {"question": "?"})]),
            agent="none",
            reasoning="high",
            tools=[ASK],
            takes_tools=True,
        )
        a.upstream.play(b'{"error": {"message": "down"}}', status=503)
        answer = await t.answer(b, asked, "yes", Turn("", [LOOK]), Turn("Done."))
        assert answer.metadata["tried"] == [{"provider": "A", "code": "provider_error"}]
        await t.say(b, "As JSON", Turn('{"done": true}'), json_output=True)
        await t.say(a, "Again", Turn("Yes."), reasoning="high")


@pytest.mark.parametrize(
    ("first", "steps", "told"),
    [
        (
            "anthropic-budget",
            [start(TokensUsed(input_tokens=70, output_tokens=1)), failure("overloaded_error", "Overloaded")],
            Usage(70, 1),
        ),
        (
            "gemini-3",
            [chunk(usage={"prompt_token_count": 70}), {"error": {"code": 503, "status": "UNAVAILABLE"}}],
            Usage(70, 0),
        ),
    ],
)
async def test_a_count_of_the_prompt_is_no_beginning_of_an_answer(first: str, steps: Any, told: Usage) -> None:
    """Who fails after it gives way to the next one, and what it has counted is booked."""
    async with talk(first, "chat") as (t, a, b):
        a.upstream.play(*steps)
        answer = await t.say(b, "Hello", Turn("Fine."), asked="A")
        booked = await t.one.booked()
    assert answer.metadata["tried"] == [{"provider": "A", "code": "provider_error"}]
    assert len(a.upstream.bodies) == 1
    assert [(u.provider, u.estimated) for u in booked] == [("A", True), ("B", True)]
    assert booked[0].usage == told
