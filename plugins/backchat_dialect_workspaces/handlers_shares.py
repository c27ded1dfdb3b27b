"""Sessions that are shared with other members of their workspace."""

from __future__ import annotations

from aiohttp import web

from backchat.web.dialect import Call
from backchat_dialect_workspaces import shapes
from backchat_dialect_workspaces.answering import json_answer


async def share_session(call: Call) -> web.Response:
    """201 for a new share; 200 for one that allows something else now."""
    body, session = call.body, call.opened.id
    made, new = await call.services.grants.give(
        call.who, session, body.get("permission"), user=body.get("user_id"), email=body.get("email")
    )
    return json_answer(shapes.share(made, session), 201 if new else 200)


async def list_shares(call: Call) -> web.Response:
    session = call.opened.id
    return json_answer([shapes.share(g, session) for g in await call.services.grants.of(call.who, session)])


async def revoke_share(call: Call) -> web.Response:
    body = call.body
    await call.services.grants.revoke(
        call.who, call.opened.id, grant=body.get("share_id"), user=body.get("user_id"), email=body.get("email")
    )
    return web.Response(status=204)
