"""The handlers of the chat dialect: parse, call a service, render."""

from __future__ import annotations

import hashlib
import re
from typing import Any

import orjson
from aiohttp import web

from backchat.domain.message import Message
from backchat.domain.run import Decision, Run
from backchat.errors import InvalidInput, NotConfigured
from backchat.services.saying import Once, Say
from backchat.web.dialect import Call
from backchat.web.sse import stream as show
from backchat_dialect_chat import shapes

WORDS = ("ollama", "groq", "google", "claude", "openai", "openrouter")
MOODS = {
    "serious": "Be professional and factual.",
    "friendly": "Be warm and friendly.",
    "normal": "Be balanced in tone.",
}
_KEY = re.compile(r"[\x21-\x7e]{1,255}")


async def send(call: Call) -> web.StreamResponse:
    if "text/event-stream" in call.request.headers.get("Accept", ""):
        return await stream(call)
    run = await _say(call)
    ended, answer = await call.services.runs.result(call.who, run.id)
    reply = {
        "reply": answer.text if answer else "",
        "conversation_id": ended.conversation,
        "provider": ended.provider,
    }
    if answer is not None and "finish" in answer.metadata:
        reply["finish"] = answer.metadata["finish"]
    if ended.status == "waiting" and answer is not None:
        reply |= {"status": ended.status, **shapes.waits(ended, answer)}
    return _json(reply)


async def stream(call: Call) -> web.StreamResponse:
    run = await _say(call)
    return await _show(call, run, 0)


async def resume(call: Call) -> web.StreamResponse:
    header = call.request.headers.get("Last-Event-ID", "0")
    if not re.fullmatch("[0-9]{1,9}", header):
        raise InvalidInput("Not the number of an event.", field="header.Last-Event-ID")
    after = max(int(header), call.query["after"])  # a browser that reconnects sends its first query again
    run = await call.services.runs.replayable(call.who, call.path("run_id"))
    if after and await call.services.runs.is_over(run, after):
        return web.Response(status=204)  # tells a browser to stop reconnecting
    return await _show(call, run, after)


async def cancel(call: Call) -> web.Response:
    run = await call.services.runs.cancel(call.who, call.path("run_id"))
    return _json({"ok": True, "run_id": run.id, "status": run.status})


async def confirm(call: Call) -> web.Response:
    body = call.body
    decision = Decision(body["allow"], body["reason"])
    run = await call.services.turns.confirm(call.who, call.path("run_id"), decision, body["calls"])
    return _json({"ok": True, "run_id": run.id, "status": run.status})


async def browse(call: Call) -> web.Response:
    found = await call.services.conversations.browse(call.who, **call.query)
    return _json({"conversations": [shapes.conversation(c) for c in found]})


async def transcript(call: Call) -> web.Response:
    id, limit = call.query["conversation_id"], call.query["limit"]
    found = await call.services.conversations.transcript(call.who, id, limit=limit)
    shown = [await _message(call, m) for m in found if shapes.is_shown(m)]
    return _json({"conversation_id": id, "messages": shown})


async def _message(call: Call, message: Message) -> dict[str, Any]:
    shown = shapes.message(message)
    if message.status != "waiting" or message.run is None:
        return shown
    return {**shown, **shapes.waits(await call.services.runs.open(call.who, message.run), message)}


async def discard(call: Call) -> web.Response:
    await call.services.conversations.discard(call.who, call.path("conversation_id"))
    return _json({"ok": True})


async def truncate(call: Call) -> web.Response:
    id = call.path("conversation_id")
    kept, deleted = await call.services.conversations.truncate(call.who, id, call.body["keep_count"])
    return _json({"ok": True, "conversation_id": id, "keep_count": kept, "deleted": deleted})


async def get_provider(call: Call) -> web.Response:
    settings = await call.services.accounts.settings_of(call.who)
    return _json({"provider": settings.get("provider", "default")})


async def put_provider(call: Call) -> web.Response:
    word = call.body["provider"]
    _provider(call, word)
    await call.services.accounts.set_setting(call.who, "provider", None if word == "default" else word)
    return _json({"provider": word})


async def get_mood(call: Call) -> web.Response:
    settings = await call.services.accounts.settings_of(call.who)
    return _json({"mood": settings.get("mood", "normal")})


async def put_mood(call: Call) -> web.Response:
    await call.services.accounts.set_setting(call.who, "mood", call.body["mood"])
    return _json({"mood": call.body["mood"]})


async def _say(call: Call) -> Run:
    body = call.body
    once = _once(call)
    settings = await call.services.accounts.settings_of(call.who)
    asked, saved = body["provider"], settings.get("provider", "default")
    mood = body["mood"] or settings.get("mood", "normal")
    return await call.services.turns.say(
        call.who,
        Say(
            text=body["text"],
            conversation=body["conversation_id"],
            provider=_provider(call, asked) if asked != "default" else _saved_provider(call, saved),
            manner=MOODS[mood],
            images=[body["image"]] if body["image"] else [],
            web=body["web"],
            confirms=True,
            options={"mood": mood, "web": body["web"]},
            once=once,
        ),
    )


def _once(call: Call) -> Once | None:
    key = call.request.headers.get("Idempotency-Key")
    if key is None:
        return None
    if not _KEY.fullmatch(key):
        raise InvalidInput("Must be 1 to 255 visible ASCII characters.", field="header.Idempotency-Key")
    image = call.body["image"]
    parts = {**call.body, "image": [image.mime, hashlib.sha256(image.data).hexdigest()] if image else None}
    return Once(key, hashlib.sha256(orjson.dumps(parts, option=orjson.OPT_SORT_KEYS)).hexdigest())


def _provider(call: Call, word: str) -> str | None:
    """The configured provider for a word; None for the server's default."""
    if word == "default":
        return None
    found = call.services.providers.find(word)
    if found is not None:
        return found.name
    if word in WORDS:
        raise NotConfigured(
            f"Provider {word!r} is not configured on this server. Its owner can add one of that name to the config "
            f"file under 'providers:'; this server has: {', '.join(call.services.providers.configured)}."
        )
    raise InvalidInput("No such provider.", field="body.provider")


def _saved_provider(call: Call, word: str) -> str | None:
    """The user's default, which the server may have lost since it was saved."""
    if word != "default" and call.services.providers.find(word) is None:
        raise NotConfigured(f"Your default provider {word!r} is no longer configured here; choose another default.")
    return _provider(call, word)


async def _show(call: Call, run: Run, after: int) -> web.StreamResponse:
    frames = shapes.Frames(run, after, call.services.toolbox.waits)
    first = b"" if after else frames.meta()
    return await show(call, run.id, frames, first=first, refuse=frames.refused)


def _json(data: object) -> web.Response:
    return web.Response(body=orjson.dumps(data), content_type="application/json")
