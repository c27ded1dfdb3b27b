"""New conversations: out of others, and out of files."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from urllib.parse import unquote

from aiohttp import web

from backchat.errors import InvalidInput
from backchat.services.container import Services
from backchat.services.import_records import Import
from backchat.web.body import UnsupportedMedia
from backchat.web.dialect import Call
from backchat.web.multipart import Upload
from backchat.web.sse import frame, stream_frames
from backchat_dialect_convos import shapes
from backchat_dialect_convos.answering import copied, json_answer
from backchat_dialect_convos.problems import IMPORT, IMPORTS

ENDS = (".json", ".jsonl", ".zip")
TYPES = ("application/json", "application/zip", "application/x-zip-compressed")
ROOM_FOR_THE_REST = 64 << 10


async def fork(call: Call) -> web.Response:
    body = call.body
    split = body["latestMessageId"] if body["splitAtTarget"] else None
    made = await call.services.forks.fork(
        call.who, body["conversationId"], body["messageId"], body["option"], split_for=split
    )
    return await copied(made, 200)


async def duplicate(call: Call) -> web.Response:
    made = await call.services.forks.duplicate(call.who, call.body["conversationId"], title=call.body["title"])
    return await copied(made, 201)


# ---- imports --------------------------------------------------------------------------------------------------------


def import_limit(services: Services) -> int:
    """Bytes of a body with the largest file that is imported, and some room for what is around it."""
    return services.imports.limits.max_size + ROOM_FOR_THE_REST


async def import_file(call: Call) -> web.Response:
    file = _file(call)
    imports = call.services.imports
    name = unquote(file.filename, errors="replace")  # the web client encodes it; a lone % stands for itself
    begun = await imports.begin(call.who, file.take(), name=name)
    if not call.query["background"]:
        begun = await imports.ended(call.who, begun.id, imports.limits.wait)
    return _told(begun)


def _file(call: Call) -> Upload:
    files: tuple[Upload, ...] = call.body["file"]
    if len(files) != 1:
        raise InvalidInput("is required: one file, in a multipart form", field="body.file")
    file = files[0]
    if file.mime not in TYPES and not unquote(file.filename, errors="replace").lower().endswith(ENDS):
        raise UnsupportedMedia(IMPORTS[415])
    return file


def _told(i: Import) -> web.Response:
    """201 only for a file that was read to its end: a web client shows success for whatever is below 400."""
    found = shapes.progress(i)
    told = {name: found[name] for name in ("imported", "skipped", "failed", "errors")}
    location = {"Location": f"{IMPORT}/{i.id}"}
    match i.status:
        case "running":
            return json_answer(
                {"message": "The import goes on in the background", "jobId": i.id, **told}, 202, location
            )
        case "cancelled":
            return json_answer({"message": "The import was cancelled before its end", **told}, 409)
        case "interrupted":
            message = "The server was stopped before the end of the import; importing the file again completes it"
            return json_answer({"message": message, **told}, 503, {"Retry-After": "5"})
    if not (i.imported or i.skipped) and told["errors"]:
        return json_answer({"message": "Error processing file", **told}, 500)
    if i.status == "failed":
        return json_answer({"message": "Only a part of the file was imported", **told}, 422)
    return json_answer({"message": "Conversation(s) imported successfully", **told}, 201)


async def get_import(call: Call) -> web.StreamResponse:
    found = await call.services.imports.open(call.who, call.path("job"))
    if "text/event-stream" in call.request.headers.get("Accept", ""):
        return await stream_frames(call, _frames(call, found.id))
    return json_answer(shapes.progress(found))


async def _frames(call: Call, id: str) -> AsyncGenerator[bytes]:
    async with aclosing(call.services.imports.follow(call.who, id)) as steps:
        async for step in steps:
            yield frame("message", shapes.progress(step))


async def cancel_import(call: Call) -> web.Response:
    return json_answer(shapes.progress(await call.services.imports.cancel(call.who, call.path("job"))))
