"""Where the files of a form are while its request is answered."""

from __future__ import annotations

import asyncio
import tempfile
import threading
from collections.abc import Callable
from io import BytesIO
from typing import BinaryIO, TypeVar

T = TypeVar("T")


class Spool:
    """The files of one request, closed with it. On ``disk`` they are temporary files, without a name; else in memory.

    With temporary files everything here, and every read and write, blocks: it is for a thread, by ``work``.
    """

    def __init__(self, *, disk: bool) -> None:
        self.disk = disk
        self._open: list[BinaryIO] = []
        self._working = threading.Lock()
        self._closed = False

    async def __aenter__(self) -> Spool:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self.disk:
            await asyncio.to_thread(self._close)

    async def work(self, do: Callable[[T], None], what: T) -> None:
        """Do something with the files in a thread. They stay open for it, also if the request is given up meanwhile."""
        await asyncio.to_thread(self._work, do, what)

    def _work(self, do: Callable[[T], None], what: T) -> None:
        with self._working:
            if not self._closed:
                do(what)

    def file(self) -> BinaryIO:
        """A new file, to be written to."""
        made: BinaryIO = tempfile.TemporaryFile() if self.disk else BytesIO()  # noqa: SIM115 (closed with the request)
        self._open.append(made)
        return made

    def take(self, file: BinaryIO) -> None:
        """Leave closing a file to somebody else."""
        self._open.remove(file)

    def _close(self) -> None:
        with self._working:
            self._closed = True
            for file in self._open:
                file.close()
            self._open.clear()
