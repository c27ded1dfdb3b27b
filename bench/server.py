"""backchat as its users start it: a configuration file, a key, ``backchat serve``."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from bench.load import Target
from bench.processes import TARGET_CORE, Child, NotReady
from bench.wire import HOST, ask, request

COMMAND = str(Path(sys.executable).with_name("backchat"))
USER = "bench"
SQLITE: Mapping[str, Any] = {"use": "sqlite", "path": {"$data": "backchat.db"}, "synchronous": "FULL"}


def configuration(
    upstream_port: int,
    *,
    storage: Mapping[str, Any] = SQLITE,
    echo_delay_ms: int | None = None,
    window: int = 20,
    dialects: Sequence[str] = ("chat",),
) -> dict[str, Any]:
    """What is measured: SQLite with its default durability unless said, API keys, a window of messages."""
    if echo_delay_ms is not None:
        provider: dict[str, Any] = {"use": "echo", "delay_ms": echo_delay_ms}
    else:
        url = f"http://{HOST}:{upstream_port}/v1"
        provider = {"use": "openai", "base_url": url, "api_key": "bench-upstream", "model": "bench"}
    return {
        "storage": dict(storage),
        "providers": {"bench": provider},
        "default_provider": "bench",
        "memory": {"use": "window", "size": window},
        "auth": [{"use": "apikey"}],
        "dialects": [{"use": name} for name in dialects],
    }


class Backchat:
    """One installation: a directory with its configuration and data, and the process that serves it, if one runs."""

    def __init__(self, directory: Path, port: int, config: Mapping[str, Any] | None) -> None:
        self.port, self.data = port, directory / "data"
        self.log = directory / "backchat.log"
        self.options = ["--data", str(self.data)]
        if config is not None:
            file = directory / "backchat.yml"
            file.write_text(yaml.safe_dump(dict(config)), encoding="utf-8")
            self.options += ["--config", str(file)]
        self.child: Child | None = None

    def create_key(self, user: str = USER) -> str:
        """A new key of that user; the account is made if there is none."""
        args = [COMMAND, "keys", "create", "--user", user, *self.options]
        made = subprocess.run(args, capture_output=True, text=True, check=False)
        if made.returncode:
            raise RuntimeError(f"backchat keys create: {made.stderr.strip()}")
        return made.stdout.strip()

    def first_key(self, seconds: float = 30.0) -> str:
        """The key that the first start on an empty store prints. Raises NotReady."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if found := re.search(r"bsk_\w+", self.log.read_text(encoding="utf-8")):
                return found[0]
            time.sleep(0.005)
        raise NotReady("no key was printed")

    def start(self, *, core: int = TARGET_CORE) -> float:
        """Serve; returns the seconds from the start of the process until ``/readyz`` answered 200."""
        began = time.monotonic()
        args = [COMMAND, "serve", "--port", str(self.port), *self.options]
        self.child = Child("backchat", args, core=core, log=self.log)
        self.child.wait_for(f"http://{HOST}:{self.port}/readyz")
        return time.monotonic() - began

    def stop(self) -> None:
        if self.child is not None:
            self.child.stop()
            self.child = None

    def kill(self) -> None:
        assert self.child is not None
        self.child.kill()
        self.child = None

    def send(self, number: signal.Signals) -> None:
        assert self.child is not None
        self.child.process.send_signal(number)

    @property
    def database(self) -> Path:
        """The SQLite file."""
        return self.data / "backchat.db"

    @property
    def pid(self) -> int:
        assert self.child is not None
        return self.child.pid

    def target(self, key: str) -> Target:
        return Target("backchat", self.port, self.pid, key)


@contextmanager
def backchat(directory: Path, port: int, config: Mapping[str, Any] | None) -> Iterator[Backchat]:
    """An installation in a directory; whatever process serves it at the end is ended."""
    installation = Backchat(directory, port, config)
    try:
        yield installation
    finally:
        installation.stop()


async def get(target: Target, path: str) -> Any:
    """The JSON of a GET. Raises RuntimeError for anything but 200."""
    exchange = await ask(target.port, request("GET", path, key=target.key))
    if exchange.status != 200:
        raise RuntimeError(f"GET {path}: {exchange.status} {exchange.body()[:200]!r}")
    return exchange.json()
