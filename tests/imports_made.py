"""Exports of other products, made while the tests run: as they come, as they come when they are odd, and large."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

ZERO = "00000000-0000-0000-0000-000000000000"
CLAUDE_ROOT = "00000000-0000-4000-8000-000000000000"
EVENING = 1_718_000_000.0


def dumped(value: Any) -> bytes:
    return json.dumps(value).encode()


def librechat_message(id: str, parent: str | None, text: str, **more: Any) -> dict[str, Any]:
    by_user = more.pop("user", False)
    return {
        "messageId": id,
        "parentMessageId": parent or ZERO,
        "conversationId": "lc-1",
        "isCreatedByUser": by_user,
        "sender": "User" if by_user else "GPT-4o",
        "text": text,
        "model": None if by_user else "gpt-4o",
        "endpoint": "openAI",
        "createdAt": "2024-06-10T07:00:00.123Z",
        "updatedAt": "2024-06-10T07:00:01.000Z",
        "error": False,
        "unfinished": False,
    } | more


def librechat_flat(**more: Any) -> dict[str, Any]:
    """With a branch, structured content, files, and all that a message of LibreChat may have."""
    content = [
        {"type": "think", "think": "The user wants rivers."},
        {"type": "text", "text": {"value": "Looking it up.", "annotations": [{"type": "file_citation"}]}},
        {
            "type": "tool_call",
            "tool_call": {
                "id": "call_9",
                "type": "tool_call",
                "name": "search",
                "args": '{"q":"longest river"}',
                "output": "Nile, 6650 km",
                "progress": 1,
            },
        },
        {"type": "text", "text": "The Nile.", "agentId": "agent_7"},
        {"type": "image_file", "image_file": {"file_id": "f-1", "filepath": "/images/nile.png"}},
        {"type": "hologram", "frames": 3},
    ]
    return {
        "conversationId": "lc-1",
        "endpoint": "myGateway",
        "title": "Rivers",
        "exportAt": "10:21:00 GMT+0000",
        "branches": True,
        "recursive": False,
        "options": {
            "endpoint": "myGateway",
            "model": "gpt-4o-2024-05-13",
            "temperature": 0.3,
            "promptPrefix": "Answer briefly.",
            "maxContextTokens": "4095",
            "tags": ["geography", "geography", "", 7],
            "isArchived": True,
            "pinned": True,
            "isTemporary": True,
            "brandNewOption": {"deep": [1, 2]},
        },
        "messages": [
            librechat_message(
                "u1", None, "Longest river?", user=True, files=[{"file_id": "f-0", "filename": "map.pdf"}]
            ),
            librechat_message("a1", "u1", "", content=content, tokenCount=31, feedback={"rating": "thumbsUp"}),
            librechat_message("a1b", "u1", "The Amaz", unfinished=True, iconURL="https://x/y.png"),
            librechat_message("u2", "a1b", "Go on", user=True, createdAt="2024-06-10T07:05:00.000Z"),
            librechat_message("a2", "u2", "Something went wrong", error=True, finish_reason="length"),
        ],
    } | more


def librechat_tree(under: str = "messages", **more: Any) -> dict[str, Any]:
    """The same conversation by nesting; what the messages say of their parents is wrong, as it may be."""
    flat = librechat_flat()
    made = {m["messageId"]: m | {"children": [], "parentMessageId": "elsewhere"} for m in flat["messages"]}
    roots: list[dict[str, Any]] = []
    for message in flat.pop("messages"):
        parent = made.get(message["parentMessageId"])
        (roots if parent is None else parent["children"]).append(made[message["messageId"]])
    return flat | {"recursive": True, under: roots} | more


def librechat_deep(levels: int) -> bytes:
    """A chain of children, written by hand: ``json`` does not go so deep."""
    nodes = [
        f'{{"messageId":"m{n}","parentMessageId":"{ZERO}","isCreatedByUser":{"true" if n % 2 == 0 else "false"},'
        f'"sender":"User","text":"message {n}","children":['
        for n in range(levels)
    ]
    head = '{"conversationId":"deep","endpoint":"openAI","title":"Deep","recursive":true,"messages":['
    return (head + "".join(nodes) + "]}" * levels + "]}").encode()


def gpt_node(id: str, parent: str | None, role: str | None, content: Any = None, **more: Any) -> dict[str, Any]:
    """``more``: metadata, and fields of the message. Without a role a node without a message."""
    metadata = more.pop("metadata", {})
    message = {
        "id": id,
        "author": {"role": role, "name": more.pop("name", None), "metadata": {}},
        "create_time": more.pop("at", EVENING),
        "update_time": None,
        "content": {"content_type": "text", "parts": [content]} if type(content) is str else content,
        "status": "finished_successfully",
        "end_turn": None,
        "weight": 1.0,
        "metadata": metadata,
        "recipient": "all",
        "channel": None,
    } | more
    return {"id": id, "message": message if role else None, "parent": parent, "children": []}


def gpt_conversation(*nodes: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    mapping = {n["id"]: dict(n, children=[c["id"] for c in nodes if c["parent"] == n["id"]]) for n in nodes}
    return {
        "title": "Tides",
        "create_time": EVENING,
        "update_time": EVENING + 60,
        "mapping": mapping,
        "moderation_results": [],
        "current_node": nodes[-1]["id"] if nodes else None,
        "plugin_ids": None,
        "conversation_id": "gpt-1",
        "conversation_template_id": None,
        "gizmo_id": None,
        "is_archived": False,
        "is_starred": None,
        "safe_urls": [],
        "default_model_slug": "gpt-4o",
        "id": "gpt-1",
    } | more


def chatgpt_answers() -> dict[str, Any]:
    """One of everything: hidden instructions, thoughts, tools, images, sources, a second answer."""
    image = {"content_type": "image_asset_pointer", "asset_pointer": "file-service://file-9", "width": 640}
    cited = "Tides \U0001f30a come twice a day\u30104\u2020source\u3011."
    start = len("Tides \U0001f30a come twice a day".encode("utf-16-le")) // 2
    citation = {
        "start_ix": start,
        "end_ix": start + len("\u30104\u2020source\u3011"),
        "citation_format_type": "tether_og",
        "metadata": {"type": "webpage", "title": "Tides", "url": "https://tides.example/a"},
    }
    thoughts = [{"summary": "Recalling", "content": "The Moon pulls."}, {"summary": "", "content": "So does the Sun."}]
    instructions = {"content_type": "user_editable_context", "user_profile": "A sailor", "user_instructions": "Briefly"}
    return gpt_conversation(
        gpt_node("root", None, None),
        gpt_node("sys", "root", "system", "", weight=0.0, metadata={"is_visually_hidden_from_conversation": True}),
        gpt_node("ctx", "sys", "user", instructions, metadata={"is_visually_hidden_from_conversation": True}),
        gpt_node("u1", "ctx", "user", {"content_type": "multimodal_text", "parts": ["See", "this", image, "Tides?"]}),
        gpt_node("th", "u1", "assistant", {"content_type": "thoughts", "thoughts": thoughts}),
        gpt_node("rc", "th", "assistant", {"content_type": "reasoning_recap", "content": "Thought for 8 seconds"}),
        gpt_node(
            "a1",
            "rc",
            "assistant",
            cited,
            at=EVENING + 9.5,
            metadata={"model_slug": "gpt-4o", "citations": [citation], "finish_details": {"type": "stop"}},
        ),
        gpt_node("a1b", "ctx-gone", "assistant", "An orphan", at=None),
        gpt_node("u2", "a1", "user", "Plot them", metadata={"attachments": [{"id": "file-3", "name": "t.csv"}]}),
        gpt_node(
            "code",
            "u2",
            "assistant",
            {"content_type": "code", "language": "python", "text": "plot('```')"},
            recipient="python",
            metadata={"model_slug": "o3"},
        ),
        gpt_node("empty", "code", "assistant", {"content_type": "text", "parts": [""]}),
        gpt_node("out", "empty", "tool", {"content_type": "execution_output", "text": "line 1\nline 2"}, name="python"),
        gpt_node("quote", "out", "tool", {"content_type": "tether_quote", "url": "https://q", "text": "quoted"}),
        gpt_node("odd", "quote", "assistant", {"content_type": "super_widget", "widget": {"kind": "map"}}),
        gpt_node("a2", "odd", "assistant", "Half of it", status="in_progress", weight=0.0),
        gpt_node("end", "a2", "system", None),
    )


def claude_conversation(**more: Any) -> dict[str, Any]:
    def said(id: str, sender: str, text: str, second: int, **fields: Any) -> dict[str, Any]:
        at = f"2025-03-01T10:00:{second:02}.500000Z"
        part = {"type": "text", "text": text, "start_timestamp": at, "stop_timestamp": at, "citations": []}
        return {
            "uuid": id,
            "text": text,
            "content": [part],
            "sender": sender,
            "created_at": at,
            "updated_at": at,
            "attachments": [],
            "files": [],
        } | fields

    parts = [
        {"type": "thinking", "thinking": "Which cheese?", "summaries": [{"summary": "cheese"}], "cut_off": False},
        {"type": "tool_use", "id": None, "name": "web_search", "input": {"query": "cheese"}, "message": "Searching"},
        {
            "type": "tool_result",
            "tool_use_id": None,
            "name": "web_search",
            "content": [{"type": "text", "text": "Gouda"}, {"type": "knowledge", "url": "https://c"}],
            "is_error": False,
        },
        {"type": "text", "text": "Gouda.", "citations": [{"uuid": "c1", "start_index": 0}]},
        {"type": "flag", "flag": "spicy"},
    ]
    letter = {"file_name": "letter.txt", "file_size": 12, "file_type": "txt", "extracted_content": "Dear Sir"}
    return {
        "uuid": "cl-1",
        "name": "Cheese",
        "summary": "About cheese",
        "created_at": "2025-03-01T10:00:00.000000Z",
        "updated_at": "2025-03-01T11:00:00.000000+01:00",
        "account": {"uuid": "acc-1"},
        "chat_messages": [
            said("c1", "human", "Which cheese?", 1, parent_message_uuid=CLAUDE_ROOT),
            said("c2", "assistant", "Gouda.", 2, parent_message_uuid="c1", content=parts),
            said("c3", "human", "", 3, parent_message_uuid="c2", content=[]),
            said("c4", "human", "", 4, content=[], attachments=[letter], files=[{"file_name": "photo.png"}]),
            said("c5", "assistant", "An old form", 5, parent_message_uuid="nowhere", content=None),
            said("c6", "human", "And which wine?", 6, parent_message_uuid="c2"),
        ],
    } | more


def chatbotui_conversation(**more: Any) -> dict[str, Any]:
    return {
        "id": "cb-1",
        "name": "Bread",
        "messages": [
            {"role": "system", "content": "Be a baker"},
            {"role": "user", "content": "How long?"},
            {"role": "assistant", "content": "40 minutes"},
            {"role": "user", "content": [{"type": "text", "text": "And now?"}, {"type": "image_url", "image_url": {}}]},
        ],
        "model": {"id": "gpt-3.5-turbo", "name": "GPT-3.5", "maxLength": 12_000, "tokenLimit": 4_000},
        "prompt": "You are a baker.",
        "temperature": 0.5,
        "folderId": "folder-2",
    } | more


def good_files() -> dict[str, dict[str, bytes]]:
    """By the name of the importer that reads them, and by what is special about them."""
    folders = [{"id": "folder-2", "name": "Kitchen", "type": "chat"}]
    bread = chatbotui_conversation()
    other = chatbotui_conversation(id=2, name="", model="gpt-4")
    return {
        "librechat": {
            "flat": dumped(librechat_flat()),
            "tree": dumped(librechat_tree()),
            "old tree": dumped(librechat_tree("messagesTree")),
            "array": dumped([librechat_flat(), librechat_tree(conversationId="lc-2")]),
            "lines": dumped(librechat_flat()) + b"\n" + dumped(librechat_flat(conversationId="lc-2")) + b"\n",
            "deep": librechat_deep(10_000),
        },
        "chatgpt": {
            "everything": dumped([chatgpt_answers()]),
            "several": dumped([chatgpt_answers(), gpt_conversation(conversation_id="gpt-2", title=None)]),
            "one": dumped(chatgpt_answers()),
            "none": b" []\n",
        },
        "claude": {
            "everything": dumped([claude_conversation()]),
            "untitled": dumped([claude_conversation(name=""), claude_conversation(uuid="cl-2", chat_messages=[])]),
            "one": dumped(claude_conversation()),
        },
        "chatbotui": {
            "1": dumped([bread, other]),
            "2": dumped({"history": [bread, other], "folders": folders}),
            "3": dumped({"version": 3, "history": [bread], "folders": folders}),
            "4": dumped({"version": 4, "history": [bread], "folders": folders, "prompts": [{"id": "p", "name": "x"}]}),
        },
    }


WORDS = [a + b + c for a in ("ba", "ke", "li", "mo", "ru", "shi", "tan") for b in "aeiou" for c in ("l", "r", "st", "")]


def big_chatgpt(size: int, *, seed: int = 4) -> Iterator[bytes]:
    """An export of about so many bytes, piece by piece, like a busy user's of some years: half of it is metadata.

    Conversations have 2 to some 120 messages; in one of five something was asked anew. Every conversation has a word
    of its own in the text of its last message: ``unique`` and its number.
    """
    chance = random.Random(seed)
    sentences = [" ".join(chance.choices(WORDS, k=chance.randint(5, 14))).capitalize() + "." for _ in range(4_000)]
    yield b"["
    written, count = 1, 0
    while written < size:
        piece = (b", " if count else b"") + dumped(_big_conversation(chance, sentences, count))
        yield piece
        written += len(piece)
        count += 1
    yield b"]"


def write_big_chatgpt(path: Path, size: int, *, seed: int = 4) -> None:
    with path.open("wb") as file:
        file.writelines(big_chatgpt(size, seed=seed))


def _big_conversation(chance: random.Random, sentences: list[str], number: int) -> dict[str, Any]:
    begun = 1_675_000_000 + number * 2_000.25
    nodes = [gpt_node("client-created-root", None, None)]
    nodes.append(gpt_node(f"s{number}", nodes[-1]["id"], "system", "", weight=0.0, at=None))
    turns = min(60, 1 + int(chance.expovariate(1 / 8)))
    for turn in range(turns):
        parent = nodes[-1]["id"]
        at = begun + 90 * turn
        asked = " ".join(chance.choices(sentences, k=chance.randint(1, 3)))
        for n in range(2 if turn == 0 and chance.random() < 0.2 else 1):
            user = gpt_node(f"u{number}-{turn}-{n}", parent, "user", asked, at=at + n, metadata=_metadata(chance))
            answer = " ".join(chance.choices(sentences, k=chance.randint(4, 30))) + " \U0001f44d"
            if turn == turns - 1:
                answer += f" unique{number}"
            slug = chance.choice(["gpt-4o", "gpt-4", "o3-mini", "text-davinci-002-render-sha"])
            metadata = _metadata(chance) | {"model_slug": slug, "citations": [], "content_references": []}
            nodes += [
                user,
                gpt_node(f"a{number}-{turn}-{n}", user["id"], "assistant", answer, at=at + 20 + n, metadata=metadata),
            ]
    return gpt_conversation(
        *nodes,
        title=" ".join(chance.choices(WORDS, k=4)).capitalize(),
        create_time=begun,
        update_time=begun + 90 * turns,
        conversation_id=f"conversation-{number}",
        id=f"conversation-{number}",
        is_archived=number % 11 == 0,
    )


def _metadata(chance: random.Random) -> dict[str, Any]:
    return {
        "is_complete": True,
        "message_type": "next",
        "default_model_slug": "gpt-4o",
        "parent_id": f"{chance.getrandbits(128):032x}",
        "request_id": f"{chance.getrandbits(64):016x}-FRA",
        "timestamp_": "absolute",
        "finish_details": {"type": "stop", "stop_tokens": [200_002]},
        "serialization_metadata": {"custom_symbol_offsets": []},
        "message_source": None,
        "requested_model_slug": "gpt-4o",
    }
