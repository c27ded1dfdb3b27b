"""nginx in front of several servers, as docs/operations.md says: its text, with other addresses."""

from __future__ import annotations

import getpass
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bench.processes import RIG_CORE, Child
from bench.wire import HOST

MANUAL = Path(__file__).parents[2] / "docs" / "operations.md"
PROCESS = "X-Process"
"""The header, added by the rig, that names the server which an answer came from."""

_AROUND = """
daemon off;
user {user};
worker_processes 2;
worker_rlimit_nofile 16384;
pid {directory}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 8192; }}
http {{
    access_log off;
    add_header {header} $upstream_addr always;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
{documented}
}}
"""


def documented() -> str:
    """The configuration for several processes in the manual. Raises LookupError."""
    section = MANUAL.read_text(encoding="utf-8").partition("\n## Several processes\n")[2].partition("\n## ")[0]
    found = re.findall(r"```nginx\n(.*?)```", section, re.DOTALL)
    if len(found) != 1:
        raise LookupError(f"{len(found)} configurations of nginx in the section on several processes")
    return str(found[0])


def adapted(text: str, port: int, servers: Sequence[int]) -> str:
    """The same with these ports on the loopback. Raises LookupError if it is for another number of servers."""
    ports = iter(servers)
    text, listening = re.subn(r"listen 80;", f"listen {HOST}:{port};", text)
    named = re.findall(r"server 127\.0\.0\.1:\d+", text)
    if listening != 1 or len(named) != len(servers):
        raise LookupError(f"the documented configuration is for {len(named)} servers and {listening} addresses")
    return re.sub(r"server 127\.0\.0\.1:\d+", lambda _: f"server {HOST}:{next(ports)}", text)


def program() -> str | None:
    """Where nginx is; on Debian it is installed by ``apt-get install nginx-light``."""
    return shutil.which("nginx") or shutil.which("/usr/sbin/nginx")


def configured(directory: Path, port: int, servers: Sequence[int]) -> Path:
    """A file that nginx can be started with, and what it needs, in a directory. Raises LookupError."""
    file = directory / "nginx.conf"
    inner = adapted(documented(), port, servers)
    text = _AROUND.format(user=getpass.getuser(), directory=directory, header=PROCESS, documented=inner)
    file.write_text(text, encoding="utf-8")
    return file


@contextmanager
def nginx(directory: Path, port: int, servers: Sequence[int]) -> Iterator[Child]:
    """A proxy on ``port``, ended in the end. Raises LookupError, and NotReady if it does not come up."""
    found = program()
    if found is None:
        raise LookupError("no nginx: install the package nginx-light")
    args = [found, "-p", str(directory), "-c", str(configured(directory, port, servers)), "-e", "stderr"]
    child = Child("nginx", args, core=RIG_CORE, log=directory / "nginx.log")
    try:
        child.wait_for(f"http://{HOST}:{port}/healthz")
        yield child
    finally:
        child.stop()
