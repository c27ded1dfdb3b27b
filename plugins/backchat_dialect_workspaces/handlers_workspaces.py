"""Workspaces, and who is in them."""

from __future__ import annotations

from aiohttp import web

from backchat.web.dialect import Call
from backchat_dialect_workspaces import shapes
from backchat_dialect_workspaces.answering import json_answer
from backchat_dialect_workspaces.paging import paged, window


async def list_workspaces(call: Call) -> web.Response:
    skip, size = window(call)
    found, count = await call.services.workspaces.page(call.who, skip=skip, limit=size)
    return json_answer(paged(call, [shapes.workspace(w, role) for w, role in found], count))


async def create_workspace(call: Call) -> web.Response:
    made = await call.services.workspaces.create(call.who, call.body["name"])
    return json_answer(shapes.workspace(made, "owner"), 201)


async def get_workspace(call: Call) -> web.Response:
    return json_answer(shapes.workspace(*call.opened))


async def update_workspace(call: Call) -> web.Response:
    workspace, role = call.opened
    if "name" in call.body:
        workspace = await call.services.workspaces.rename(call.who, workspace.id, call.body["name"])
    return json_answer(shapes.workspace(workspace, role))


async def delete_workspace(call: Call) -> web.Response:
    await call.services.workspaces.dissolve(call.who, call.path("workspace_id"))
    return web.Response(status=204)


async def list_members(call: Call) -> web.Response:
    skip, size = window(call)
    found, count = await call.services.workspaces.members(call.who, call.path("workspace_id"), skip=skip, limit=size)
    return json_answer(paged(call, [shapes.member(m) for m in found], count))


async def add_member(call: Call) -> web.Response:
    """201 for a new member; 200 for one who has another role now."""
    body = call.body
    made, new = await call.services.workspaces.add(
        call.who, call.path("workspace_id"), body.get("role"), user=body.get("user_id"), email=body.get("email")
    )
    return json_answer(shapes.member(made), 201 if new else 200)


async def remove_member(call: Call) -> web.Response:
    await call.services.workspaces.remove(call.who, call.path("workspace_id"), call.path("user_id"))
    return web.Response(status=204)
