"""How a configuration offers tools: what it says of one that is not there stops the start."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from backchat.errors import ConfigError
from backchat.testing.server import running

pytestmark = pytest.mark.any_storage


@pytest.mark.parametrize(
    ("tools", "told"),
    [
        (
            [{"use": "clock", "confirm": ["current_tim"]}],
            r"tools\[0\]\.confirm: no tool 'current_tim' here; there are: current_time",
        ),
        ([{"use": "clock"}, {"use": "calculator", "confirm": ["current_time"]}], r"tools\[1\]\.confirm: no tool"),
        ([{"use": "clock"}, {"use": "clock", "zone": "Europe/Paris"}], r"tools\[1\]: another tool is called"),
    ],
)
async def test_a_slip_does_not_take_the_protection_away(tmp_path: Path, tools: list[dict[str, Any]], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        async with running(tmp_path, {"tools": tools}):
            pass


async def test_what_is_offered_when(tmp_path: Path) -> None:
    clock = {"use": "clock", "always": True, "confirm": ["current_time"]}
    async with running(tmp_path, {"tools": [clock, {"use": "calculator"}]}) as box:
        toolbox = box.services.toolbox
        assert toolbox.names() == ("current_time",)
        assert toolbox.names(agent="none") == ("current_time", "calculate")
        assert toolbox.names(agent="langgraph") == ("calculate",), "it cannot wait for a user"
        assert (toolbox.waits("current_time"), toolbox.waits("calculate")) == (True, False)
