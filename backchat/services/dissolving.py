"""What a workspace leaves behind when it is deleted, and the job that clears it away."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from backchat.domain.workspace import Workspace
from backchat.errors import BackchatError
from backchat.ports.storage import Change, Delete, Purge, Query, RecordStore
from backchat.services.jobs import Job, job_put
from backchat.services.stored import CONVERSATION
from backchat.services.workspace_records import MEMBERSHIP, WORKSPACE

TOPIC = "workspace"
PAGE = 100


def clearing_job(id: str, workspace: str, worker: str) -> Job:
    """``worker``: the process that will start it; the empty text leaves it to any that serves the store.

    It is the workspace's own, not its owner's: it outlives their account.
    """
    return Job(
        id=id,
        topic=TOPIC,
        owner=workspace,
        line=f"workspace {workspace}",
        worker=worker,
        payload={"workspace": workspace},
    )


def dissolution(workspace: Workspace, clearing: Job) -> list[Change]:
    """What deletes a workspace with its memberships. It is stale when the workspace changes meanwhile.

    From then on nobody may do anything with a conversation there. The memberships are one change, however many: whoever
    stores another one requires the workspace.
    """
    return [
        Delete(WORKSPACE.name, workspace.id, workspace.version),
        Purge(MEMBERSHIP.name, (("workspace", (workspace.id,)),)),
        job_put(clearing),
    ]


@dataclass(frozen=True, slots=True)
class Emptying:
    """The handler of the jobs that delete the conversations of deleted workspaces, whoever's they are.

    ``clear`` deletes a conversation with everything that belongs to it. What was spent there stays on the books.
    """

    store: RecordStore
    clear: Callable[[str], Awaitable[bool]]

    async def work(self, job: Job) -> Sequence[Change]:
        """Nothing new can come in: whatever is stored in a workspace requires its record."""
        where = (("workspace", (job.payload["workspace"],)),)
        while page := await self.store.find(Query(kind=CONVERSATION.name, where=where, limit=PAGE)):
            for record in page:
                await self.clear(record.id)
        return []

    async def failed(self, job: Job, error: BackchatError) -> Sequence[Change]:
        return []
