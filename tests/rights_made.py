"""Memberships and shares, put there as they are stored."""

from __future__ import annotations

from backchat.domain.rights import Permission, Role
from backchat.domain.workspace import Grant, Membership
from backchat.ports.storage import Delete, Put
from backchat.services.workspace_records import MEMBERSHIP, member_id, membership_put
from trees_made import BEGINNING


def member(workspace: str, user: str, role: Role = "member") -> Put:
    return membership_put(Membership(workspace=workspace, user=user, role=role, created_at=BEGINNING))


def left(workspace: str, user: str) -> Delete:
    return Delete(MEMBERSHIP.name, member_id(workspace, user))


def grant(user: str, permission: Permission = "view") -> Grant:
    return Grant(id=f"to-{user}", user=user, permission=permission, shared_by="ann", created_at=BEGINNING)
