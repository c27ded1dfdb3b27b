"""Chatbot UI's exports."""

from __future__ import annotations

import io
from typing import Any

from backchat.domain.message import Foreign, Text
from backchat.ports.importing import SourceConversation, Unreadable
from backchat_importers.chatbotui import ChatbotUI
from imports_made import chatbotui_conversation, dumped, good_files


def read(value: Any) -> list[SourceConversation | Unreadable]:
    return list(ChatbotUI().read(io.BytesIO(dumped(value))))


def conversation(**more: Any) -> SourceConversation:
    (found,) = read({"version": 4, "history": [chatbotui_conversation(**more)], "folders": []})
    assert isinstance(found, SourceConversation)
    return found


def test_all_versions_are_the_same() -> None:
    files = {name: list(ChatbotUI().read(io.BytesIO(data))) for name, data in good_files()["chatbotui"].items()}
    assert files["1"] == files["2"]
    assert files["3"] == files["4"] == files["1"][:1] == [conversation()]


def test_the_messages_follow_each_other() -> None:
    found = conversation()
    assert [(m.id, m.parent, m.role, m.model) for m in found.messages] == [
        ("#1", None, "user", None),
        ("#2", "#1", "assistant", "gpt-3.5-turbo"),
        ("#3", "#2", "user", None),
    ]
    assert [m.parts for m in found.messages] == [
        (Text("How long?"),),
        (Text("40 minutes"),),
        (Text("And now?"), Foreign({"type": "image_url", "image_url": {}})),
    ]
    assert [m.extra["sender"] for m in found.messages] == ["user", "GPT-3.5", "user"]
    assert {m.created_at for m in found.messages} == {None}


def test_the_conversation() -> None:
    found = conversation()
    assert (found.id, found.title, found.created_at) == ("cb-1", "Bread", None)
    assert found.options == {
        "endpoint": "openAI",
        "model": "gpt-3.5-turbo",
        "promptPrefix": "You are a baker.",
        "temperature": 0.5,
        "folderId": "folder-2",
        "otherMessages": [{"place": 0, "message": {"role": "system", "content": "Be a baker"}}],
    }
    other = conversation(id=2, name=None, model="gpt-4", messages=[{"role": "assistant"}, 5, None])
    assert (other.id, other.title, other.options["model"]) == ("2", None, "gpt-4")
    assert [m.parts for m in other.messages] == [()]


def test_what_is_none() -> None:
    found = read({"version": 4, "history": [5, {"name": "Broken", "messages": None}, chatbotui_conversation()]})
    assert found[:2] == [
        Unreadable(None, "it is no JSON object"),
        Unreadable("Broken", "it has no array `messages`"),
    ]
    assert found[2] == conversation()
