"""The routes of workspaces and their members."""

from __future__ import annotations

from backchat.web.dialect import Route
from backchat_dialect_workspaces import answers, schemas
from backchat_dialect_workspaces import handlers_workspaces as workspaces
from backchat_dialect_workspaces.opening import workspace
from backchat_dialect_workspaces.statuses import BODY, MISSING, REFUSED, UNFIT, statuses

ALL = "/api/workspaces/"
ONE = f"{ALL}{{workspace_id}}/"
MEMBERS = f"{ONE}members/"

ROUTES = [
    Route(
        method="GET",
        path=ALL,
        handler=workspaces.list_workspaces,
        summary="List the caller's workspaces, the personal one first",
        query=schemas.PageSchema(),
        answer=answers.WorkspacesSchema(),
        statuses=statuses(UNFIT, {404: "There is no such page"}, ok="A page"),
    ),
    Route(
        method="POST",
        path=ALL,
        handler=workspaces.create_workspace,
        summary="Make a workspace",
        body=schemas.NewWorkspaceSchema(),
        answer=answers.WorkspaceAnswerSchema(),
        statuses=statuses(BODY, ok="The workspace", status=201),
    ),
    Route(
        method="GET",
        path=ONE,
        handler=workspaces.get_workspace,
        opens=workspace(),
        summary="A workspace",
        answer=answers.WorkspaceAnswerSchema(),
        statuses=statuses(MISSING, ok="The workspace"),
    ),
    *[
        Route(
            method=method,
            path=ONE,
            handler=workspaces.update_workspace,
            opens=workspace("rename"),
            summary="Give a workspace another name",
            body=schemas.WorkspaceSchema(),
            answer=answers.WorkspaceAnswerSchema(),
            statuses=statuses(BODY, MISSING, REFUSED, ok="The workspace"),
        )
        for method in ("PUT", "PATCH")
    ],
    Route(
        method="DELETE",
        path=ONE,
        handler=workspaces.delete_workspace,
        opens=workspace("dissolve"),
        summary="Delete a workspace with every session in it",
        statuses=statuses({400: "It is a personal one"}, MISSING, REFUSED, ok="Deleted", status=204),
    ),
    Route(
        method="GET",
        path=MEMBERS,
        handler=workspaces.list_members,
        opens=workspace(),
        summary="List members, oldest membership first",
        query=schemas.PageSchema(),
        answer=answers.MembersSchema(),
        statuses=statuses(UNFIT, MISSING, ok="A page"),
    ),
    Route(
        method="POST",
        path=MEMBERS,
        handler=workspaces.add_member,
        opens=workspace("manage_members"),
        summary="Make a user a member, or give a member another role",
        body=schemas.MemberSchema(),
        answer=answers.MemberAnswerSchema(),
        statuses={
            200: "The member, whose role was changed",
            **statuses(BODY, MISSING, REFUSED, ok="The member", status=201),
        },
    ),
    Route(
        method="DELETE",
        path=f"{MEMBERS}{{user_id}}/",
        handler=workspaces.remove_member,
        opens=workspace(),
        summary="Remove a member, or leave",
        statuses=statuses({400: "The owner stays"}, MISSING, REFUSED, ok="Removed", status=204),
    ),
]
