"""The Gemini API as a side of a pair."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from google.genai import types

from backchat_google.provider import open_google
from backchat_google.seals import UNSIGNED
from backchat_google.settings import SettingsSchema
from google_upstream import call_part, chunk, serve
from pairs_made import PDF, PDF_NAME, Entry, Results, Side, Turn, b64, called, spoken

GEMINI_3, GEMINI_2 = "gemini-3.8-flash", "gemini-2.5-pro"


class Google(Side):
    """What the model shows of its thinking is not wanted back; the signature is, on the first call or on the text."""

    ids = "function-call-{}"

    def script(self, turn: Turn, thought: str, seal: str) -> list[Entry]:
        signature = b64decode(seal)
        steps = [chunk(types.Part(text=thought, thought=True), usage={"prompt_token_count": 3})]
        if turn.text:
            signed = None if turn.calls or not turn.told else signature
            steps.append(chunk(types.Part(text=turn.text, thought_signature=signed)))
        if not turn.told:
            self.upstream.play(*steps)
            return spoken(turn.text)
        for n, (name, arguments) in enumerate(turn.calls):
            id = self.id(n) or None
            steps.append(chunk(call_part(name, arguments, id=id, signature=None if n else signature)))
        self.upstream.play(*steps, chunk(finish="STOP"))
        kept: Entry = ("thought", "", seal)
        return [*spoken(turn.text), kept, *called(turn)] if turn.calls else [kept, *spoken(turn.text)]

    def read(self, body: Mapping[str, Any]) -> list[Entry]:
        found: list[Entry] = []
        results = Results(".+")
        for turn in body["contents"]:
            for part in turn["parts"]:
                if (signature := part.get("thoughtSignature", UNSIGNED)) != UNSIGNED:
                    found.append(("thought", "", signature))
                match part:
                    case {"text": text}:
                        found.append(("user" if turn["role"] == "user" else "assistant", text))
                    case {"inlineData": {"mimeType": mime, "data": data}}:
                        found.append(("image" if mime == "image/png" else "document", data))
                    case {"functionCall": call}:
                        found.append(results.call(call["id"], call["name"], call["args"]))
                    case {"functionResponse": answer}:
                        found.append(results.result(answer["id"], answer["response"]["output"]))
        return found

    def document(self) -> list[Entry]:
        return [("user", f"[file: {PDF_NAME}]"), ("document", b64(PDF))]


class Google2(Google):
    """Calls have no ids."""

    ids = ""


@asynccontextmanager
async def google(letter: str, model: str) -> AsyncIterator[Side]:
    async with serve() as upstream:
        section = {"model": model, "base_url": upstream.base_url, "api_key": "k"}
        async with open_google(SettingsSchema().load(section)) as provider:
            yield (Google if model == GEMINI_3 else Google2)(letter, upstream, provider)
