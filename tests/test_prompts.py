"""What of a stored tree reaches a model, and answers whose id a client has taken."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import pytest

from backchat.domain.message import Foreign, Part, Reasoning, Role, Text, ToolCall, ToolResult
from backchat.errors import NoVision
from backchat.ports.providers import Abilities, ImageData, PromptPart
from backchat.services.trees import NewMessage
from backchat.testing.provider import ScriptedProvider
from backchat_openai.body import body
from backchat_openai.settings import OPENAI, SettingsSchema
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


ASKED: list[tuple[Role, tuple[Part, ...]]] = [
    ("user", (Text("Weather?"),)),
    ("assistant", (Text("I look."), ToolCall("c1", "weather", "{}"), ToolCall("c2", "wind", "{}"))),
    ("tool", (ToolResult("c1", "rain"),)),
    ("tool", (ToolResult("c2", "storm"),)),
    ("assistant", (Text("It rains."),)),
    ("user", (Text("And there?"),)),
    ("assistant", (ToolCall("c1", "weather", "{}"),)),
    ("tool", (ToolResult("c1", "sun"),)),
    ("assistant", (Text("The sun shines."),)),
]
FIRST, SECOND = {2: "c1", 3: "c2"}, {7: "c1"}


@pytest.mark.parametrize(
    ("deleted", "answered"),
    [
        ([], FIRST | SECOND),
        ([1], SECOND),
        ([2], {3: "c2"} | SECOND),
        ([1, 2], SECOND),
        ([6], FIRST),
        ([5, 6], FIRST),
        ([4, 5, 6], FIRST),
        ([1, 6], {}),
        ([2, 3, 6], {}),
    ],
)
async def test_what_deleting_messages_leaves_of_a_call_and_its_result(
    deleted: Sequence[int], answered: Mapping[int, str]
) -> None:
    """Services refuse a call without its result, and a result without its call."""
    provider = ScriptedProvider(["ok"])
    async with node(SlowStore(), provider) as one:
        trees = one.services.trees
        stored = [await trees.begin(ANN, NewMessage(parts=ASKED[0][1]), temporary=False, channel="web")]
        id = stored[0].conversation
        for role, parts in ASKED[1:]:
            stored.append(await trees.put(ANN, id, NewMessage(role=role, parts=parts, parent=stored[-1].id)))
        for n in deleted:
            await trees.remove(ANN, id, stored[n].id, splice=True)
        run = await one.say("More?", conversation=id)
        await one.runs.result(ANN, run.id)
        settings = SettingsSchema(OPENAI).load({"model": "m-1", "api_key": "sk-none"})
        sent = body(provider.requests[0], settings)["messages"]
    results = [(m["tool_call_id"], m["content"]) for m in sent if m["role"] == "tool"]
    told = {2: "rain", 3: "storm", 7: "sun"}
    assert results == [(call, told[n]) for n, call in answered.items()]
    texts = [
        part.text for n, (_, parts) in enumerate(ASKED) if n not in deleted for part in parts if type(part) is Text
    ]
    assert [m["content"] for m in sent if m["role"] != "tool" and m["content"]] == [*texts, "More?"]
    open_calls: set[str] = set()
    for message in sent:
        if message["role"] == "tool":
            open_calls.remove(message["tool_call_id"])
        else:
            assert not open_calls
            open_calls = {c["id"] for c in message.get("tool_calls", [])}


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


PNG, GIF = b"\x89PNG\r\n\x1a\n", b"GIF89a"


@pytest.mark.parametrize(
    ("declared", "data", "shown"),
    [
        ("image/png", PNG, ImageData("image/png", PNG)),
        ("image/jpeg", PNG, ImageData("image/png", PNG)),
        ("image/png", GIF, Text("[image: image/gif]")),
        ("image/tiff", b"II*\0", Text("[image: image/tiff]")),
    ],
)
async def test_an_image_is_what_its_bytes_say_and_is_shown_to_models_that_see_such(
    declared: str, data: bytes, shown: PromptPart
) -> None:
    """A service refuses the whole conversation for an image of another type than it says, or than it can read."""
    everything = ScriptedProvider(["nice"], name="everything")
    choosy = ScriptedProvider(["hm"], name="choosy", abilities=Abilities(image_types=frozenset({"image/png"})))
    async with node(SlowStore(), everything, choosy) as one:
        run = await one.say("Look", images=[ImageData(declared, data)])
        await one.runs.result(ANN, run.id)
        again = await one.say("Well?", conversation=run.conversation, provider="choosy")
        await one.runs.result(ANN, again.id)
        assert choosy.requests[0].messages[0].parts == (Text("Look"), shown)
        if not isinstance(shown, ImageData) and declared != "image/png":
            with pytest.raises(NoVision, match=declared):
                await one.say("Look", provider="choosy", images=[ImageData(declared, data)])


async def test_results_are_shown_in_the_order_of_their_calls() -> None:
    """They are stored as they came; Anthropic and Gemini refuse another order than that of the calls."""
    provider = ScriptedProvider(["ok"])
    calls = (ToolCall("c1", "a", "{}"), ToolCall("c2", "b", "{}"), ToolCall("c3", "c", "{}"))
    said: list[tuple[Role, tuple[Part, ...]]] = [
        ("user", (Text("Go"),)),
        ("assistant", calls),
        *[("tool", (ToolResult(id, f"of {id}"),)) for id in ("c3", "c1", "c2")],
        ("assistant", (Text("Done."),)),
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
    results = [p.call for m in provider.requests[0].messages for p in m.parts if isinstance(p, ToolResult)]
    assert results == ["c1", "c2", "c3"]
