"""The routes of threads: themselves, their messages, runs and documents."""

from __future__ import annotations

from backchat.web.body import FORM, JSON, MULTIPART
from backchat.web.dialect import Route
from backchat_dialect_threads import answers, schemas
from backchat_dialect_threads import handlers_documents as documents
from backchat_dialect_threads import handlers_messages as messages
from backchat_dialect_threads import handlers_runs as runs
from backchat_dialect_threads import handlers_threads as threads
from backchat_dialect_threads import handlers_voice as voice
from backchat_dialect_threads.routes_assistants import BODY, FAILS, FOUND, QUERY, UPLOADS, statuses, upload_limit

_ANSWERS = {
    409: "The thread is busy, its documents are still being read, or the reply was cancelled",
    429: "The provider is asked too often",
    502: "The provider failed",
    503: "The server is shutting down, or lost the reply",
    504: "The provider took too long",
}
_ONE = "/threads/{thread_id}"
_RUN = f"{_ONE}/runs/{{run_id}}"
_SOCKET = {101: "A WebSocket, with one event of type error", 400: "Not a WebSocket request"}

ROUTES = [
    Route(
        method="GET",
        path="/threads",
        handler=threads.list_threads,
        summary="List threads, newest activity first",
        query=schemas.PageSchema(),
        answer=answers.ThreadSchema(many=True),
        statuses=statuses(FAILS, QUERY, ok="The threads, without their messages"),
    ),
    Route(
        method="POST",
        path="/threads/messages",
        handler=messages.send_message,
        summary="Send a message to the thread it names, or to a new one",
        body=schemas.MessageSchema(),
        accepts=(JSON, FORM, MULTIPART),
        limit=upload_limit,
        answer=answers.ReplySchema(),
        statuses=statuses(UPLOADS, _ANSWERS, ok="The answer, or the tool calls that it needs the outputs of"),
        streams=True,
    ),
    Route(
        method="GET",
        path="/threads/messages",
        handler=voice.voice,
        summary="Voice: not offered here",
        statuses=_SOCKET,
        public=True,
    ),
    Route(
        method="GET",
        path="/threads/realtime",
        handler=voice.realtime,
        summary="Realtime sessions: not offered here",
        statuses=_SOCKET,
        public=True,
    ),
    Route(
        method="POST",
        path="/threads/tool-outputs",
        handler=runs.submit_outputs_simply,
        summary="Hand in tool outputs to whatever run of the thread waits for them",
        body=schemas.SubmitSimpleSchema(),
        answer=answers.ReplySchema(),
        statuses=statuses(FOUND, BODY, _ANSWERS, ok="The answer, or further tool calls"),
        streams=True,
    ),
    Route(
        method="GET",
        path=_ONE,
        handler=threads.get_thread,
        summary="A thread with its messages, oldest first",
        answer=answers.ThreadSchema(),
        statuses=statuses(FOUND, ok="The thread"),
    ),
    Route(
        method="DELETE",
        path=_ONE,
        handler=threads.delete_thread,
        summary="Delete a thread with its messages and documents",
        answer=answers.ThreadRemovedSchema(),
        statuses=statuses(FOUND, ok="Deleted"),
    ),
    Route(
        method="POST",
        path=f"{_ONE}/messages",
        handler=messages.send_message_to_thread,
        summary="Send a message to a thread",
        body=schemas.MessageSchema(),
        accepts=(JSON, FORM, MULTIPART),
        limit=upload_limit,
        answer=answers.ReplySchema(),
        statuses=statuses(UPLOADS, _ANSWERS, ok="The answer, or the tool calls that it needs the outputs of"),
        streams=True,
    ),
    Route(
        method="POST",
        path=f"{_RUN}/submit-tool-outputs",
        handler=runs.submit_outputs,
        summary="Hand in the tool outputs that a run waits for",
        query=schemas.StreamSchema(),
        body=schemas.SubmitSchema(),
        answer=answers.ReplySchema(),
        statuses=statuses(FOUND, BODY, _ANSWERS, ok="The answer, or further tool calls"),
        streams=True,
    ),
    Route(
        method="POST",
        path=f"{_RUN}/cancel",
        handler=runs.cancel_run,
        summary="Stop a run; what it has said is kept",
        answer=answers.CancelledSchema(),
        statuses=statuses(FOUND, ok="It has ended"),
    ),
    Route(
        method="POST",
        path=f"{_ONE}/documents",
        handler=documents.upload_to_thread,
        summary="Add a document to a thread",
        body=schemas.UploadSchema(),
        accepts=(MULTIPART,),
        limit=upload_limit,
        answer=answers.DocumentSchema(),
        statuses=statuses(UPLOADS, ok="The document, which is still to be read"),
    ),
    Route(
        method="GET",
        path=f"{_ONE}/documents",
        handler=documents.list_thread_documents,
        summary="List the documents of a thread, oldest first",
        answer=answers.DocumentSchema(many=True),
        statuses=statuses(FOUND, ok="The documents"),
    ),
    Route(
        method="GET",
        path="/documents/{document_id}/status",
        handler=documents.get_document,
        summary="A document, and how far it is read",
        answer=answers.DocumentSchema(),
        statuses=statuses(FOUND, ok="The document"),
    ),
    Route(
        method="DELETE",
        path="/documents/{document_id}",
        handler=documents.delete_document,
        summary="Delete a document",
        answer=answers.DocumentRemovedSchema(),
        statuses=statuses(FOUND, ok="Deleted"),
    ),
]
