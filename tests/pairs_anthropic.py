"""Anthropic's messages API as a side of a pair."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from anthropic_events import Event, call_block, done, redacted_block, start, text_block, thinking_block
from anthropic_upstream import serve
from backchat_anthropic.provider import open_anthropic
from backchat_anthropic.settings import SettingsSchema
from pairs_made import USERS, Entry, Results, Side, Turn, called, plain, spoken

BUDGET, ADAPTIVE = "claude-sonnet-4-5", "claude-opus-5-1"


class Anthropic(Side):
    ids = "toolu_01{}"

    def script(self, turn: Turn, thought: str, seal: str) -> list[Entry]:
        kept: Entry = ("thought", thought, seal)
        steps: list[Event] = [start(), *thinking_block(thought, signature=seal)]
        if turn.told and not turn.text:
            steps, kept = [start(), *redacted_block(seal)], ("thought", "", seal)
        if turn.text:
            steps += text_block(turn.text, index=1)
        if turn.told:
            for n, (name, arguments) in enumerate(turn.calls):
                whole = plain(arguments)
                steps += call_block(self.id(n), name, whole[:3], whole[3:], index=n + 2)
            steps += done("tool_use" if turn.calls else "end_turn")
        self.upstream.play(*steps)
        return [kept, *spoken(turn.text), *called(turn)]

    def read(self, body: Mapping[str, Any]) -> list[Entry]:
        found: list[Entry] = []
        results = Results(r"[\w-]{1,64}")
        for turn in body["messages"]:
            for block in turn["content"]:
                match block["type"]:
                    case "text":
                        found.append((turn["role"], block["text"]))
                    case "image" | "document" as kind:
                        found.append((kind, block["source"]["data"]))
                    case "tool_use":
                        found.append(results.call(block["id"], block["name"], block["input"]))
                    case "tool_result":
                        found.append(results.result(block["tool_use_id"], block.get("content", "")))
                    case "thinking":
                        found.append(("thought", block["thinking"], block["signature"]))
                    case "redacted_thinking":
                        found.append(("thought", "", block["data"]))
        return found

    def given_back(self, entries: list[Entry]) -> list[Entry]:
        """Thinking is, in the answer that goes on."""
        begins = max([n for n, entry in enumerate(entries) if entry[0] in USERS])
        return [entry for n, entry in enumerate(entries) if n > begins or entry[0] != "thought"]


@asynccontextmanager
async def anthropic(letter: str, model: str) -> AsyncIterator[Side]:
    async with serve() as upstream:
        section = {"model": model, "base_url": upstream.base_url}
        async with open_anthropic(SettingsSchema().load(section)) as provider:
            yield Anthropic(letter, upstream, provider)
