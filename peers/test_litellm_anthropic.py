"""The ``anthropic`` provider against LiteLLM's proxy."""

from __future__ import annotations

from faces import LITELLM, MESSAGES
from litellm_suite import SEA, FaceContract, FaceSuite

from backchat.domain.message import Text
from backchat.ports.providers import Finish, ModelRequest, PromptMessage
from backchat.testing.provider import ask, collect, said


class TestFace(FaceSuite):
    face = MESSAGES
    opening = 500

    async def test_json_is_asked_for(self) -> None:
        """In words: this protocol has no field for it."""
        message = PromptMessage("user", (Text("Data, please."),))
        seen = await self.mirrored(ModelRequest(messages=[message], json_output=True))
        assert "JSON object" in str(seen["messages"][0])

    async def test_an_answer_that_is_not_streamed(self) -> None:
        """LiteLLM answers so for its own mocks, though a stream was asked for."""
        async with self.face.opened(LITELLM, "unstreamed") as provider:
            events = await collect(provider, ask("Tell me of the sea."))
        assert said(events) == SEA
        assert events[-1] == Finish("stop")


class TestContract(FaceContract):
    face = MESSAGES
