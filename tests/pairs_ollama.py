"""Ollama's own protocol as a side of a pair."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from backchat_ollama.provider import open_ollama
from backchat_ollama.settings import SettingsSchema
from ollama_upstream import chunk, last, serve
from pairs_made import Entry, Side, Turn, called, plain, spoken


class Ollama(Side):
    """Thinking comes back as it is, unsealed. Calls have no ids: results are in their order."""

    reads_documents = False

    def script(self, turn: Turn, thought: str, seal: str) -> list[Entry]:
        steps = [chunk(thinking=thought)]
        if turn.text:
            steps.append(chunk(turn.text))
        if turn.told:
            steps += [*([chunk(calls=turn.calls)] if turn.calls else []), last(sent=3, said=2)]
        self.upstream.play(*steps)
        return [("thought", thought, ""), *spoken(turn.text), *called(turn)]

    def read(self, body: Mapping[str, Any]) -> list[Entry]:
        found: list[Entry] = []
        open_calls: list[tuple[str, str]] = []
        for message in body["messages"]:
            match message["role"]:
                case "user" | "assistant" as role:
                    assert not open_calls, "calls without results"
                    if thought := message.get("thinking"):
                        found.append(("thought", thought, ""))
                    if message["content"]:
                        found.append((role, message["content"]))
                    found += [("image", data) for data in message.get("images", ())]
                    functions = [call["function"] for call in message.get("tool_calls", ())]
                    open_calls = [(f["name"], plain(f["arguments"])) for f in functions]
                    found += [("call", *call) for call in open_calls]
                case "tool":
                    name, arguments = open_calls.pop(0)
                    assert message["tool_name"] == name
                    found.append(("result", name, arguments, message["content"]))
        return found


@asynccontextmanager
async def ollama(letter: str) -> AsyncIterator[Side]:
    async with serve() as upstream:
        section = {"model": "m-1", "base_url": upstream.base_url, "vision": True}
        async with open_ollama(SettingsSchema().load(section)) as provider:
            yield Ollama(letter, upstream, provider)
