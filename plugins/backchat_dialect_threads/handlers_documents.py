"""Documents of assistants and of threads."""

from __future__ import annotations

from aiohttp import web

from backchat.errors import InvalidInput
from backchat.web.dialect import Call
from backchat.web.multipart import Upload
from backchat_dialect_threads import shapes
from backchat_dialect_threads.replies import json_answer, removed


def _file(call: Call) -> Upload:
    files: tuple[Upload, ...] = call.body["file"]
    if len(files) != 1:
        raise InvalidInput("must be exactly one file", field="body.file")
    return files[0]


async def upload_to_assistant(call: Call) -> web.Response:
    file = _file(call)
    made = await call.services.documents.add(
        call.who, filename=file.filename, mime=file.mime, data=file.data, assistant=call.path("assistant_id")
    )
    return json_answer(shapes.document(made))


async def upload_to_thread(call: Call) -> web.Response:
    file, thread = _file(call), call.path("thread_id")
    conversation = await call.services.conversations.open(call.who, thread, "attach")
    if conversation.assistant is None:  # begun in another dialect, and nobody would look into its documents
        assistant = await call.services.assistants.default(call.who)
        await call.services.conversations.adopt(call.who, thread, assistant.id)
    made = await call.services.documents.add(
        call.who, filename=file.filename, mime=file.mime, data=file.data, conversation=thread
    )
    return json_answer(shapes.document(made))


async def list_assistant_documents(call: Call) -> web.Response:
    found = await call.services.documents.of(call.who, assistant=call.path("assistant_id"))
    return json_answer([shapes.document(d) for d in found])


async def list_thread_documents(call: Call) -> web.Response:
    found = await call.services.documents.of(call.who, conversation=call.path("thread_id"))
    return json_answer([shapes.document(d) for d in found])


async def get_document(call: Call) -> web.Response:
    return json_answer(shapes.document(await call.services.documents.open(call.who, call.path("document_id"))))


async def delete_document(call: Call) -> web.Response:
    await call.services.documents.discard(call.who, call.path("document_id"))
    return removed(call, "Document", "document_id")
