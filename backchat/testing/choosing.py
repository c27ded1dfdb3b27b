"""The storages of a run of tests: from the command line, and counted at its end."""

from __future__ import annotations

import json
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from backchat.ports.storage import RecordStore


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A storage that tests run on.

    id         what tests are told apart by, such as ``mongo-motor``
    use        the name of the backend
    settings   gives its section, but for ``use``; asked when the first test needs it. In its texts ``{dir}`` becomes a
               directory of the test's own, ``{worker}`` the name of the xdist worker, ``main`` without xdist
    check      is shown every store that a test has opened, and raises AssertionError if it is not the one meant
    missing    why it cannot be had here; its tests are skipped then
    kit_only   no other tests than those of the conformance kit run on it
    copied     an empty store may be copied while it is closed: it is made once, and each test has a copy of its files.
               Only for stores in ``{dir}``
    """

    id: str
    use: str
    settings: Callable[[], Mapping[str, Any]]
    check: Callable[[RecordStore], None] = lambda store: None
    missing: str | None = None
    kit_only: bool = False
    copied: bool = False


SQLITE = Choice(id="sqlite", use="sqlite", settings=lambda: {"path": "{dir}/backchat.db"}, copied=True)
"""What tests run on that are not told otherwise."""
CHOICES = pytest.StashKey[Sequence[Choice]]()
"""The storages of this run. A conftest may set them in its ``pytest_configure``, for runs without options."""
WORKER = os.environ.get("PYTEST_XDIST_WORKER", "main")
"""What ``{worker}`` stands for."""
KIT = Path(__file__).parent / "conformance"
LACKING = {"hypothesis": "no random calls were tried", "blockbuster": "what blocks the event loop went unnoticed"}
"""What the kit does without, and what that means."""
NOTED = "backchat_storage"
"""The property of a test that says which storage it had, and the classes of the stores that it opened."""


def add_options(parser: pytest.Parser) -> None:
    group = parser.getgroup("backchat", "the storages that tests run on")
    group.addoption(
        "--backchat-storage",
        action="append",
        metavar="NAME",
        default=[],
        help="run on this storage backend, and run the conformance kit if no tests are named; may be repeated",
    )
    group.addoption(
        "--backchat-storage-config",
        action="append",
        metavar="JSON",
        default=[],
        help="the backend's section of the configuration, an object; one for each --backchat-storage, in their order. "
        "In its texts {dir} becomes a directory of the test's own, {worker} the name of the pytest-xdist worker",
    )


def asked_for(config: pytest.Config) -> Sequence[Choice]:
    """What the options say; empty without options. Raises UsageError, which repeats no value: one may be a secret."""
    names: Sequence[str] = config.getoption("backchat_storage")
    sections = [_object(text) for text in config.getoption("backchat_storage_config")]
    if len(sections) > len(names):
        raise pytest.UsageError("more --backchat-storage-config than --backchat-storage: one belongs to each")
    if not names:
        return ()
    # Not before they are needed: whoever has backchat installed loads this file with every run of pytest.
    from backchat.errors import ConfigError
    from backchat.testing.loading import installed_plugins

    choices = []
    seen: Counter[str] = Counter()
    for n, name in enumerate(names):
        try:
            installed_plugins().storages.pick(name)
        except ConfigError as error:
            raise pytest.UsageError(f"--backchat-storage: {error}") from error
        seen[name] += 1
        id = name if seen[name] == 1 else f"{name}-{seen[name]}"
        section = sections[n] if n < len(sections) else {}
        choices.append(Choice(id=id, use=name, settings=lambda section=section: section))  # type: ignore[misc]
    return choices


def _object(text: str) -> Mapping[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict) or "use" in found:
        raise pytest.UsageError('--backchat-storage-config: must be a JSON object such as {"path": "{dir}/my.db"}')
    return found


class Chosen:
    """A plugin of one run of pytest: what its storages are, and which of them the tests really ran on."""

    def __init__(self, config: pytest.Config) -> None:
        asked = asked_for(config)
        self._asked = bool(asked)
        self.choices = asked or config.stash.get(CHOICES, (SQLITE,))
        self._tests: Counter[str] = Counter()
        self._opened: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._kit = self._asked or CHOICES in config.stash
        if self._kit and config.args_source is not config.ArgsSource.ARGS:
            config.args.append(str(KIT))

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        marks = {mark.name for mark in metafunc.definition.iter_markers()}
        if "storage" in metafunc.fixturenames and len(self.choices) > 1 and not marks & {"any_storage", "own_storage"}:
            kit = metafunc.definition.path.is_relative_to(KIT)
            values = [
                pytest.param(choice, id=choice.id, marks=[pytest.mark.skip(choice.missing)] if choice.missing else [])
                for choice in self.choices
                if kit or not choice.kit_only
            ]
            metafunc.parametrize("storage", values, indirect=True)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "teardown":
            for name, value in report.user_properties:
                if name == NOTED:
                    id, *classes = str(value).split()
                    self._tests[id] += 1
                    self._opened[id].update(classes)

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        """A run that was not made on a storage it was asked to be made on has failed."""
        ended = exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.NO_TESTS_COLLECTED)
        if not ended or hasattr(session.config, "workerinput") or session.config.option.collectonly:
            return
        for choice in self.choices:
            if not self._opened[choice.id] and (self._asked or self._tests[choice.id]):
                told = f"No test opened the storage {choice.id}: nothing of this run says anything about it."
                report = pytest.CollectReport(nodeid=f"storage {choice.id}", outcome="failed", longrepr=told, result=[])
                session.config.hook.pytest_collectreport(report=report)
                session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self._tests:
            terminalreporter.section("storages")
        for choice in self.choices:
            if choice.id in self._tests:
                stores = ", ".join(sorted(self._opened[choice.id])) or "none"
                opened = max(self._opened[choice.id].values(), default=0)
                told = f"{choice.id}: {self._tests[choice.id]} tests, of which {opened} opened a store: {stores}"
                terminalreporter.write_line(told)
        for package, lacking in LACKING.items():
            if self._kit and find_spec(package) is None:
                terminalreporter.write_line(f"The package {package} is not installed: {lacking}.")
