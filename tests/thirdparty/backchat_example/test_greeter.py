"""The plugin keeps the contract of its port, and answers over HTTP."""

import pytest
from backchat_example import SETTINGS, open_greeter

from backchat.testing.provider import ProviderContract


class TestGreeter(ProviderContract):
    @pytest.fixture
    async def provider(self):
        async with open_greeter(SETTINGS.load({})) as greeter:
            yield greeter

    def expected(self, request):
        return f"Hello! You said: {request.messages[-1].parts[0].text}"


async def test_it_answers_in_the_chat_dialect(serve):
    box = await serve({"providers": {"me": {"use": "greeter", "greeting": "Ahoy"}}})
    answer = await box.client.post("/api/chat", json={"text": "It works."}, headers=await box.key())
    assert (await answer.json())["reply"] == "Ahoy! You said: It works."


async def test_it_speaks_plain_text(serve):
    box = await serve({"providers": {"me": {"use": "greeter"}}, "dialects": ["plain"]})
    who = await box.key()
    answer = await box.client.post("/plain/say", data="It works.", headers=who)
    assert await answer.text() == "Hello! You said: It works."
    assert (await box.client.post("/plain/say", data="x")).status == 401
