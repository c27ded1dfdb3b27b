"""Usage is booked to the token, whatever becomes of a run; the large version is ``python -m bench.soak ledger``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from backchat.domain.message import Text, ToolCall, ToolResult
from backchat.ports.providers import ModelRequest, PromptMessage
from backchat.services.estimates import tokens_asked
from backchat_openai.body import body
from backchat_openai.settings import OPENAI, SettingsSchema
from bench.counting import Asked, CountingUpstream, tokens
from bench.soak.ledger import differences, outcome


@pytest.mark.timeout(240)
async def test_what_is_booked_is_what_the_model_service_counted(tmp_path: Path) -> None:
    found = await outcome(tmp_path, runs=90, deaths=("kill",), seats=6)
    assert found.faults == []
    assert found.runs >= 90
    assert found.refused > 0
    assert found.upstream.estimated > 20
    assert found.store == found.upstream
    assert found.command == found.upstream
    assert found.total == found.upstream.cost


def test_the_model_service_counts_a_prompt_as_the_server_estimates_it() -> None:
    call, result = ToolCall("call_1", "calculate", '{"expression": "6*7"}'), ToolResult("call_1", "42")
    said: list[PromptMessage] = [
        PromptMessage("user", (Text("How much is it?"),)),
        PromptMessage("assistant", (Text("Let me see"), call)),
        PromptMessage("tool", (result,)),
    ]
    settings = SettingsSchema(OPENAI).load({"model": "m", "base_url": "http://127.0.0.1:1/v1"})
    for length in range(8):
        request = ModelRequest(messages=said, system="s" * length)
        assert tokens_asked(request) == tokens(body(request, settings)["messages"])


def test_a_wrong_booking_is_noticed() -> None:
    whole, cut = Asked("a", 10, 5, state="ended"), Asked("b", 20, 3, state="cut")
    upstream = CountingUpstream(calls=[whole, cut])
    right = [_record(10, 5, estimated=False), _record(20, 3, estimated=True)]
    assert differences(upstream, right) == []
    assert len(differences(upstream, right[:1])) == 1
    assert len(differences(upstream, [*right, right[1]])) == 1
    assert len(differences(upstream, [right[0], _record(20, 4, estimated=True)])) == 2
    assert len(differences(upstream, [right[0], _record(20, 3, estimated=False)])) == 2


def _record(sent: int, said: int, *, estimated: bool) -> dict[str, Any]:
    return {"usage": {"input": sent, "output": said}, "estimated": estimated}
