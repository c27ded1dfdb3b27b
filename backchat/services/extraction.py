"""Text of files, read in a process of its own for each: a file may be hostile, and reading one takes a whole core."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from asyncio import SubprocessTransport, WriteTransport
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from secrets import token_hex
from shutil import rmtree
from tempfile import gettempdir

import orjson

from backchat.domain.limits import DocumentLimits
from backchat.errors import ConfigError
from backchat.ports.extraction import Extractor, Unreadable
from backchat.services.filenames import suffix_of
from backchat.services.undumpable import make_undumpable

CHILD = "backchat.services.extraction_child"
READ = 1 << 16
NOTE = 4096
"""How much of what a dying reader says is looked at."""
ALONE = {"LANG": "C.UTF-8", "HOME": "/nonexistent", "TOKIO_WORKER_THREADS": "1", "RAYON_NUM_THREADS": "1"}
"""The environment of a reader, besides its own folder: nothing of the server's secrets."""
DAMAGED = "its text could not be read: it is damaged"
NO_PLACE = "this server has no place for temporary files"
# What the runtimes of Python, Rust and C++ say when there is no more memory.
_OUT_OF_MEMORY = (b"memory allocation of", b"MemoryError", b"bad_alloc", b"out of memory", b"Out of memory")


@dataclass(frozen=True, slots=True)
class Cut:
    """A piece of the text, at ``start`` to ``end`` in the whole."""

    text: str
    start: int
    end: int
    page: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Extracted:
    """``pages`` is the number of the last page, None if there are none;  ``characters`` counts the whole text."""

    cuts: tuple[Cut, ...]
    characters: int
    pages: int | None
    summary: str


def by_suffix(extractors: Iterable[Extractor]) -> dict[str, Extractor]:
    """The extractor for each end of a file's name. Raises ConfigError when two claim the same."""
    found: dict[str, Extractor] = {}
    for extractor in extractors:
        for suffix in extractor.suffixes:
            if found.setdefault(suffix, extractor) != extractor:
                raise ConfigError(f"extractors {found[suffix].name} and {extractor.name} both read {suffix} files")
    return found


@dataclass(frozen=True, slots=True)
class Extraction:
    """``extractors`` by the ends of file names, as ``by_suffix`` gives them."""

    extractors: Mapping[str, Extractor]
    limits: DocumentLimits = field(default_factory=DocumentLimits)

    async def read(self, filename: str, data: bytes) -> Extracted:
        """The text of a file. Raises ``Unreadable`` with a sentence for its owner.

        Cancelling this ends the other process, as every other way out does.
        """
        extractor = self.extractors.get(suffix_of(filename))
        if extractor is None:
            raise Unreadable(f"this server cannot read {suffix_of(filename) or 'such'} files")
        return await self._run(extractor, filename, data)

    async def cut(self, filename: str, text: str) -> Extracted:
        """Text that is there already, cut and summed up alike."""
        return await self._run(None, filename, text.encode(errors="replace"))

    async def _run(self, extractor: Extractor | None, filename: str, data: bytes) -> Extracted:
        limits = self.limits
        header = {
            "target": extractor.target if extractor else None,
            "name": filename,
            "path": [p for p in sys.path if p],
            "memory": limits.memory_limit,
            "seconds": limits.time_limit,
            "text": limits.max_text,
            "chunk": limits.chunk,
        }
        # Readers are of the same user, and the environment of this process may hold keys. Of no use against one that
        # runs as root, which only its jail holds back.
        make_undumpable()
        folder = await asyncio.to_thread(_folder)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-B", "-m", CHILD),
            stdin=PIPE,
            stdout=PIPE,
            stderr=PIPE,
            env={**ALONE, "TMPDIR": folder},
            start_new_session=True,
        )
        child = _Child(process, orjson.dumps(header) + b"\n", data, 8 * limits.max_text + (1 << 20))
        try:
            async with asyncio.timeout(limits.time_limit):
                return await child.answer(self._sentences(filename, extractor))
        except TimeoutError:
            raise Unreadable(f"reading it took longer than {limits.time_limit:g} seconds") from None
        finally:
            await child.end()
            await asyncio.to_thread(rmtree, folder, ignore_errors=True)

    def _sentences(self, filename: str, extractor: Extractor | None) -> Mapping[str, str]:
        memory = size_in_words(self.limits.memory_limit)
        extra = (extractor.extra if extractor else None) or "documents"
        package = extra if "[" in extra else f"backchat[{extra}]"
        return {
            "missing": f"this server cannot read {suffix_of(filename)} files: its owner can install {package}",
            "memory": f"reading it needs more memory than this server allows ({memory})",
            "time": f"reading it took longer than {self.limits.time_limit:g} seconds",
            "text": f"it holds more text than this server takes ({self.limits.max_text:,} characters)",
            "aborted": f"{DAMAGED}, or reading it needs more memory than this server allows ({memory})",
            "folder": NO_PLACE,
            "damaged": DAMAGED,
        }


def _folder() -> str:
    """Where one reader may keep temporary files, such as a library that is unpacked to be loaded. It makes it itself.

    One for all would let a reader that a file took over leave something there for the next.
    """
    try:
        return os.path.join(gettempdir(), f"backchat-reading-{token_hex(16)}")
    except OSError:
        raise Unreadable(NO_PLACE) from None


class _Child:
    """One reader: feeds it, listens to it, and ends it with everything it started."""

    def __init__(self, process: Process, header: bytes, data: bytes, most: int) -> None:
        self._process, self._most = process, most
        self._note = bytearray()
        self._tasks = [asyncio.create_task(self._feed(header, data)), asyncio.create_task(self._overhear())]

    async def answer(self, sentences: Mapping[str, str]) -> Extracted:
        cuts: list[Cut] = []
        whole: Mapping[str, object] = {}
        async with aclosing(self._lines(sentences)) as lines:
            async for line in lines:
                try:
                    said = orjson.loads(line)
                    if "text" in said:
                        cuts.append(Cut(said["text"], said["start"], said["end"], said["page"]))
                    elif "characters" in said:
                        whole = said
                    elif "unreadable" in said:
                        raise Unreadable(said["unreadable"])
                    elif "done" in said:
                        return Extracted(cuts=tuple(cuts), **whole)  # type: ignore[arg-type]
                    else:
                        raise Unreadable(sentences[next(iter(said))])
                except (ValueError, TypeError, LookupError):
                    break
        raise Unreadable(sentences[await self._cause()])

    async def _lines(self, sentences: Mapping[str, str]) -> AsyncGenerator[bytes]:
        output = self._process.stdout
        assert output is not None
        total, rest = 0, b""
        while block := await output.read(READ):
            total += len(block)
            if total > self._most:
                raise Unreadable(sentences["text"])
            *lines, rest = (rest + block).split(b"\n")
            for line in lines:
                yield line
            await asyncio.sleep(0)  # a reader that is faster than this one must not keep the loop to itself

    async def _cause(self) -> str:
        """Why it stopped without an answer."""
        code = await self._process.wait()
        await asyncio.wait(self._tasks)
        if code == -getattr(signal, "SIGXCPU", 0):
            return "time"
        if any(words in self._note for words in _OUT_OF_MEMORY):
            return "memory"
        # A library that gets no memory aborts without a word, and so does one that finds itself in disorder.
        return "aborted" if code == -signal.SIGABRT else "damaged"

    async def _feed(self, header: bytes, data: bytes) -> None:
        pipe = self._process.stdin
        assert pipe is not None
        with suppress(ConnectionError):
            pipe.write(header)
            for start in range(0, len(data), READ):
                pipe.write(data[start : start + READ])
                await pipe.drain()
        pipe.close()
        with suppress(ConnectionError):
            await pipe.wait_closed()

    async def _overhear(self) -> None:
        """Keep the beginning of what it complains about, to tell the cause of its death; it may quote the file."""
        errors = self._process.stderr
        assert errors is not None
        while block := await errors.read(READ):
            self._note += block[: NOTE - len(self._note)]

    async def end(self) -> None:
        """What it started may have left its group and hold its pipes: nothing here waits for them to be closed."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        process: SubprocessTransport = self._process._transport  # type: ignore[attr-defined]
        for number in (0, 1, 2):
            pipe = process.get_pipe_transport(number)
            if isinstance(pipe, WriteTransport) and pipe.get_write_buffer_size():
                pipe.abort()  # nobody will read the rest
            elif pipe is not None:
                pipe.close()
        await self._process.wait()


def size_in_words(count: int) -> str:
    """Bytes for people: ``20 MiB``."""
    for unit, name in ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if count >= unit:
            return f"{count / unit:g} {name}" if count % unit == 0 else f"{count / unit:.1f} {name}"
    return f"{count} bytes"
