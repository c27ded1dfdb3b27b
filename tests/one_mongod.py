"""One mongod for a run of tests. The process that controls the run starts it when a test of any process first asks."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from multiprocessing.connection import Client, Listener
from threading import Thread

from bench.mongod import Mongod, binary, one_node

GIVEN = "BACKCHAT_TEST_MONGO"
"""The environment variable that names a server to use instead: its URL."""
_ASK = "BACKCHAT_TEST_MONGO_ASK"
"""Where the controlling process is asked for the server's URL."""
_URL, _END = "url", "end"


def missing() -> str | None:
    """Why there is no MongoDB to test on."""
    if os.environ.get(GIVEN) or binary():
        return None
    return f"no mongod: install the packages of backchat[dev], or name one in $MONGOD, or a replica set in ${GIVEN}"


def mongo_url() -> str:
    """The URL of the server of this run, which is up. A server that does not come up fails whoever asks."""
    given = os.environ.get(GIVEN)
    if given:
        return given
    answer = _asked(os.environ[_ASK], _URL)
    assert answer.startswith("mongodb://"), answer
    return answer


class OneMongod:
    """In the controlling process: answers, and ends the server with the run."""

    def __init__(self) -> None:
        self._listener = Listener()
        os.environ[_ASK] = str(self._listener.address)
        self._thread = Thread(target=self._answer, name="mongod of the tests", daemon=True)
        self._thread.start()

    def end(self) -> None:
        _asked(os.environ.pop(_ASK), _END)
        self._thread.join()
        self._listener.close()

    def _answer(self) -> None:
        with ExitStack() as stack:
            url, asked = "", _URL
            while asked != _END:
                with self._listener.accept() as connection:
                    asked = connection.recv()
                    if asked == _URL and not url:
                        try:
                            server = stack.enter_context(one_node())
                            stack.enter_context(_not_left_behind(server))
                            url = server.url
                        except Exception as error:
                            url = f"mongod did not start: {error}"
                    connection.send(url)


@contextmanager
def _not_left_behind(server: Mongod) -> Iterator[None]:
    """Should this process be killed, a shell notices that its pipe ends, and clears up."""
    assert server.process is not None
    clear_up = 'read nothing; kill -9 "$0"; rm -rf "$1"'
    command = ["sh", "-c", clear_up, str(server.process.pid), str(server.directory)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True) as shell:
        try:
            yield
        finally:
            shell.kill()


def _asked(address: str, what: str) -> str:
    with Client(address) as connection:
        connection.send(what)
        answer: str = connection.recv()
        return answer
