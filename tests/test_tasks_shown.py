"""Tasks in two server processes, one of which dies; the large version is ``python -m bench.soak tasks``."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.soak.tasks import outcomes

TASKS = 20


@pytest.mark.timeout(240)
async def test_every_task_ends_once_and_all_servers_say_so(tmp_path: Path) -> None:
    for death, found in (await outcomes(tmp_path, ("freeze", "kill"), TASKS)).items():
        assert found.faults == [], death
        assert found.orphans > 0
        assert found.ends["completed"] >= TASKS // 3
        assert found.ends["failed"] == found.orphans
