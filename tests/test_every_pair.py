"""Conversations that begin with one model service and go on with any other one: each takes what the others have made.

The test upstreams hold every request against the types and rules that the vendors publish.
"""

from __future__ import annotations

from itertools import permutations

import pytest

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
        await t.say(a, "Again", Turn("Yes."), reasoning="high")
