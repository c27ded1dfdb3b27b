"""A conversation as the ``contents`` of a request: https://ai.google.dev/api/caching#Content

The roles ``user`` and ``model`` take turns, and the user begins. The results of a model's calls are a turn of the
user's with nothing else in it, right after them, as many as there were calls.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from typing import Any, Literal

from backchat.domain.message import Reasoning, Text, ToolCall, ToolResult
from backchat.errors import ProviderRejected
from backchat.ports.providers import FileData, ImageData, PromptMessage, PromptPart
from backchat.upstream.histories import object_of
from backchat_google.names import TOOLS, before_3
from backchat_google.seals import UNSIGNED, Signature, opened

_Turn = Literal["user", "model", "results"]
_Parts = list[dict[str, Any]]
IMAGES = frozenset({"image/heic", "image/heif", "image/jpeg", "image/png", "image/webp"})
"""https://ai.google.dev/gemini-api/docs/image-understanding#supported-formats"""
_BEFORE = "[What was said before is left out.]"


def contents(messages: Sequence[PromptMessage], model: str) -> list[dict[str, Any]]:
    """Without those of role ``system``, which the service takes in another field.

    Messages of one side that follow each other are one turn. Raises ProviderRejected for what the protocol cannot
    carry.
    """
    turns: list[tuple[_Turn, _Parts]] = []
    called: dict[str, str] = {}
    for message in messages:
        if message.role == "system":
            continue
        turn, parts = _turn(message, model, called)
        if turns and turns[-1][0] == turn:
            turns[-1][1].extend(parts)
        elif parts:
            turns.append((turn, parts))
    if not turns:
        raise ProviderRejected("there is nothing in this conversation for the model to answer")
    if turns[0][0] == "model":
        turns.insert(0, ("user", [{"text": _BEFORE}]))
    if not before_3(model):
        for _, parts in turns:
            _vouch(parts)
    return [{"role": "model" if turn == "model" else "user", "parts": parts} for turn, parts in turns]


def system_texts(messages: Sequence[PromptMessage]) -> list[str]:
    """Of the messages of role ``system``."""
    said = [m for m in messages if m.role == "system"]
    if any(not isinstance(p, Text | Reasoning) for m in said for p in m.parts):
        raise ProviderRejected("instructions can hold nothing but text")
    return [text for m in said if (text := "".join([p.text for p in m.parts if isinstance(p, Text)]))]


def _turn(message: PromptMessage, model: str, called: dict[str, str]) -> tuple[_Turn, _Parts]:
    """``called``: the names of the calls so far, by id; the last one where an id is used again."""
    if message.role == "tool":
        return "results", [_result(p, called) for p in message.parts if isinstance(p, ToolResult)]
    if message.role == "user":
        return "user", [part for p in message.parts for part in _said(p)]
    called.update({p.id: p.name for p in message.parts if isinstance(p, ToolCall)})
    return "model", _answered(message.parts, model)


def _result(result: ToolResult, called: dict[str, str]) -> dict[str, Any]:
    name = called.get(result.call)
    if name is None:
        raise ProviderRejected("a tool result answers no call before it")
    response = {"output": result.content}
    return {"functionResponse": {"id": result.call, "name": TOOLS.there(name), "response": response}}


def _said(part: PromptPart) -> _Parts:
    if isinstance(part, Text):
        return [{"text": part.text}] if part.text else []
    if isinstance(part, ImageData):
        return [_inline(part)]
    if isinstance(part, FileData):
        return [{"text": f"[file: {part.name}]"}, _inline(part)]
    return []


def _inline(part: ImageData | FileData) -> dict[str, Any]:
    return {"inlineData": {"mimeType": part.mime, "data": b64encode(part.data).decode()}}


def _answered(parts: Sequence[PromptPart], model: str) -> _Parts:
    """What a model said, the signatures of this one at their places; what it thought is given back if it is signed."""
    thoughts: _Parts = []
    signed: list[Signature] = []
    for part in parts:
        if not isinstance(part, Reasoning) or (found := opened(part.seal, model)) is None:
            continue
        if found.kind == "thought":
            text = part.text[found.start : found.start + found.length]
            thoughts.append({"text": text, "thought": True, "thoughtSignature": found.data})
        elif found.kind == "text":
            signed.append(found)
    if signed:
        whole = "".join([p.text for p in parts if isinstance(p, Text)])
        said = _signed(whole, signed) + [s for p in parts if not isinstance(p, Text) for s in _said(p)]
    else:
        said = [s for p in parts for s in _said(p)]
    return thoughts + said + [_call(p, model) for p in parts if isinstance(p, ToolCall)]


def _signed(text: str, signatures: Sequence[Signature]) -> _Parts:
    """The text in the pieces that were signed, and those between them. A signed piece may be empty."""
    pieces: _Parts = []
    at = 0
    for signature in sorted(signatures, key=lambda s: s.start):
        end = signature.start + signature.length
        if signature.start < at or end > len(text):
            continue  # of a text that is not this one any more
        if signature.start > at:
            pieces.append({"text": text[at : signature.start]})
        pieces.append({"text": text[signature.start : end], "thoughtSignature": signature.data})
        at = end
    if at < len(text):
        pieces.append({"text": text[at:]})
    return pieces


def _call(call: ToolCall, model: str) -> dict[str, Any]:
    part: dict[str, Any] = {
        "functionCall": {"id": call.id, "name": TOOLS.there(call.name), "args": object_of(call.arguments)}
    }
    if found := opened(call.seal, model):
        part["thoughtSignature"] = found.data
    return part


def _vouch(parts: _Parts) -> None:
    """From Gemini 3 on the first call of a turn must be signed; the further ones of the same turn are not."""
    first = next((part for part in parts if "functionCall" in part), None)
    if first is not None:
        first.setdefault("thoughtSignature", UNSIGNED)
