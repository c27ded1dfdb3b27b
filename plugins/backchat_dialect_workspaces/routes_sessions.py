"""The routes of sessions, their shares and their public view."""

from __future__ import annotations

from backchat.web.dialect import Route
from backchat_dialect_workspaces import answers, schemas
from backchat_dialect_workspaces import handlers_sessions as sessions
from backchat_dialect_workspaces import handlers_shares as shares
from backchat_dialect_workspaces.opening import session, workspace
from backchat_dialect_workspaces.problems import PUBLIC
from backchat_dialect_workspaces.routes_workspaces import ONE as WORKSPACE
from backchat_dialect_workspaces.settings import shared
from backchat_dialect_workspaces.statuses import BODY, BROKE, LIMITED, MISSING, REFUSED, UNFIT, statuses

ALL = f"{WORKSPACE}chats/"
ONE = f"{ALL}{{session_id}}/"

ROUTES = [
    Route(
        method="GET",
        path=ALL,
        handler=sessions.list_sessions,
        opens=workspace(),
        summary="List the caller's own sessions, and those shared with them",
        query=schemas.SessionsQuerySchema(),
        answer=answers.SessionsSchema(),
        statuses=statuses(UNFIT, MISSING, ok="A page"),
    ),
    Route(
        method="POST",
        path=ALL,
        handler=sessions.create_session,
        opens=workspace(),
        summary="Begin a session",
        body=schemas.SessionSchema(),
        answer=answers.SessionAnswerSchema(),
        statuses=statuses(BODY, BROKE, MISSING, ok="The session", status=201),
    ),
    Route(
        method="GET",
        path=ONE,
        handler=sessions.get_session,
        opens=session(),
        summary="A session",
        answer=answers.SessionAnswerSchema(),
        statuses=statuses(MISSING, ok="The session"),
    ),
    *[
        Route(
            method=method,
            path=ONE,
            handler=sessions.update_session,
            opens=session("update"),
            summary="Change a session; what is missing stays as it is",
            body=schemas.SessionChangeSchema(),
            answer=answers.SessionAnswerSchema(),
            statuses=statuses(BODY, MISSING, REFUSED, ok="The session"),
        )
        for method in ("PUT", "PATCH")
    ],
    Route(
        method="DELETE",
        path=ONE,
        handler=sessions.delete_session,
        opens=session("delete"),
        summary="Delete a session with everything that belongs to it",
        statuses=statuses(MISSING, REFUSED, ok="Deleted", status=204),
    ),
    Route(
        method="POST",
        path=f"{ONE}toggle-public/",
        handler=sessions.toggle_public,
        opens=session("share"),
        summary="Publish a session under its link, or take it back",
        answer=answers.PublishedSchema(),
        statuses=statuses(MISSING, REFUSED, ok="Whether it is public now"),
    ),
    Route(
        method="POST",
        path=f"{ONE}share/",
        handler=shares.share_session,
        opens=session("share"),
        summary="Share a session with a member, or change what they may",
        body=schemas.ShareSchema(),
        answer=answers.ShareAnswerSchema(),
        statuses={
            200: "The share, which allows something else now",
            **statuses(BODY, MISSING, REFUSED, ok="The share", status=201),
        },
    ),
    Route(
        method="GET",
        path=f"{ONE}shares/",
        handler=shares.list_shares,
        opens=session("share"),
        summary="With whom a session is shared, oldest first",
        answer=answers.ShareAnswerSchema(many=True),
        statuses=statuses(MISSING, REFUSED, ok="The shares"),
    ),
    Route(
        method="POST",
        path=f"{ONE}revoke-share/",
        handler=shares.revoke_share,
        opens=session(),
        summary="Take a share back, or give up one's own",
        body=schemas.RevokeSchema(),
        statuses=statuses(BODY, MISSING, REFUSED, ok="Revoked", status=204),
    ),
    Route(
        method="GET",
        path=f"{PUBLIC}{{link_uuid}}/",
        handler=sessions.read_public,
        summary="What a public session shows",
        answer=answers.PublicSchema(),
        statuses={200: "The session", 404: "There is nothing under this link", **LIMITED},
        public=True,
        limited=shared,
    ),
]
