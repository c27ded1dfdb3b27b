"""backchat as its users get it: a wheel in a virtualenv of its own, beside a plugin of somebody else."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from configparser import ConfigParser
from pathlib import Path
from typing import NamedTuple
from zipfile import ZipFile

import pytest

from backchat import __version__
from served import serving

ROOT = Path(__file__).parent.parent
EXAMPLE = ROOT / "tests" / "thirdparty" / "backchat_example"
PATIENCE = 1000 if os.environ.get("BACKCHAT_SOAK") else 110
CONFIG = """
server: {drain: 10}
storage: {use: sqlite, path: {$data: backchat.db}}
providers: {me: {use: greeter, greeting: Ahoy}}
dialects: [chat, plain]
"""


class Installed(NamedTuple):
    bin: Path
    wheel: Path
    example: Path

    def run(self, *args: str, cwd: Path | None = None) -> str:
        return run([self.bin / args[0], *args[1:]], cwd or self.bin)


def run(args: Sequence[str | Path], cwd: Path) -> str:
    ended = subprocess.run(args, cwd=cwd, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert ended.returncode == 0, f"{args}\n{ended.stdout}\n{ended.stderr}"
    return ended.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """Both wheels, built from copies and installed where nothing of this checkout can be imported.

    What they depend on is this interpreter's: seen there by its path, of which no ``.pth`` file counts.
    """
    place = tmp_path_factory.mktemp("installed")
    source, example, wheels, venv = place / "source", place / "example", place / "wheels", place / "venv"
    source.mkdir()
    for name in ("backchat", "plugins", "configs"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    shutil.copytree(EXAMPLE, example, ignore=shutil.ignore_patterns("__pycache__", "build", "*.egg-info"))
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    offline = ["--no-deps", "--no-index"]
    run([*pip, "wheel", *offline, "--no-build-isolation", "--wheel-dir", wheels, source, example], place)
    run([sys.executable, "-m", "venv", "--without-pip", venv], place)
    python = venv / "bin" / "python"
    run([*pip, "--python", python, "install", *offline, *wheels.glob("*.whl")], place)
    site = Path(run([python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], place).strip())
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    (wheel,) = wheels.glob(f"backchat-{__version__}-*.whl")
    return Installed(venv / "bin", wheel, example)


# ---- the wheel ------------------------------------------------------------------------------------------------------


def test_the_wheel_brings_its_own_packages_and_nothing_else(installed: Installed) -> None:
    names = ZipFile(installed.wheel).namelist()
    config = ConfigParser()
    config.read(ROOT / "setup.cfg")
    packages = {name.split(".")[0] for name in config["options"]["packages"].split()}
    found = {name.split("/")[0] for name in names}
    assert {name for name in found if not name.endswith(".dist-info")} == packages
    assert {name for name in packages if f"{name}/py.typed" not in names} == set()
    assert all(name == "backchat" or name.startswith("backchat_") for name in packages)
    configs = {f"backchat/configs/{file.name}" for file in (ROOT / "configs").glob("*.yml")}
    assert configs
    assert configs | {"backchat/web/docs.html"} <= set(names)


def test_it_is_the_installed_one_that_answers(installed: Installed) -> None:
    assert installed.run("backchat", "--version") == f"backchat, version {__version__}\n"
    where = installed.run("python", "-c", "import backchat, backchat_sqlite; print(backchat_sqlite.__file__)")
    assert Path(where.strip()).is_relative_to(installed.bin.parent)


def test_it_runs_without_a_configuration(installed: Installed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("served.COMMAND", str(installed.bin / "backchat"))
    with serving(tmp_path) as server:
        assert server.ask("POST", "/api/chat", {"text": "Hello"})[1]["reply"] == "Hello"
        with server.send("GET", "/docs") as page:
            assert page.status == 200
            assert b"openapi.json" in page.read()


# ---- the plugin -----------------------------------------------------------------------------------------------------


def test_the_plugin_is_listed(installed: Installed) -> None:
    lines = [line.split() for line in installed.run("backchat", "plugins").splitlines()]
    assert ["example", "1.0", "provider", "greeter"] in lines
    assert ["example_plain", "1.0", "dialect", "plain"] in lines
    assert ["example_jsonl", "1.0", "storage", "jsonl"] in lines
    assert ["echo", __version__, "provider", "echo"] in lines


def test_the_plugin_answers(installed: Installed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("served.COMMAND", str(installed.bin / "backchat"))
    file = tmp_path / "example.yml"
    file.write_text(CONFIG)
    with serving(tmp_path, options=("--config", str(file))) as server:
        expected = "Ahoy! You said: It works."
        status, answer = server.ask("POST", "/api/chat", {"text": "It works."})
        assert (status, answer["reply"], answer["provider"]) == (200, expected, "me")
        with server.send("POST", "/plain/say", "It works.") as plain:
            assert plain.read().decode() == 'Ahoy! You said: "It works."'
        (first, *_) = server.ask("GET", "/api/chat/conversations?channel=plain")[1]["conversations"]
        assert first["message_count"] == 2


def test_the_plugins_own_tests_pass(installed: Installed) -> None:
    said = installed.run("python", "-m", "pytest", "-q", "-p", "no:cacheprovider", cwd=installed.example)
    assert " passed" in said
    assert " skipped" not in said


KIT = ("--backchat-storage=jsonl", '--backchat-storage-config={"path": "{dir}/records.jsonl"}')
SHORT = "(TestContract and not many_words and not very_many) or (test_the_story and chat)"


@pytest.mark.timeout(PATIENCE + 10)
def test_the_plugins_storage_passes_the_kit(installed: Installed, tmp_path: Path) -> None:
    """As its author runs it: in a directory where nothing is. All of it takes a while: with BACKCHAT_SOAK=1."""
    some = () if os.environ.get("BACKCHAT_SOAK") else ("-k", SHORT)
    said = installed.run("python", "-m", "pytest", "-p", "no:cacheprovider", *KIT, *some, cwd=tmp_path)
    (counted,) = re.findall(r"^jsonl: (\d+) tests, of which (\d+) opened a store: (.*)$", said, re.MULTILINE)
    assert int(counted[0]) == int(counted[1]) > 150
    assert counted[2] == "backchat_example.jsonl.JsonlStore"
    assert re.search(r"^=+ \d+ passed.*=+$", said.splitlines()[-1])
