"""Workspaces and memberships as records."""

from __future__ import annotations

from backchat.domain.times import moment, stamp
from backchat.domain.workspace import Membership, Workspace
from backchat.ports.storage import Kind, Put, Record

WORKSPACE = Kind(name="workspace", fields=("owner", "created"), indexes=(("owner", "created"),))
"""Of no partition: a workspace passes to another owner when the account of its own is deleted."""
MEMBERSHIP = Kind(
    name="membership",
    fields=("workspace", "user", "role", "created"),
    indexes=(("workspace", "created"), ("user", "created")),
    partition="user",
)
"""Of the user: where somebody is a member is asked for with every list, who is a member of something seldom."""


def member_id(workspace: str, user: str) -> str:
    """Where a membership is kept: there is one of each user."""
    return f"{workspace}.{user}"


def workspace_put(w: Workspace) -> Put:
    """Store a workspace as the successor of the version it carries; version 0 is a new one."""
    doc = {
        "owner": w.owner,
        "name": w.name,
        "created": stamp(w.created_at),
        "updated": stamp(w.updated_at),
        "personal": w.personal,
    }
    return Put(WORKSPACE.name, w.id, doc, w.version)


def workspace_of(record: Record) -> Workspace:
    d = record.doc
    return Workspace(
        id=record.id,
        owner=d["owner"],
        name=d["name"],
        created_at=moment(d["created"]),
        updated_at=moment(d["updated"]),
        personal=d["personal"],
        version=record.version,
    )


def membership_put(m: Membership) -> Put:
    doc = {"workspace": m.workspace, "user": m.user, "role": m.role, "created": stamp(m.created_at)}
    return Put(MEMBERSHIP.name, member_id(m.workspace, m.user), doc, m.version)


def membership_of(record: Record) -> Membership:
    d = record.doc
    return Membership(
        workspace=d["workspace"],
        user=d["user"],
        role=d["role"],
        created_at=moment(d["created"]),
        version=record.version,
    )
