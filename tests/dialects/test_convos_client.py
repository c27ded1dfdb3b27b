"""LibreChat's own client layer (``librechat-data-provider``, in Node), pointed at a server of its own.

``tests/convos_client/calls.js`` makes the calls and looks at the answers; each of its cases is a test here.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from served import backchat, serving

CLIENT = Path(__file__).parent.parent / "convos_client"
CASES = re.findall(r"^test\('(\w+)'", (CLIENT / "calls.js").read_text("utf-8"), re.MULTILINE)
NODE = shutil.which("node")
EMAIL, PASSWORD = "ann@example.org", "open the pod bay doors"


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, str | None]]:
    """What came of each case: None, or what went wrong."""
    if NODE is None:
        pytest.skip("there is no node here")
    if not (CLIENT / "node_modules").is_dir():
        pytest.skip("the client is not installed: run npm ci in tests/convos_client")
    directory = tmp_path_factory.mktemp("server")
    with serving(directory) as server:
        args = ("users", "create", "ann", "--email", EMAIL, "--password-stdin", *server.place)
        made = backchat(*args, stdin=f"{PASSWORD}\n")
        assert made.returncode == 0, made.stderr
        command = [NODE, "calls.js", f"http://127.0.0.1:{server.port}", EMAIL, PASSWORD]
        done = subprocess.run(command, cwd=CLIENT, capture_output=True, text=True, timeout=90, check=False)
        assert done.returncode == 0, done.stderr
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        yield {line["name"]: line["error"] for line in lines}


def test_the_cases_are_found() -> None:
    assert len(CASES) > 30
    assert len(set(CASES)) == len(CASES)


@pytest.mark.parametrize("case", CASES)
def test_call(results: Mapping[str, str | None], case: str) -> None:
    assert case in results, "it was not reached"
    assert results[case] is None, results[case]
