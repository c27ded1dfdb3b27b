"""The processes a measurement needs: started here, pinned to a core, ended here and by their own id only."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from bench.procfs import cores
from bench.wire import HOST


class NotReady(Exception):
    """A process ended, or did not answer, before it was of use."""


def prepare_rig() -> None:
    """Keep the rig itself on its core, and let it and its children open as many files as the system allows."""
    _, rig = cores()
    os.sched_setaffinity(0, {rig})
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


TARGET_CORE, RIG_CORE = cores()


class Child:
    """A process of ours. Its output goes to a file beside its data."""

    def __init__(self, name: str, args: Sequence[str], *, core: int, log: Path) -> None:
        self.name, self.log = name, log
        own = os.sched_getaffinity(0)
        # Inherited at the fork, so that no thread of the child is ever anywhere else.
        os.sched_setaffinity(0, {core})
        try:
            with log.open("ab") as output:
                self.process = subprocess.Popen(
                    args,
                    stdout=output,
                    stderr=output,
                    stdin=subprocess.DEVNULL,
                    env={**os.environ, "BACKCHAT_INSPECT": "1"},  # its memory and its files are measured
                )
        finally:
            os.sched_setaffinity(0, own)
        self.pid = self.process.pid

    def wait_for(self, url: str, seconds: float = 30.0) -> None:
        """Until the URL answers 200. Raises NotReady."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if self.process.poll() is not None:
                raise NotReady(f"{self.name} ended with {self.process.returncode}: {self.last_words()}")
            with suppress(URLError, OSError), urlopen(url, timeout=2) as response:
                if response.status == 200:
                    return
            time.sleep(0.005)
        raise NotReady(f"{self.name} did not answer {url} within {seconds:g} s: {self.last_words()}")

    def last_words(self) -> str:
        return self.log.read_text(errors="replace")[-2000:].strip() or "(no output)"

    def kill(self) -> None:
        """SIGKILL, and nothing is left when this returns."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self, seconds: float = 15.0) -> None:
        """SIGTERM; SIGKILL if that is not enough."""
        if self.process.poll() is not None:
            return
        self.process.terminate()
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()


@contextmanager
def upstream(port: int, directory: Path) -> Iterator[Child]:
    """The upstream, on the rig's core."""
    args = [sys.executable, "-m", "bench.upstream", "--port", str(port)]
    child = Child("upstream", args, core=RIG_CORE, log=directory / "upstream.log")
    try:
        child.wait_for(f"http://{HOST}:{port}/stats")
        yield child
    finally:
        child.stop()


@contextmanager
def relay(port: int, upstream_port: int, directory: Path) -> Iterator[Child]:
    """The yardstick, on the core of the process under test."""
    args = [sys.executable, "-m", "bench.relay", "--port", str(port), "--upstream", f"http://{HOST}:{upstream_port}"]
    child = Child("relay", args, core=TARGET_CORE, log=directory / "relay.log")
    try:
        child.wait_for(f"http://{HOST}:{port}/ready")
        yield child
    finally:
        child.stop()
