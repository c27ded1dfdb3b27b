"""Files out of conversations."""

from __future__ import annotations

import asyncio

import orjson
from aiohttp import web

from backchat.web.dialect import Call
from backchat.web.downloads import attachment, download
from backchat_dialect_convos import shapes

TYPES = {"zip": "application/zip", "jsonl": "application/jsonl"}
EVERYTHING = "backchat-export"


async def export_convo(call: Call) -> web.Response:
    services, id = call.services, call.path("conversationId")
    conversation = await services.conversations.open(call.who, id)
    match call.query["format"]:
        case "markdown":
            text = await services.exports.markdown(call.who, id)
            headers = attachment(conversation.title, ".md")
            return web.Response(body=text.encode(), headers={**headers, "Content-Type": "text/markdown; charset=utf-8"})
        case "backchat":
            data: object = await services.exports.portable(call.who, id)
        case _:
            messages = await services.trees.whole(call.who, id)
            now = services.conversations.now()
            data = await asyncio.to_thread(shapes.exported, conversation, messages, now)
    body = await asyncio.to_thread(orjson.dumps, data, None, orjson.OPT_INDENT_2)
    headers = attachment(conversation.title, ".json")
    return web.Response(body=body, headers={**headers, "Content-Type": "application/json"})


async def export_all(call: Call) -> web.StreamResponse:
    format = call.query["format"]
    chunks = call.services.exports.everything(call.who, format)
    return await download(call, chunks, {**attachment(EVERYTHING, f".{format}"), "Content-Type": TYPES[format]})
