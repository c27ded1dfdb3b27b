"""nginx for several processes, as the manual shows it; ``python -m bench.soak cluster`` runs it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from bench.soak.nginx import adapted, configured, documented, program


def test_the_manual_has_one_for_three_processes() -> None:
    text = adapted(documented(), 4000, [4001, 4002, 4003])
    assert "listen 127.0.0.1:4000;" in text
    assert [f"server 127.0.0.1:{port} " in text for port in (4001, 4002, 4003)] == [True] * 3
    assert ":808" not in text


def test_it_is_for_so_many_and_no_others() -> None:
    for servers in ([4001, 4002], [4001, 4002, 4003, 4004]):
        with pytest.raises(LookupError, match="for 3 servers"):
            adapted(documented(), 4000, servers)


@pytest.mark.skipif(program() is None, reason="no nginx is installed")
def test_nginx_understands_it(tmp_path: Path) -> None:
    found = program()
    assert found is not None
    file = configured(tmp_path, 4000, [4001, 4002, 4003])
    told = subprocess.run(
        [found, "-t", "-p", str(tmp_path), "-c", str(file), "-e", "stderr"], capture_output=True, text=True, check=False
    )
    assert told.returncode == 0, told.stderr
    assert "warn" not in told.stderr, told.stderr
