"""Tool rounds: calls handed out, outputs handed in, in every order a client may think of."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from backchat.domain.message import ToolCall, ToolResult
from backchat.domain.run import ReasoningDelta
from backchat.testing.plugin import Serve
from backchat.testing.provider import ScriptedProvider
from backchat.testing.server import running
from backchat.testing.storages import Storage
from threads_box import THREADS, WEATHER, ask, drain, exceptions, literal, scripted, sdk, text, types

OSLO = ToolCall("call-1", "get_current_weather", '{"location": "Oslo"}')
ROME = ToolCall("call-2", "get_current_weather", '{"location": "Rome"}')
OUT = [{"tool_call_id": "call-1", "output": "cold"}, {"tool_call_id": "call-2", "output": "warm"}]


def results(provider: ScriptedProvider) -> list[tuple[str, str]]:
    """The tool results that ended the latest prompt."""
    parts = [p for m in provider.requests[-1].messages for p in m.parts if isinstance(p, ToolResult)]
    return [(p.call, p.content) for p in parts]


async def test_parallel_calls_in_one_piece(serve: Serve) -> None:
    provider = ScriptedProvider(["Let me see. ", OSLO, ROME], ["Cold and warm."])
    box = await serve(*scripted(provider))
    async with sdk(box) as client:
        asked = await client.send_message("Weather?", tools=[WEATHER], system_prompt="Mine.", thinking={})
        assert (asked.status, asked.content) == ("REQUIRES_ACTION", "Let me see. ")
        assert [(c.id, c.type, c.function.parsed_arguments["location"]) for c in asked.tool_calls] == [
            ("call-1", "function", "Oslo"),
            ("call-2", "function", "Rome"),
        ]
        thread = await client.get_thread(asked.thread_id)
        assert [(m.role, m.status) for m in thread.messages] == [
            ("user", "COMPLETED"),
            ("assistant", "REQUIRES_ACTION"),
        ]
        done = await client.submit_tool_outputs(asked.thread_id, asked.run_id, OUT[::-1])
        assert (done.status, done.content, done.tool_calls) == ("COMPLETED", "Cold and warm.", None)
        assert results(provider) == [("call-1", "cold"), ("call-2", "warm")], "in the order of the calls"
        again = provider.requests[1]
        assert (again.system, again.reasoning, len(again.tools)) == ("Mine.", "medium", 1), "the turn's own settings"
        thread = await client.get_thread(asked.thread_id)
        assert [(m.role, m.content) for m in thread.messages] == [
            ("user", "Weather?"),
            ("assistant", "Let me see. "),
            ("tool", "cold"),
            ("tool", "warm"),
            ("assistant", "Cold and warm."),
        ]


async def test_calls_without_words_have_no_content(serve: Serve) -> None:
    box = await serve(*scripted(ScriptedProvider([OSLO])))
    async with sdk(box) as client:
        asked = await client.send_message("Weather?", tools=[WEATHER])
        assert asked.content is None
        assert (await client.get_thread(asked.thread_id)).messages[-1].content is None


async def test_outputs_from_inside_the_open_stream(serve: Serve) -> None:
    provider = ScriptedProvider(["Hm. ", OSLO, ROME], ["Cold ", "and warm."])
    box = await serve(*scripted(provider))
    async with sdk(box) as client:
        seen: list[str] = []
        async for event in await client.send_message("Weather?", tools=[WEATHER], stream=True):
            seen.append(event["type"])
            if event["type"] == "tool_submit_required":
                assert [json.loads(c["function"]["arguments"]) for c in event["tool_calls"]] == [
                    {"location": "Oslo"},
                    {"location": "Rome"},
                ]
                inner = await drain(client.submit_tool_outputs(event["thread_id"], event["run_id"], OUT, stream=True))
        assert seen == ["run_started", "content_streaming", "tool_submit_required"], "and nothing after it"
        assert types(inner)[0] == "run_started"
        assert types(inner)[-2:] == ["message_complete", "run_ended"]
        assert text(inner) == inner[-2]["content"] == "Cold and warm."
        assert {e["run_id"] for e in inner} == {event["run_id"]}


async def test_round_after_round(serve: Serve) -> None:
    provider = literal([OSLO], [ROME], ["Done."])
    box = await serve(*scripted(provider))
    async with sdk(box) as client:
        asked = await client.send_message("Weather?", tools=[WEATHER], memory="Auto")
        assert asked.messages[-1]["memory_operation_id"] is None
        more = await client.submit_tool_outputs(asked.thread_id, asked.run_id, OUT[:1])
        assert (more.status, more.run_id, more.tool_calls[0].id) == ("REQUIRES_ACTION", asked.run_id, "call-2")
        events = await drain(client.submit_tool_outputs_simple(asked.thread_id, OUT[1:], stream=True))
        assert text(events) == "Done."
        assert events[-1]["memory_operation_id"] == asked.run_id
        assert (await client.get_memory_operation_status(asked.run_id)).operation_id == asked.run_id


@pytest.mark.parametrize(
    ("outputs", "detail"),
    [
        ([], "no output for the tool call 'call-1', 'call-2'"),
        (OUT[:1], "no output for the tool call 'call-2'"),
        ([*OUT, OUT[0]], "two outputs for the tool call 'call-1'"),
        ([*OUT, {"tool_call_id": "call-3", "output": "x"}], "no tool call of this run has the id 'call-3'"),
    ],
)
async def test_outputs_that_do_not_match(serve: Serve, outputs: list[dict[str, str]], detail: str) -> None:
    box = await serve(*scripted(ScriptedProvider([OSLO, ROME], ["Done."])))
    async with sdk(box) as client:
        asked = await client.send_message("Weather?", tools=[WEATHER])
        for submit in (
            client.submit_tool_outputs(asked.thread_id, asked.run_id, outputs),
            client.submit_tool_outputs_simple(asked.thread_id, outputs),
            drain(client.submit_tool_outputs(asked.thread_id, asked.run_id, outputs, stream=True)),
        ):
            with pytest.raises(exceptions.BackboardValidationError) as refused:
                await submit
            assert str(refused.value) in (f"tool_outputs: {detail}", "HTTP 400: <no body>")
        done = await client.submit_tool_outputs(asked.thread_id, asked.run_id, OUT)
        assert done.content == "Done.", "it waits for the right ones all the same"


async def test_runs_that_do_not_wait(serve: Serve) -> None:
    box = await serve(*scripted(ScriptedProvider([OSLO], ["Done."])))
    async with sdk(box) as client:
        asked = await client.send_message("Weather?", tools=[WEATHER])
        other = await client.create_thread((await client.create_assistant(name="a")).assistant_id)
        for thread, run in (
            (asked.thread_id, "nothing"),
            ("nowhere", asked.run_id),
            (other.thread_id, asked.run_id),
        ):
            with pytest.raises(exceptions.BackboardNotFoundError):
                await client.submit_tool_outputs(thread, run, OUT[:1])
        with pytest.raises(exceptions.BackboardValidationError, match="no run of this thread waits"):
            await client.submit_tool_outputs_simple(other.thread_id, OUT[:1])
        await client.submit_tool_outputs(asked.thread_id, asked.run_id, OUT[:1])
        with pytest.raises(exceptions.BackboardValidationError, match="does not wait for tool outputs"):
            await client.submit_tool_outputs(asked.thread_id, asked.run_id, OUT[:1])
    status, body = await ask(
        box, "POST", f"/threads/{asked.thread_id}/runs/{asked.run_id}/submit-tool-outputs", await box.key(), json={}
    )
    assert (status, body["detail"][0]["loc"]) == (422, ["body", "tool_outputs"])


async def test_a_new_message_cancels_a_waiting_run(serve: Serve) -> None:
    box = await serve(*scripted(ScriptedProvider([OSLO], ["Never mind."])))
    async with sdk(box) as client:
        asked = await client.send_message("Weather?", tools=[WEATHER])
        said = await client.send_message("Forget it", thread_id=asked.thread_id)
        assert said.content == "Never mind."
        with pytest.raises(exceptions.BackboardValidationError, match="cancelled"):
            await client.submit_tool_outputs(asked.thread_id, asked.run_id, OUT[:1])
        assert (await client.cancel_run(asked.thread_id, asked.run_id))["cancelled"] is True
        thread = await client.get_thread(asked.thread_id)
        assert [(m.role, m.status) for m in thread.messages] == [
            ("user", "COMPLETED"),
            ("assistant", "CANCELLED"),
            ("user", "COMPLETED"),
            ("assistant", "COMPLETED"),
        ]


async def test_a_note_on_a_waiting_thread(serve: Serve) -> None:
    box = await serve(*scripted(ScriptedProvider([OSLO], ["Done."])))
    async with sdk(box) as client:
        asked = await client.send_message("Weather?", tools=[WEATHER])
        await client.send_message("By the way", thread_id=asked.thread_id, send_to_llm="false")
        with pytest.raises(exceptions.BackboardValidationError):
            await client.submit_tool_outputs_simple(asked.thread_id, OUT[:1])
        assert (await client.send_message("So?", thread_id=asked.thread_id)).content == "Done."


async def test_a_cancelled_run_takes_no_outputs(serve: Serve) -> None:
    box = await serve(*scripted(ScriptedProvider([OSLO], ["Done."])))
    async with sdk(box) as client:
        asked = await client.send_message("Weather?", tools=[WEATHER])
        assert (await client.cancel_run(asked.thread_id, asked.run_id))["cancelled"] is True
        with pytest.raises(exceptions.BackboardValidationError, match="cancelled"):
            await client.submit_tool_outputs(asked.thread_id, asked.run_id, OUT[:1])


async def test_tools_and_thinking_of_the_rest(serve: Serve) -> None:
    provider = ScriptedProvider([OSLO], [ReasoningDelta("hm"), "Done."])
    box = await serve(*scripted(provider))
    other = {"type": "function", "function": {"name": "other", "parameters": {}}}
    async with sdk(box) as client:
        asked = await client.send_message("Weather?", tools=[WEATHER])
        with pytest.raises(exceptions.BackboardValidationError, match=r"^tools.0.function.parameters: "):
            await client.submit_tool_outputs(
                asked.thread_id, asked.run_id, OUT[:1], tools=[{"function": {"name": "other"}}]
            )
        done = await client.submit_tool_outputs(
            asked.thread_id, asked.run_id, OUT[:1], tools=[other], thinking={"effort": "low"}
        )
        assert done.reasoning == "hm"
        assert ([t.name for t in provider.requests[1].tools], provider.requests[1].reasoning) == (["other"], "low")


async def test_outputs_need_not_be_text(serve: Serve) -> None:
    provider = ScriptedProvider([OSLO], ["Done."])
    box = await serve(*scripted(provider))
    ann = await box.key()
    _, asked = await ask(box, "POST", "/threads/messages", ann, json={"content": "Weather?", "tools": [WEATHER]})
    outputs = [{"tool_call_id": "call-1", "output": {"é": [1, None]}, "more": "keys"}]
    body = {"thread_id": asked["thread_id"], "tool_outputs": outputs}
    status, _ = await ask(box, "POST", "/threads/tool-outputs", ann, json=body)
    assert status == 200
    assert results(provider) == [("call-1", '{"é":[1,null]}')]


async def test_a_restart_between_the_calls_and_the_outputs(tmp_path: Path, storage: Storage) -> None:
    first = literal([OSLO, ROME])
    async with running(tmp_path, *scripted(first), storage=storage) as box:
        who = await box.key()
        body = {"content": "Weather?", "tools": [WEATHER], "system_prompt": "Mine.", "memory": "Auto"}
        _, asked = await ask(box, "POST", "/threads/messages", who, json=body)
        assert asked["status"] == "REQUIRES_ACTION"
    second = literal(["Cold and warm."])
    async with running(tmp_path, *scripted(second), storage=storage) as box:
        _, thread = await ask(box, "GET", f"/threads/{asked['thread_id']}", who)
        assert thread["messages"][-1]["status"] == "REQUIRES_ACTION"
        path = f"/threads/{asked['thread_id']}/runs/{asked['run_id']}/submit-tool-outputs"
        status, done = await ask(box, "POST", path, who, json={"tool_outputs": OUT})
        assert (status, done["content"], done["run_id"]) == (200, "Cold and warm.", asked["run_id"])
        assert done["memory_operation_id"] == asked["run_id"]
    assert results(second) == [("call-1", "cold"), ("call-2", "warm")]
    assert (second.requests[0].system, [t.name for t in second.requests[0].tools]) == ("Mine.", ["get_current_weather"])


async def test_the_arguments_fit_the_schema(serve: Serve) -> None:
    """The page promises that required parameters are guaranteed."""
    bare = ToolCall("call-0", "get_current_weather", "{}")
    broken = ToolCall("call-1", "get_current_weather", "{'location': 'Oslo',}")
    provider = ScriptedProvider([bare], [broken], ["Done."])
    box = await serve(*scripted(provider))
    async with sdk(box) as client:
        asked = await client.send_message("Weather?", tools=[WEATHER])
        assert [(c.id, c.function.parsed_arguments) for c in asked.tool_calls] == [("call-1", {"location": "Oslo"})]


async def test_echo_calls_what_the_text_names(serve: Serve) -> None:
    box = await serve(THREADS)
    async with sdk(box) as client:
        for number in range(2):  # the same question again is another call
            asked = await client.send_message("What is the weather in Oslo?", tools=[WEATHER])
            thread = asked.thread_id
            for _ in range(2):
                (call,) = asked.tool_calls
                done = await client.submit_tool_outputs(
                    thread, asked.run_id, [{"tool_call_id": call.id, "output": f"{number} degrees"}]
                )
                assert f"{number} degrees" in done.content
                asked = await client.send_message("What is the weather in Oslo?", thread_id=thread, tools=[WEATHER])
                assert asked.tool_calls[0].id != call.id
