"""What messages are made of: every field of a part comes back in it, and strangers see what was said only."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from backchat.testing.plugin import Serve
from convos_box import FREE, Convos, convos

CITED = {"value": "A word", "annotations": [{"type": "file_citation", "start_index": 0, "file_id": "secret-file"}]}
CONTENT: list[dict[str, Any]] = [
    {"type": "think", "think": "Hm.", "agentId": "secret-agent", "groupId": 2},
    {"type": "text", "text": "First", "tool_call_ids": ["secret-call"], "agentId": "secret-agent"},
    {
        "type": "tool_call",
        "tool_call": {
            "id": "secret-call",
            "type": "tool_call",
            "name": "map",
            "args": "{}",
            "output": "north",
            "progress": 1,
            "auth": "https://example.org/secret-login",
            "expires_at": 12,
        },
        "startedAt": 1700000000,
    },
    {"type": "agent_update", "agent_update": {"agentId": "secret-agent", "runId": "secret-run"}},
    {"type": "text", "text": CITED, "groupId": 3},
]


@pytest.fixture
async def ann(serve: Serve) -> Convos:
    return await convos(await serve(FREE))


async def answer(ann: Convos, *content: dict[str, Any], **more: Any) -> Any:
    return await ann.ok("POST", "/api/messages/new", json={"content": content, "isCreatedByUser": False, **more})


async def content(ann: Convos, conversation: str) -> Any:
    (message,) = await ann.messages(conversation)
    assert "contentFields" not in message
    return message["content"]


async def test_fields_of_parts(ann: Convos) -> None:
    made = await answer(ann, *CONTENT, sender="Mapper", contentFields={"0": {"made": "up"}})
    id = made["conversationId"]
    assert await content(ann, id) == made["content"] == CONTENT
    assert made["text"] == "First\nA word"
    lone = {"type": "text", "text": "alone", "agentId": "a"}
    assert (await answer(ann, lone))["content"] == [lone]
    (shown,) = await ann.messages(id)
    again = await ann.ok("POST", f"/api/messages/{id}", json=shown)
    assert again["content"] == CONTENT, "storing what was read changes nothing"


async def test_fields_of_parts_go_through_files(ann: Convos) -> None:
    id = (await answer(ann, *CONTENT))["conversationId"]
    for user, format in (("bob", "librechat"), ("carol", "backchat")):
        other = await convos(ann.box, user)
        status, file = await ann.get(f"/api/convos/{id}/export", format=format)
        assert status == 200
        assert (await other.upload(orjson.dumps(file)))[0] == 201
        ((found),) = (await other.ok("GET", "/api/convos"))["conversations"]
        assert await content(other, found["conversationId"]) == CONTENT, format


async def test_fields_of_parts_stay_where_they_are_in_edits(ann: Convos) -> None:
    made = await answer(ann, *CONTENT)
    path = f"/api/messages/{made['conversationId']}/{made['messageId']}"
    told = await ann.ok("PUT", path, json={"text": "Another word", "index": 4})
    last = {"type": "text", "text": "Another word", "groupId": 3}
    assert told["content"] == [*CONTENT[:4], last], "annotations of words that are gone are gone"
    told = await ann.ok("PUT", path, json={"text": "All"})
    assert told["content"] == [CONTENT[0], {**CONTENT[1], "text": "All"}, *CONTENT[2:4]]
    await ann.ok("POST", f"/api/messages/{made['conversationId']}", json={**made, "content": None, "text": "plain"})
    assert "content" not in (await ann.messages(made["conversationId"]))[0]


async def test_calls_of_one_id(ann: Convos) -> None:
    calls = [
        {
            "type": "tool_call",
            "tool_call": {"id": "c", "type": "tool_call", "name": n, "args": "{}", "output": n, "progress": 1},
        }
        for n in ("one", "two")
    ]
    waiting = {"type": "tool_call", "tool_call": {"id": "c", "type": "tool_call", "name": "none", "args": "{}"}}
    for parts in (calls, [waiting, *calls], [calls[0], waiting, calls[1]]):
        assert (await answer(ann, *parts))["content"] == parts


async def test_parts_of_elsewhere(ann: Convos) -> None:
    """ChatGPT's pictures have no ``type``, and null is what is missing."""
    picture = {"content_type": "image_asset_pointer", "asset_pointer": "file-service://x", "fovea": None}
    odd = {"what": 1}
    author = {"role": "user"}
    message = {"id": "m", "author": author, "content": {"content_type": "multimodal_text", "parts": [picture, odd]}}
    node: dict[str, Any] = {"id": "m", "message": message, "parent": None, "children": []}
    chat = {"title": "Birds", "conversation_id": "c", "create_time": 1700000000, "mapping": {"m": node}}
    assert (await ann.upload(orjson.dumps([{**chat, "otherMessages": 3}])))[0] == 201
    (item,) = (await ann.ok("GET", "/api/convos"))["conversations"]
    assert await content(ann, item["conversationId"]) == [
        {"type": "image_asset_pointer", "content_type": "image_asset_pointer", "asset_pointer": "file-service://x"},
        {"type": "unknown", "what": 1},
    ]
    url = "https://example.org/v"
    video = {"type": "video_url", "video_url": {"url": url, "title": None}, "agentId": None}
    assert (await answer(ann, video))["content"] == [{"type": "video_url", "video_url": {"url": url}}]


async def test_settings_that_only_exports_have(ann: Convos) -> None:
    file = {"conversationId": "x", "endpoint": "openAI", "options": {"hidden": [{"id": "n"}], "otherMessages": [1]}}
    message = {"messageId": "m", "text": "said", "isCreatedByUser": True}
    assert (await ann.upload(orjson.dumps({**file, "messages": [message]})))[0] == 201
    (item,) = (await ann.ok("GET", "/api/convos"))["conversations"]
    shown = await ann.ok("GET", f"/api/convos/{item['conversationId']}")
    assert not {"hidden", "otherMessages"} & set(shown)
    _, kept = await ann.get(f"/api/convos/{item['conversationId']}/export", format="backchat")
    assert kept["conversation"]["options"]["hidden"] == [{"id": "n"}]


# ---- what strangers see ---------------------------------------------------------------------------------------------

LINKS: list[dict[str, Any]] = [
    {"type": "image_url", "image_url": {"url": "/images/secret-user/1.png", "detail": "low"}},
    {"type": "image_url", "image_url": {"url": "https://example.org/1.png", "file_id": "secret-file"}},
    {"type": "image_url", "image_url": "data:image/png;base64,AAAA"},
    {"type": "image_file", "image_file": {"file_id": "secret-file", "filepath": "/images/secret", "width": 9}},
    {"type": "hologram", "hologram": {"id": "secret-id"}},
    {"content_type": "image_asset_pointer", "asset_pointer": "file-service://secret"},
    {"type": "error", "error": "It broke", "trace": "secret"},
]


async def test_what_strangers_see_of_parts(ann: Convos) -> None:
    names = {"model": "agent_secret", "iconURL": "/images/secret.png", "sender": "Mapper", "endpoint": "agents"}
    made = await answer(ann, *CONTENT, *LINKS, **names)
    icon = "https://example.org/icon.png"
    odd = {"iconURL": icon, "model": "gpt-4o", "sender": "GPT", "addedConvo": {"id": "secret"}}
    await ann.say("And?", made["conversationId"], parentMessageId=made["messageId"], **odd)
    link = await ann.ok("POST", f"/api/share/{made['conversationId']}", json={})
    nobody = Convos(ann.box, {})
    first, again = [await nobody.ok("GET", f"/api/share/{link['shareId']}") for _ in range(2)]
    assert "secret" not in orjson.dumps(first).decode()
    one, two = first["messages"]
    assert (two["iconURL"], two["model"], two["sender"]) == (icon, "gpt-4o", "GPT")
    assert (one["sender"], one["text"]) == ("Mapper", "First\nA word")
    agent, call = one["content"][0]["agentId"], one["content"][2]["tool_call"]["id"]
    assert one["content"] == [
        {"type": "think", "think": "Hm.", "agentId": agent, "groupId": 2},
        {"type": "text", "text": "First", "tool_call_ids": [call], "agentId": agent},
        {
            "type": "tool_call",
            "tool_call": {
                "id": call,
                "type": "tool_call",
                "name": "map",
                "args": "{}",
                "output": "north",
                "progress": 1,
            },
        },
        {"type": "text", "text": "A word", "groupId": 3},
        {"type": "image_url", "image_url": {"detail": "low"}},
        {"type": "image_url", "image_url": {"url": "https://example.org/1.png"}},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
        {"type": "image_file", "image_file": {"width": 9}},
        {"type": "error", "error": "It broke"},
    ]
    assert again["messages"][0]["content"][2]["tool_call"]["id"] != call, "other ids for every answer"
