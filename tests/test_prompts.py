"""What of a stored tree reaches a model, and answers whose id a client has taken."""

from __future__ import annotations

import asyncio

from backchat.domain.message import Foreign, Part, Reasoning, Role, Text, ToolCall, ToolResult
from backchat.services.trees import NewMessage
from backchat.testing.provider import ScriptedProvider
from nodes import ANN, SlowStore, node


async def test_what_an_import_kept_and_a_service_would_refuse() -> None:
    provider = ScriptedProvider(["ok"])
    said: list[tuple[Role, tuple[Part, ...]]] = [
        ("user", (Text("Weather?"), Foreign({"type": "video_url"}))),
        ("assistant", (ToolCall("c1", "weather", "{}"), ToolResult("c1", "rain"), Text("It rains."))),
        ("user", (Text(""),)),
        ("assistant", (Foreign({"type": "activity_label"}),)),
        ("assistant", (Reasoning("hm"),)),
    ]
    async with node(SlowStore(), provider) as one:
        first = None
        for role, parts in said:
            new = NewMessage(role=role, parts=parts, parent=first.id if first else None)
            if first is None:
                first = await one.services.trees.begin(ANN, new, temporary=False, channel="web")
            else:
                first = await one.services.trees.put(ANN, first.conversation, new)
        assert first is not None
        run = await one.say("And now?", conversation=first.conversation)
        await one.runs.result(ANN, run.id)
        (request,) = provider.requests
        assert [(m.role, m.parts) for m in request.messages] == [
            ("user", (Text("Weather?"),)),
            ("assistant", (Text("It rains."),)),
            ("user", (Text("And now?"),)),
        ]
        kept = await one.services.trees.whole(ANN, first.conversation)
        assert [m.parts for m in kept[:5]] == [parts for _, parts in said]


async def test_an_answer_whose_id_somebody_has_taken() -> None:
    go = asyncio.Event()
    async with node(SlowStore(), ScriptedProvider(["Hel", go, "lo"])) as one:
        run = await one.say("Hi")
        taken = NewMessage(id=run.answer, parts=(Text("mine"),))
        await one.services.trees.begin(ANN, taken, temporary=False, channel="web")
        go.set()
        async with asyncio.timeout(10):
            ended, answer = await one.runs.result(ANN, run.id)
        assert answer is not None
        assert (ended.status, ended.answer, answer.text) == ("completed", answer.id, "Hello")
        assert answer.id != run.answer
        assert [m.text for m in await one.services.trees.whole(ANN, run.conversation)] == ["Hi", "Hello"]
