"""The routes of the chat dialect."""

from __future__ import annotations

from backchat.web.dialect import Dialect, Route
from backchat_dialect_chat import answers, handlers, schemas
from backchat_dialect_chat.problems import render_error

_FAILS = {401: "No or no valid token", 422: "The input does not fit"}
_OWNED = {**_FAILS, 403: "It belongs to another user", 404: "There is no such thing"}
_SENDS = {
    200: "The answer",
    400: "The body is not JSON",
    **_OWNED,
    409: "The conversation is busy, the reply was cancelled, or the Idempotency-Key was used with another request",
    413: "The body is too large",
    502: "The provider failed",
    503: "The provider is not configured, or the server is shutting down",
    504: "The provider took too long",
}
_IDEMPOTENCY = {"Idempotency-Key": "Equal keys start one reply; every request with the key gets it."}

ROUTES = [
    Route(
        method="POST",
        path="/chat",
        handler=handlers.send,
        summary="Send a message; answers JSON, or a stream if Accept asks for text/event-stream",
        body=schemas.SendSchema(),
        answer=answers.ReplySchema(),
        statuses=_SENDS,
        headers=_IDEMPOTENCY,
        streams=True,
    ),
    Route(
        method="POST",
        path="/chat/stream",
        handler=handlers.stream,
        summary="Send a message and stream the reply",
        body=schemas.SendSchema(),
        statuses=_SENDS,
        headers=_IDEMPOTENCY,
        streams=True,
    ),
    Route(
        method="GET",
        path="/chat/stream/{run_id}",
        handler=handlers.resume,
        summary="Stream a reply again, or on from where a stream broke",
        query=schemas.ResumeSchema(),
        statuses={200: "The events", 204: "The reply has ended and there are no more", **_OWNED},
        headers={"Last-Event-ID": "Number of the last event that was received."},
        streams=True,
    ),
    Route(
        method="POST",
        path="/chat/stream/{run_id}/cancel",
        handler=handlers.cancel,
        summary="Stop a reply; what it has said is kept",
        answer=answers.CancelledSchema(),
        statuses={200: "It has ended", **_OWNED},
    ),
    Route(
        method="POST",
        path="/chat/stream/{run_id}/confirm",
        handler=handlers.confirm,
        summary="Allow, or do not allow, calls of tools that a reply waits with",
        body=schemas.ConfirmSchema(),
        answer=answers.ConfirmedSchema(),
        statuses={
            200: "It is noted, and the reply goes on once everything is decided",
            400: "The body is not JSON",
            402: "What may be spent has been spent",
            **_OWNED,
            409: "It was decided before, or the reply does not wait for a decision",
            503: "The server is shutting down",
        },
    ),
    Route(
        method="GET",
        path="/chat/conversations",
        handler=handlers.browse,
        summary="List conversations, newest activity first",
        query=schemas.ListSchema(),
        answer=answers.ConversationsSchema(),
        statuses={200: "The conversations", **_FAILS},
    ),
    Route(
        method="GET",
        path="/chat/messages",
        handler=handlers.transcript,
        summary="The newest messages of a conversation, oldest first",
        query=schemas.MessagesSchema(),
        answer=answers.MessagesAnswerSchema(),
        statuses={200: "The messages", **_OWNED},
    ),
    Route(
        method="DELETE",
        path="/chat/conversations/{conversation_id}",
        handler=handlers.discard,
        summary="Delete a conversation and all its messages",
        answer=answers.OkSchema(),
        statuses={200: "Deleted", **_OWNED},
    ),
    Route(
        method="POST",
        path="/chat/conversations/{conversation_id}/truncate",
        handler=handlers.truncate,
        summary="Keep only the newest messages",
        body=schemas.TruncateSchema(),
        answer=answers.TruncatedSchema(),
        statuses={200: "Truncated", 400: "The body is not JSON", **_OWNED, 409: "The conversation is busy"},
    ),
    Route(
        method="GET",
        path="/settings/default-ai",
        handler=handlers.get_provider,
        summary="The user's default provider",
        answer=schemas.ProviderSettingSchema(),
        statuses={200: "The setting", **_FAILS},
    ),
    Route(
        method="PUT",
        path="/settings/default-ai",
        handler=handlers.put_provider,
        summary="Set the user's default provider",
        body=schemas.ProviderSettingSchema(),
        answer=schemas.ProviderSettingSchema(),
        statuses={200: "The setting", 400: "The body is not JSON", **_FAILS, 503: "It is not configured"},
    ),
    Route(
        method="GET",
        path="/settings/mood",
        handler=handlers.get_mood,
        summary="The user's default mood",
        answer=schemas.MoodSettingSchema(),
        statuses={200: "The setting", **_FAILS},
    ),
    Route(
        method="PUT",
        path="/settings/mood",
        handler=handlers.put_mood,
        summary="Set the user's default mood",
        body=schemas.MoodSettingSchema(),
        answer=schemas.MoodSettingSchema(),
        statuses={200: "The setting", 400: "The body is not JSON", **_FAILS},
    ),
]

DIALECT = Dialect(
    name="chat",
    mount="/api",
    routes=ROUTES,
    render_error=render_error,
    statuses={"invalid_input": 422, "no_vision": 422, "not_owned": 403},
)
