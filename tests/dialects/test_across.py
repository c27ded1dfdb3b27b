"""What only one dialect can write, in another. What all can do, the kit has: ``backchat/testing/conformance``."""

from __future__ import annotations

from typing import Any

from backchat.plugins import Plugins
from backchat.testing.conformance.drivers import APART, DRIVERS
from backchat.testing.plugin import Serve
from backchat.testing.server import Box
from sdk_cases import read
from threads_box import WEATHER, ask, sdk


def test_every_dialect_is_in_the_kit() -> None:
    """A dialect joins its story by giving a driver."""
    assert set(DRIVERS) == set(Plugins(from_entry_points=True).dialects) - APART


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
