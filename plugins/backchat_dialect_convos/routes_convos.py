"""The routes of conversations."""

from __future__ import annotations

from collections.abc import Mapping

from backchat.web.body import MULTIPART
from backchat.web.dialect import Route
from backchat_dialect_convos import answers, schemas
from backchat_dialect_convos import handlers_convos as convos
from backchat_dialect_convos import handlers_copies as copies
from backchat_dialect_convos import handlers_exports as exports
from backchat_dialect_convos.settings import forks, imports

ROOT = "/api/convos"
ONE = f"{ROOT}/{{conversationId}}"
JOB = f"{ROOT}/import/{{job}}"
FAILS = {401: "No or no valid token"}
UNFIT = {400: "The input does not fit"}
MISSING = {404: "There is no such thing, or it is somebody else's"}
BODY = {**UNFIT, 413: "The body is too large"}
LIMITED = {429: "Too many requests; Retry-After says when to come back"}
FOREIGN = {403: "The conversation belongs to another user", 404: "There is no such conversation"}


def statuses(*parts: Mapping[int, str], ok: str, status: int = 200) -> dict[int, str]:
    """Which statuses a route answers with."""
    found = {status: ok, **FAILS}
    for part in parts:
        found |= part
    return dict(sorted(found.items()))


ROUTES = [
    Route(
        method="GET",
        path=ROOT,
        handler=convos.list_convos,
        summary="List conversations: sorted, filtered, searched, in pages",
        query=schemas.ListSchema(),
        answer=answers.ListedSchema(),
        statuses=statuses(UNFIT, ok="A page"),
    ),
    Route(
        method="DELETE",
        path=ROOT,
        handler=convos.delete_convo,
        summary="Delete a conversation with everything that belongs to it",
        body=schemas.DELETE,
        answer=answers.DeletedSchema(),
        statuses={200: "Nothing was named to be deleted", **statuses(BODY, ok="What was deleted", status=201)},
    ),
    Route(
        method="DELETE",
        path=f"{ROOT}/all",
        handler=convos.delete_all,
        summary="Delete every conversation, archived and temporary ones too",
        answer=answers.DeletedSchema(),
        statuses=statuses(ok="What was deleted", status=201),
    ),
    Route(
        method="GET",
        path=f"{ROOT}/gen_title/{{conversationId}}",
        handler=convos.gen_title,
        summary="The title of a conversation; waits for one that is being made",
        answer=answers.TitleSchema(),
        statuses=statuses({404: "There is none, after 15.5 seconds"}, ok="The title"),
    ),
    Route(
        method="POST",
        path=f"{ROOT}/update",
        handler=convos.update_convo,
        summary="Give a conversation a title",
        body=schemas.UPDATE,
        answer=answers.ConversationSchema(),
        statuses=statuses(BODY, FOREIGN, ok="The conversation", status=201),
    ),
    Route(
        method="POST",
        path=f"{ROOT}/archive",
        handler=convos.archive_convo,
        summary="Archive a conversation, or take it back",
        body=schemas.ARCHIVE,
        answer=answers.ConversationSchema(),
        statuses=statuses(BODY, FOREIGN, ok="The conversation"),
    ),
    Route(
        method="POST",
        path=f"{ROOT}/archive/all",
        handler=convos.archive_all,
        summary="Archive every conversation",
        answer=answers.ArchivedAllSchema(),
        statuses=statuses(ok="How many were archived"),
    ),
    Route(
        method="POST",
        path=f"{ROOT}/pin",
        handler=convos.pin_convo,
        summary="Pin a conversation, or unpin it",
        body=schemas.PIN,
        answer=answers.ConversationSchema(),
        statuses=statuses(BODY, MISSING, ok="The conversation"),
    ),
    Route(
        method="POST",
        path=f"{ROOT}/fork",
        handler=copies.fork,
        summary="A new conversation of a part of another one's tree",
        body=schemas.ForkSchema(),
        answer=answers.CopySchema(),
        statuses=statuses(BODY, MISSING, LIMITED, ok="The new conversation and its messages"),
        limited=forks,
    ),
    Route(
        method="POST",
        path=f"{ROOT}/duplicate",
        handler=copies.duplicate,
        summary="A copy of a conversation, with every branch",
        body=schemas.DuplicateSchema(),
        answer=answers.CopySchema(),
        statuses=statuses(BODY, MISSING, LIMITED, ok="The new conversation and its messages", status=201),
        limited=forks,
    ),
    Route(
        method="POST",
        path=f"{ROOT}/import",
        handler=copies.import_file,
        summary="Import conversations from the export of this or another product",
        body=schemas.ImportSchema(),
        query=schemas.ImportQuerySchema(),
        accepts=(MULTIPART,),
        limit=copies.import_limit,
        spooled=True,
        limited=imports,
        answer=answers.ImportedSchema(),
        statuses={
            202: "The import goes on; Location says where to ask how far it is",
            **statuses(BODY, LIMITED, ok="What was imported", status=201),
            415: "The file is neither JSON nor a zip",
            409: "The import was cancelled",
            422: "The file could not be read to its end; a part of it was imported",
            500: "Nothing could be imported",
            503: "The server was stopped; importing the file again completes it",
        },
    ),
    Route(
        method="GET",
        path=JOB,
        handler=copies.get_import,
        summary="How far an import is; a stream if Accept asks for text/event-stream",
        answer=answers.ProgressSchema(),
        statuses=statuses(MISSING, ok="How far it is"),
        streams=True,
    ),
    Route(
        method="DELETE",
        path=JOB,
        handler=copies.cancel_import,
        summary="Stop an import; what it has imported stays",
        answer=answers.ProgressSchema(),
        statuses=statuses(MISSING, ok="How far it came"),
    ),
    Route(
        method="GET",
        path=f"{ROOT}/export",
        handler=exports.export_all,
        summary="All conversations as one file: a zip, or JSON lines",
        query=schemas.ExportAllQuerySchema(),
        statuses=statuses(UNFIT, ok="The file"),
    ),
    Route(
        method="GET",
        path=ONE,
        handler=convos.get_convo,
        summary="A conversation",
        answer=answers.ConversationSchema(),
        statuses=statuses(MISSING, ok="The conversation"),
    ),
    Route(
        method="GET",
        path=f"{ONE}/export",
        handler=exports.export_convo,
        summary="A conversation as a file: LibreChat's JSON, Markdown, or backchat's own JSON",
        query=schemas.ExportQuerySchema(),
        statuses=statuses(UNFIT, MISSING, ok="The file"),
    ),
]
