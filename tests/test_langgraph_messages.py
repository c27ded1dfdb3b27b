"""Messages of a prompt as LangChain's, and back."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, ChatMessage, HumanMessage, ToolMessage

from backchat.domain.message import Reasoning, Text, ToolCall, ToolResult
from backchat.ports.providers import ImageData, PromptMessage, PromptPart
from backchat_langgraph.messages import calls_of, from_langchain, to_langchain

_texts = st.text(st.characters(codec="utf-8"), max_size=8)
_arguments = st.one_of(st.just("{}"), st.just('{"a": [1, {"b": null}]}'), _texts, st.just("[1]"))
_plain = st.one_of(
    st.builds(Text, _texts),
    st.builds(ImageData, st.sampled_from(["image/png", "image/webp"]), st.binary(max_size=8)),
)
_said = st.one_of(
    st.builds(Text, _texts),
    st.builds(Reasoning, _texts),
    st.builds(ToolCall, st.text("abc", min_size=1, max_size=3), st.text("xyz", min_size=1, max_size=3), _arguments),
)


def _message(role: Any, parts: st.SearchStrategy[PromptPart]) -> st.SearchStrategy[PromptMessage]:
    return st.builds(PromptMessage, st.just(role), st.lists(parts, max_size=4).map(tuple))


@given(
    st.one_of(
        _message("user", _plain),
        _message("system", st.builds(Text, _texts)),
        _message("assistant", _said),
        st.builds(PromptMessage, st.just("tool"), st.tuples(st.builds(ToolResult, _texts, _texts))),
    )
)
def test_messages_come_back_as_they_went(message: PromptMessage) -> None:
    there = to_langchain(message)
    assert from_langchain(there) == message
    assert from_langchain(type(there).model_validate(there.model_dump())) == message
    if isinstance(there, AIMessage):
        calls = [part for part in message.parts if isinstance(part, ToolCall)]
        assert calls_of(there) == calls
        assert [(c["id"], c["name"]) for c in there.tool_calls] == [(c.id, c.name) for c in calls]
        assert all(isinstance(c["args"], dict) for c in there.tool_calls)


def test_reads_messages_that_others_made() -> None:
    said = AIMessage("Wait.", tool_calls=[{"id": "c1", "name": "look", "args": {"a": 1}}])
    assert from_langchain(said) == PromptMessage("assistant", (Text("Wait."), ToolCall("c1", "look", '{"a": 1}')))
    asked = HumanMessage(["one", {"type": "text", "text": "two"}])
    assert from_langchain(asked) == PromptMessage("user", (Text("one"), Text("two")))
    done = ToolMessage([{"type": "text", "text": "7"}], tool_call_id="c1")
    assert from_langchain(done) == PromptMessage("tool", (ToolResult("c1", "7"),))


def test_refuses_what_no_prompt_holds() -> None:
    for message in (
        HumanMessage([{"type": "audio", "base64": "secret"}]),
        ChatMessage(content="secret", role="critic"),
    ):
        with pytest.raises(ValueError, match="no prompt holds") as caught:
            from_langchain(message)
        assert "secret" not in str(caught.value)
    with pytest.raises(ValueError, match="one result"):
        to_langchain(PromptMessage("tool", (ToolResult("a", "1"), ToolResult("b", "2"))))
