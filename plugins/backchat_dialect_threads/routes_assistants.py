"""The routes of assistants: themselves, their threads, their documents, their memories."""

from __future__ import annotations

from collections.abc import Mapping

from backchat.services.container import Services
from backchat.web.body import MULTIPART
from backchat.web.dialect import Route
from backchat_dialect_threads import answers, schemas
from backchat_dialect_threads import handlers_assistants as assistants
from backchat_dialect_threads import handlers_documents as documents
from backchat_dialect_threads import handlers_memories as memories
from backchat_dialect_threads import handlers_threads as threads

FAILS = {401: "No or no valid API key"}
FOUND = {**FAILS, 404: "There is no such thing, or it is another user's"}
QUERY = {422: "A parameter does not fit"}
BODY = {400: "What is asked for cannot be done", 413: "The body is too large", 422: "The body does not fit"}
UPLOADS = {**FOUND, **BODY, 415: "The body is of another type"}
ROOM_FOR_THE_REST = 64 << 10


def upload_limit(services: Services) -> int:
    """Bytes of a body with the largest document that is taken, and some room for what is around it."""
    return services.documents.limits.max_size + ROOM_FOR_THE_REST


def statuses(*parts: Mapping[int, str], ok: str) -> dict[int, str]:
    """Which statuses a route answers with."""
    found = {200: ok}
    for part in parts:
        found |= part
    return dict(sorted(found.items()))


_ONE = "/assistants/{assistant_id}"
_MEMORIES = f"{_ONE}/memories"
_MEMORY = f"{_MEMORIES}/{{memory_id}}"

ROUTES = [
    Route(
        method="POST",
        path="/assistants",
        handler=assistants.create_assistant,
        summary="Make an assistant",
        body=schemas.CreateAssistantSchema(),
        answer=answers.AssistantSchema(),
        statuses=statuses(FAILS, BODY, ok="The assistant"),
    ),
    Route(
        method="GET",
        path="/assistants",
        handler=assistants.list_assistants,
        summary="List assistants, newest first",
        query=schemas.AssistantsSchema(),
        answer=answers.AssistantSchema(many=True),
        statuses=statuses(FAILS, QUERY, ok="The assistants"),
    ),
    Route(
        method="GET",
        path="/assistants/memories/operations/{operation_id}",
        handler=memories.memory_operation,
        summary="How far the learning from a message is",
        answer=answers.OperationSchema(),
        statuses=statuses(FOUND, ok="The operation"),
    ),
    Route(
        method="GET",
        path=_ONE,
        handler=assistants.get_assistant,
        summary="An assistant",
        answer=answers.AssistantSchema(),
        statuses=statuses(FOUND, ok="The assistant"),
    ),
    Route(
        method="PUT",
        path=_ONE,
        handler=assistants.update_assistant,
        summary="Change the given fields of an assistant",
        body=schemas.UpdateAssistantSchema(partial=True),
        answer=answers.AssistantSchema(),
        statuses=statuses(FOUND, BODY, ok="The assistant"),
    ),
    Route(
        method="DELETE",
        path=_ONE,
        handler=assistants.delete_assistant,
        summary="Delete an assistant with its threads, documents and memories",
        answer=answers.AssistantRemovedSchema(),
        statuses=statuses(FOUND, ok="Deleted"),
    ),
    Route(
        method="POST",
        path=f"{_ONE}/clone",
        handler=assistants.clone_assistant,
        summary="Copy an assistant, with its documents and memories as wanted",
        body=schemas.CloneSchema(),
        answer=answers.ClonedSchema(),
        statuses=statuses(FOUND, BODY, ok="The copy"),
    ),
    Route(
        method="POST",
        path=f"{_ONE}/threads",
        handler=threads.create_thread,
        summary="Begin a thread of an assistant",
        body=schemas.NewThreadSchema(),
        answer=answers.ThreadSchema(),
        statuses=statuses(FOUND, BODY, ok="The thread"),
    ),
    Route(
        method="GET",
        path=f"{_ONE}/threads",
        handler=threads.list_assistant_threads,
        summary="List the threads of an assistant, newest activity first",
        query=schemas.PageSchema(),
        answer=answers.ThreadSchema(many=True),
        statuses=statuses(FOUND, QUERY, ok="The threads, without their messages"),
    ),
    Route(
        method="POST",
        path=f"{_ONE}/documents",
        handler=documents.upload_to_assistant,
        summary="Add a document to an assistant",
        body=schemas.UploadSchema(),
        accepts=(MULTIPART,),
        limit=upload_limit,
        answer=answers.DocumentSchema(),
        statuses=statuses(UPLOADS, ok="The document, which is still to be read"),
    ),
    Route(
        method="GET",
        path=f"{_ONE}/documents",
        handler=documents.list_assistant_documents,
        summary="List the documents of an assistant, oldest first",
        answer=answers.DocumentSchema(many=True),
        statuses=statuses(FOUND, ok="The documents"),
    ),
    Route(
        method="GET",
        path=_MEMORIES,
        handler=memories.list_memories,
        summary="List what an assistant remembers, newest first",
        query=schemas.MemoryPageSchema(),
        answer=answers.MemoriesSchema(),
        statuses=statuses(FOUND, QUERY, ok="The memories"),
    ),
    Route(
        method="POST",
        path=_MEMORIES,
        handler=memories.add_memory,
        summary="Make an assistant remember something",
        body=schemas.MemoryBodySchema(),
        answer=answers.MemoryAddedSchema(),
        statuses=statuses(FOUND, BODY, ok="It is remembered"),
    ),
    Route(
        method="DELETE",
        path=_MEMORIES,
        handler=memories.reset_memories,
        summary="Forget everything",
        answer=answers.SuccessSchema(),
        statuses=statuses(FOUND, ok="Forgotten"),
    ),
    Route(
        method="GET",
        path=f"{_MEMORIES}/stats",
        handler=memories.memory_stats,
        summary="How much an assistant remembers",
        answer=answers.StatsSchema(),
        statuses=statuses(FOUND, ok="The figures"),
    ),
    Route(
        method="GET",
        path=f"{_MEMORIES}/insights",
        handler=memories.memory_insights,
        summary="What an assistant remembers, as a whole",
        answer=answers.InsightsSchema(),
        statuses=statuses(FOUND, ok="The figures"),
    ),
    Route(
        method="POST",
        path=f"{_MEMORIES}/search",
        handler=memories.search_memories,
        summary="Search what an assistant remembers",
        body=schemas.SearchBodySchema(),
        answer=answers.MemoriesSchema(),
        statuses=statuses(FOUND, BODY, ok="The memories, best first"),
    ),
    Route(
        method="GET",
        path=_MEMORY,
        handler=memories.get_memory,
        summary="A memory",
        answer=answers.MemorySchema(),
        statuses=statuses(FOUND, ok="The memory"),
    ),
    Route(
        method="PUT",
        path=_MEMORY,
        handler=memories.update_memory,
        summary="Change a memory",
        body=schemas.MemoryBodySchema(),
        answer=answers.MemorySchema(),
        statuses=statuses(FOUND, BODY, {409: "Another memory says the same"}, ok="The memory"),
    ),
    Route(
        method="DELETE",
        path=_MEMORY,
        handler=memories.delete_memory,
        summary="Forget a memory",
        answer=answers.SuccessSchema(),
        statuses=statuses(FOUND, ok="Forgotten"),
    ),
]
