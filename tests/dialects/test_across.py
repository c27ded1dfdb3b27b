"""A conversation belongs to no dialect: written in one, it is read in every other and goes on in any."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest

from backchat.plugins import Plugins
from backchat.testing.plugin import Serve
from backchat.testing.provider import ScriptedProvider
from backchat.testing.server import Box
from drivers import APART, DRIVERS
from sdk_cases import read
from threads_box import WEATHER, ask, sdk

TRIPLES = [t for t in product(DRIVERS, repeat=3) if t[0] != t[1] or len(DRIVERS) == 1]


@pytest.mark.parametrize(("first", "second", "third"), TRIPLES, ids=["-".join(t) for t in TRIPLES])
async def test_written_here_read_there_and_continued_elsewhere(
    serve: Serve, first: str, second: str, third: str
) -> None:
    provider = ScriptedProvider(["one"], ["two"], ["three"], ["four"])
    config = {"providers": {"scripted": {"use": "scripted"}}, "dialects": sorted(DRIVERS)}
    box = await serve(config, [provider])
    a, b, c, ann = DRIVERS[first], DRIVERS[second], DRIVERS[third], await box.key()
    other, _ = await a.say(box, ann, "something else", None)
    id, _ = await a.stream(box, ann, "said first", None)
    assert await b.browse(box, ann) == [id, other]
    written = [("user", "said first"), ("assistant", "two")]
    assert await b.read(box, ann, id) == written
    assert await c.say(box, ann, "said next", id) == (id, "three")
    assert await b.stream(box, ann, "said last", id) == (id, "four")
    whole = [*written, ("user", "said next"), ("assistant", "three"), ("user", "said last"), ("assistant", "four")]
    for driver in (a, b, c):
        assert await driver.read(box, ann, id) == whole
        assert await driver.browse(box, ann) == [id, other]
    seen = ["".join(getattr(p, "text", "") for p in m.parts) for m in provider.requests[-1].messages]
    assert seen == [text for _, text in whole[:-1]], "the model saw all of it"
    await c.delete(box, ann, other)
    for driver in (a, b):
        assert await driver.browse(box, ann) == [id]


def test_every_dialect_takes_part() -> None:
    assert {name for triple in TRIPLES for name in triple} == set(Plugins(from_entry_points=True).dialects) - APART


# ---- what only one of them can write --------------------------------------------------------------------------------


async def test_a_chat_gets_an_assistant_when_threads_goes_on_with_it(box: Box, tmp_path: Any) -> None:
    ann = await box.key()
    chat, threads = DRIVERS["chat"], DRIVERS["threads"]
    id, _ = await chat.say(box, ann, "Hello", None)
    (tmp_path / "key.txt").write_text("The key is under the mat.")
    async with sdk(box) as client:
        (thread,) = await client.list_threads()
        assert str(thread.thread_id) == id
        await read(client, await client.upload_document_to_thread(id, tmp_path / "key.txt"))
        _, reply = await chat.say(box, ann, "Where is the key?", id)
        assert "under the mat" in reply
        said = await client.add_message(id, "Where is the key?")
        assert said.assistant_id == (await client.send_message("Hi")).assistant_id, "the default one"
        assert "under the mat" in said.content
        assert [str(t.thread_id) for t in await client.list_threads_for_assistant(said.assistant_id)][1:] == [id]
    assert len(await threads.read(box, ann, id)) == 6


async def test_tool_rounds_are_not_part_of_a_chat(serve: Serve) -> None:
    box = await serve()
    ann = await box.key()
    body = {"content": "What is the weather in Oslo?", "tools": [WEATHER]}
    _, asked = await ask(box, "POST", "/threads/messages", ann, json=body)
    assert asked["status"] == "REQUIRES_ACTION"
    outputs = [{"tool_call_id": asked["tool_calls"][0]["id"], "output": "cold"}]
    body = {"thread_id": asked["thread_id"], "tool_outputs": outputs}
    _, done = await ask(box, "POST", "/threads/tool-outputs", ann, json=body)
    shown = await DRIVERS["chat"].read(box, ann, asked["thread_id"])
    assert [role for role, _ in shown] == ["user", "assistant"]
    assert shown[-1] == ("assistant", done["content"])


async def test_a_chat_message_ends_a_waiting_run(serve: Serve) -> None:
    box = await serve()
    ann = await box.key()
    body = {"content": "What is the weather in Oslo?", "tools": [WEATHER]}
    _, asked = await ask(box, "POST", "/threads/messages", ann, json=body)
    _, reply = await DRIVERS["chat"].say(box, ann, "Forget it", asked["thread_id"])
    assert reply == "Forget it"
    _, thread = await ask(box, "GET", f"/threads/{asked['thread_id']}", ann)
    assert [m["status"] for m in thread["messages"]] == ["COMPLETED", "CANCELLED", "COMPLETED", "COMPLETED"]
