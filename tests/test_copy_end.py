"""What is looked at once more when a copy ends; and how a long command tells how far it is where nobody looks."""

from __future__ import annotations

import pytest

from backchat.cli.progress import Advance
from backchat.errors import Conflict
from backchat.ports.storage import Put, Query
from backchat.services.copying import Step
from backchat.services.kinds import KINDS
from backchat.testing.memory_store import MemoryStore
from copying_made import Between, copied, made, server


@pytest.mark.parametrize(
    ("written", "said"),
    [
        (server(), "a server was started on TO meanwhile"),
        (made("user", 77), r"written to in the end \(user: 1 records in FROM, 2 in TO\)"),
    ],
)
async def test_a_target_that_others_write_to(written: Put, said: str) -> None:
    source, target = MemoryStore(KINDS), MemoryStore(KINDS)
    await source.apply([made("user", 1)])
    compared = False

    async def late(query: Query) -> None:
        if compared and query.kind == "worker":  # the last look at who runs on it
            await target.apply([written])

    def told(step: Step) -> None:
        nonlocal compared
        compared = compared or (step.stage == "digests" and step.done > 0)

    with pytest.raises(Conflict, match=said):
        await copied(source, Between(target, before_find=late), told)
    assert await target.get("copying", "copy") is not None  # nobody takes it for finished


def test_plain_progress(capsys: pytest.CaptureFixture[str]) -> None:
    with Advance() as advance:
        for done in (0, 64, 268):
            advance.show("records", done, 268, f"{done} MB")
        for done in (0, 0):
            advance.show("changes since then", done, None, f"{done} changes")
        for done in (7, 7, 8):
            advance.show("following", done, None, f"{done} changes")
        advance.show("comparing", 268, 268)
    assert capsys.readouterr().err.splitlines() == [
        "records: 0 of 268 (0 MB)",
        "records: 268 of 268 (268 MB)",
        "following: 8 changes",
        "comparing: 268 of 268",
    ]
