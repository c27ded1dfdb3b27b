"""OpenAI's two APIs and OpenRouter, as sides of a pair."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from backchat_openai.openrouter import OpenRouterSchema
from backchat_openai.provider import open_openai
from backchat_openai.settings import OPENAI, SettingsSchema
from openai_responses import Response
from openai_upstream import chunk, serve
from pairs_made import Entry, Results, Side, Turn, called, plain, spoken

TAKEN = r"[\w-]{1,40}"
"""Ids of calls: longer ones the service refuses."""


class Chat(Side):
    """Chat completions, which give nothing of the model's thinking to keep. The ids are those of some open models."""

    ids = "functions.look:{}"

    def script(self, turn: Turn, thought: str, seal: str) -> list[Entry]:
        self.upstream.play(chunk(role="assistant", reasoning_content=thought), *self._said(turn))
        return [*spoken(turn.text), *called(turn)]

    def _said(self, turn: Turn) -> list[Any]:
        steps: list[Any] = [chunk(content=turn.text)] if turn.text else []
        if not turn.told:
            return steps
        for n, (name, arguments) in enumerate(turn.calls):
            whole = plain(arguments)
            call = {"index": n, "id": self.id(n), "type": "function", "function": {"name": name, "arguments": ""}}
            steps.append(chunk(tool_calls=[call]))
            steps += [chunk(tool_calls=[{"index": n, "function": {"arguments": p}}]) for p in (whole[:3], whole[3:])]
        return [*steps, chunk("tool_calls" if turn.calls else "stop"), "[DONE]"]

    def read(self, body: Mapping[str, Any]) -> list[Entry]:
        found: list[Entry] = []
        results = Results(TAKEN)
        for message in body["messages"]:
            match message["role"]:
                case "user" | "assistant" as role:
                    found += self._thoughts_in(message)
                    content = message["content"] or []
                    found += [(role, content)] if isinstance(content, str) else [_part(p) for p in content]
                    for call in message.get("tool_calls", ()):
                        found.append(results.call(call["id"], call["function"]["name"], call["function"]["arguments"]))
                case "tool":
                    found.append(results.result(message["tool_call_id"], message["content"]))
        return found

    def _thoughts_in(self, message: Mapping[str, Any]) -> list[Entry]:
        return []


class OpenRouter(Chat):
    """Details of the thinking come back with every answer that had some."""

    ids = "call-of-a-service-with-ids-that-are-much-longer-than-those-of-any-other-one-there-is-{}"
    reads_documents = False

    def script(self, turn: Turn, thought: str, seal: str) -> list[Entry]:
        read = {"type": "reasoning.text", "index": 0, "format": "anthropic-claude-v1", "text": thought}
        kept: Entry = ("thought", thought, seal)
        details: list[dict[str, Any]] = [read, read | {"text": None, "signature": seal}]
        if turn.told and not turn.text:
            details, kept = [{"type": "reasoning.encrypted", "index": 0, "data": seal}], ("thought", "", seal)
        self.upstream.play(*[chunk(reasoning_details=[d]) for d in details], *self._said(turn))
        return [kept, *spoken(turn.text), *called(turn)]

    def _thoughts_in(self, message: Mapping[str, Any]) -> list[Entry]:
        details = message.get("reasoning_details", ())
        return [("thought", d.get("text", ""), d.get("signature") or d["data"]) for d in details]


class Responses(Side):
    """Reasoning items come back with every answer that had some."""

    ids = "call_Ab{}"

    def script(self, turn: Turn, thought: str, seal: str) -> list[Entry]:
        made = Response().thought([thought], sealed=seal)
        if turn.text:
            made.text(turn.text)
        if turn.told:
            for n, (name, arguments) in enumerate(turn.calls):
                made.call(self.id(n), name, plain(arguments))
        self.upstream.play(*(made.end() if turn.told else made.events))
        return [("thought", thought, seal), *spoken(turn.text), *called(turn)]

    def read(self, body: Mapping[str, Any]) -> list[Entry]:
        found: list[Entry] = []
        results = Results(TAKEN)
        for item in body["input"]:
            match item:
                case {"type": "reasoning", "summary": [summary]}:
                    found.append(("thought", summary["text"], item["encrypted_content"]))
                case {"type": "function_call"}:
                    found.append(results.call(item["call_id"], item["name"], item["arguments"]))
                case {"type": "function_call_output"}:
                    found.append(results.result(item["call_id"], item["output"]))
                case {"role": "user" | "assistant" as role, "content": content}:
                    found += [(role, content)] if isinstance(content, str) else [_part(p) for p in content]
        return found


def _part(part: Mapping[str, Any]) -> Entry:
    match part:
        case {"type": "text" | "input_text", "text": text}:
            assert text, "an empty part"
            return ("user", text)
        case {"type": "image_url", "image_url": {"url": url}} | {"type": "input_image", "image_url": url}:
            return ("image", url.removeprefix("data:image/png;base64,"))
        case {"file": {"file_data": url}} | {"type": "input_file", "file_data": url}:
            return ("document", url.removeprefix("data:application/pdf;base64,"))
    raise AssertionError(part)


@asynccontextmanager
async def chat(letter: str) -> AsyncIterator[Side]:
    async with serve() as upstream:
        section = {"model": "m-1", "base_url": upstream.base_url, "files": True}
        async with open_openai(SettingsSchema(OPENAI).load(section)) as provider:
            yield Chat(letter, upstream, provider)


@asynccontextmanager
async def responses(letter: str) -> AsyncIterator[Side]:
    async with serve() as upstream:
        section = {"model": "m-1", "base_url": upstream.base_url, "files": True, "api": "responses"}
        async with open_openai(SettingsSchema(OPENAI).load(section)) as provider:
            yield Responses(letter, upstream, provider)


@asynccontextmanager
async def openrouter(letter: str) -> AsyncIterator[Side]:
    async with serve() as upstream:
        upstream.service = "openrouter"
        async with open_openai(OpenRouterSchema().load({"model": "m-1", "base_url": upstream.base_url})) as provider:
            yield OpenRouter(letter, upstream, provider)
