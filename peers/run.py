"""Run the tests in this folder against real servers that speak the protocols of backchat's providers.

    python peers/run.py [arguments for pytest]

Needs Python and a package index, nothing else. LiteLLM's proxy and llama.cpp's server go into environments of their own
(the one pins packages that backchat does not), and backchat too, unless this interpreter has it already. All live in
``.peers`` and are used again as long as the requirements stay the same. Everything runs on loopback; no key is needed,
and the only model that is asked is one of random weights, made on the spot.
"""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import venv
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
WORK = ROOT / ".peers"
LITELLM = "litellm[proxy]==1.106.2"
LLAMACPP = ("xllamacpp==2026.10.11549", "gguf==0.19.0", "numpy")
BACKCHAT = f"{ROOT}[test]"
START = 180


def environment(name: str, *requirement: str) -> Path:
    """The folder of executables of a virtual environment that holds the requirement; made or completed if need be."""
    home = WORK / name
    programs = home / ("Scripts" if os.name == "nt" else "bin")
    mark = home / "installed"
    wanted = " ".join(requirement)
    if not mark.exists() or mark.read_text() != wanted:
        print(f"installing {wanted} into {home}", flush=True)
        venv.create(home, with_pip=True, clear=True)
        subprocess.run([programs / "python", "-m", "pip", "install", "-q", *requirement], check=True)
        mark.write_text(wanted)
    return programs


def python_with_backchat() -> str:
    if all(find_spec(name) for name in ("backchat", "pytest", "pytest_asyncio", "openai")):
        return sys.executable
    return str(environment("env-backchat", "-e", BACKCHAT) / "python")


@contextmanager
def litellm(key: str) -> Iterator[str]:
    """A LiteLLM proxy; yields its address. Its output goes to ``.peers/litellm.log``."""
    programs = environment("env-litellm", LITELLM)
    settings = {"LITELLM_MASTER_KEY": key, "LITELLM_LOCAL_MODEL_COST_MAP": "True", "NO_COLOR": "1"}
    config = HERE / "litellm" / "config.yaml"
    command = [programs / "litellm", "--config", config, "--telemetry", "False", "--host", "127.0.0.1", "--port"]
    with running("litellm", command, "/health/liveliness", {"BACKCHAT_PEER_KEY": key, **settings}) as address:
        yield address


@contextmanager
def llamacpp(key: str) -> Iterator[str]:
    """llama.cpp's server with a model of noise; yields its address. Its output goes to ``.peers/llamacpp.log``."""
    programs = environment("env-llamacpp", *LLAMACPP)
    model = WORK / "noise.gguf"
    subprocess.run([programs / "python", HERE / "llamacpp" / "model.py", model], check=True)
    command = [programs / "python", HERE / "llamacpp" / "server.py", model]
    with running("llamacpp", command, "/health", {"BACKCHAT_PEER_KEY": key}) as address:
        yield address


@contextmanager
def running(name: str, command: Sequence[str | Path], health: str, settings: Mapping[str, str]) -> Iterator[str]:
    """A server that is told its port as its last argument; yields its address.

    ``BACKCHAT_PEER_SELF`` is where it speaks OpenAI's protocol, for one that asks itself.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = WORK / f"{name}.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [*command, str(port)],
            cwd=WORK,
            env={**os.environ, **settings, "BACKCHAT_PEER_SELF": f"http://127.0.0.1:{port}/v1"},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            wait_for(f"http://127.0.0.1:{port}{health}", process, log)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    sys.exit(f"{log.stem} did not start:\n{log.read_text()[-4000:]}")


def main() -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # the servers are ended first
    WORK.mkdir(exist_ok=True)
    (WORK / ".gitignore").write_text("*\n")
    python = python_with_backchat()
    key = f"sk-peer-{secrets.token_hex(16)}"
    with litellm(key) as proxy, llamacpp(key) as local:
        settings = {"BACKCHAT_PEER_LITELLM": proxy, "BACKCHAT_PEER_LLAMACPP": local, "BACKCHAT_PEER_KEY": key}
        command = [python, "-m", "pytest", str(HERE), "-rx", *sys.argv[1:]]
        return subprocess.run(command, cwd=ROOT, env={**os.environ, **settings}, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
