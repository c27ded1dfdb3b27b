"""Whose limits the configuration names."""

from __future__ import annotations

from dataclasses import replace

import structlog

from backchat.domain.usage import Credits
from backchat.ports.storage import Query, RecordStore
from backchat.services.account_records import USER, folded
from backchat.services.workspace_records import WORKSPACE

log = structlog.get_logger(source=__name__)


async def known(store: RecordStore, credits: Credits) -> Credits:
    """The same with users by their ids who are given by their names; a line in the log for whom there is not.

    That is no mistake for sure: the subject of another service's token has no account, and may come later.
    """
    users = {await _user(store, name): limit for name, limit in credits.users.items()}
    for id in credits.workspaces:
        if await store.get(WORKSPACE.name, id) is None:
            log.warning("credits.unknown", option=f"credits.workspaces.{id}")
    return replace(credits, users=users)


async def _user(store: RecordStore, name: str) -> str:
    if await store.get(USER.name, name) is not None:
        return name
    found = await store.find(Query(kind=USER.name, where=(("name_folded", (folded(name),)),), limit=1))
    if not found:
        log.warning("credits.unknown", option=f"credits.users.{name}")
    return found[0].id if found else name
