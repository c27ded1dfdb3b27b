"""The process that reads one file: ``python -m backchat.services.extraction_child``, started by ``extraction``.

It gets a line of JSON (what to do, within which limits) and the bytes of the file on standard input, and answers in
lines of JSON on standard output: the pieces of the text, then what is known of the whole; or one line that says why
not. The file may be hostile: the limits are set before its first byte is read, its environment holds no secrets, and
``extraction_jail`` shuts it off from the rest of the machine as far as the system lets it. Where the system does not,
it can do what the server's user can, within the limits.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from typing import Any, BinaryIO

from backchat.ports.extraction import Extract, Page, Unreadable
from backchat.services.extraction_jail import die_with_parent, enter

BREAK = "\n\n"
"""Between two pages in the whole text."""
WINDOW = 12
"""Chunks that are cut in one go; the splitter takes more than twice the time for twice the text."""
FILE = 64 << 20
"""Bytes of a temporary file: kreuzberg unpacks the library that reads PDF, of 8 MB, before it loads it."""
SUMMARY = 300
MARKDOWN = (".md", ".markdown")
_UNWANTED = re.compile("[\x00-\x08\x0e-\x1f\x7f\ud800-\udfff\ufeff]")
_BREAKS = re.compile("\r\n?|[\x0b\x0c\x85\u2028\u2029]")
_SENTENCE = re.compile(r"[.!?\u2026](?=\s|$)|[\u3002\uff01\uff1f]")
Piece = tuple[str, int, int, int | None]
"""Text, start, end, page."""


class NoFolder(Exception):
    """There is no place for temporary files."""


def main() -> None:
    answers = _own_output()
    header = json.loads(sys.stdin.buffer.readline())
    _limit(header)
    try:
        _make_folder()
        enter(os.environ["TMPDIR"], header["path"])
        for answer in _read(header, sys.stdin.buffer):
            answers.write(json.dumps(answer, ensure_ascii=False).encode() + b"\n")
    except ImportError:
        last: dict[str, object] = {"missing": True}
    except NoFolder:
        last = {"folder": True}
    except Unreadable as error:
        last = {"unreadable": str(error)}
    except MemoryError:
        last = {"memory": True}
    except BaseException:
        # Whatever a parser raises, panics of native ones included, says that it could not make sense of the file.
        last = {"damaged": True}
    else:
        last = {"done": True}
    answers.write(json.dumps(last).encode() + b"\n")
    answers.flush()
    os._exit(0)  # what a library left running must not hold up the answer


def _own_output() -> BinaryIO:
    """Standard output for the answers alone: what libraries print goes nowhere."""
    own = os.dup(1)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)
    return os.fdopen(own, "wb")


def _make_folder() -> None:
    try:
        os.mkdir(os.environ["TMPDIR"], 0o700)
    except OSError:
        raise NoFolder from None


def _limit(header: Mapping[str, Any]) -> None:
    """Bounds that the system keeps, for this process and its children; those it does not know are left out."""
    with suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write("1000")  # when the machine is short of memory, this process goes and not the server
    with suppress(OSError):
        os.nice(10)
    die_with_parent()
    try:
        import resource
    except ImportError:  # not on this system; the parent still bounds time and output
        return
    memory, seconds = header["memory"], header["seconds"]
    for name, value in (
        # Private memory; the address space is wider, for it counts reserved stacks and mapped libraries too.
        ("RLIMIT_DATA", memory),
        ("RLIMIT_AS", 2 * memory + (1 << 30)),
        ("RLIMIT_CPU", int(seconds) + 1),
        ("RLIMIT_FSIZE", FILE),
        ("RLIMIT_CORE", 0),
    ):
        with suppress(AttributeError, OSError, ValueError):
            resource.setrlimit(getattr(resource, name), (value, value))


def _read(header: Mapping[str, Any], source: BinaryIO) -> Iterator[dict[str, object]]:
    # The server's own path, so that the same plugins are found here.
    sys.path[:] = header["path"]
    chunk, most = header["chunk"], header["text"]
    pages = _pages(header, source.read())
    texts = [_cleaned(page.text) for page in pages]
    length = sum(len(text) for text in texts) + len(BREAK) * max(0, len(texts) - 1)
    if length > most:
        raise Unreadable(f"it holds more text than this server takes ({most:,} characters)")
    if not any(text.strip() for text in texts):
        raise Unreadable("no text was found in it; text in pictures and scans is not read")
    numbers = [page.number for page in pages]
    cap = 2 * most // chunk + 1
    markdown = header["name"].lower().endswith(MARKDOWN)
    for count, (text, start, end, page) in enumerate(pieces(texts, numbers, chunk, markdown=markdown), 1):
        if count > cap:
            raise Unreadable(f"its text falls into more passages than this server takes ({cap:,})")
        yield {"text": text, "start": start, "end": end, "page": page}
    yield {
        "characters": length,
        "pages": max((n for n in numbers if n is not None), default=None),
        "summary": summary(BREAK.join(texts[:20])),
    }


def _pages(header: Mapping[str, Any], data: bytes) -> Sequence[Page]:
    if header["target"] is None:
        return [Page(data.decode())]
    module, _, function = header["target"].partition(":")
    extract: Extract = getattr(import_module(module), function)
    return extract(data, header["name"])


def pieces(texts: Sequence[str], numbers: Sequence[int | None], chunk: int, *, markdown: bool) -> Iterator[Piece]:
    """The pieces of each page, none longer than ``chunk`` characters, cut where paragraphs, sentences and words end."""
    from semantic_text_splitter import MarkdownSplitter, TextSplitter

    split = (MarkdownSplitter(chunk) if markdown else TextSplitter(chunk)).chunk_indices
    offset = 0
    for text, number in zip(texts, numbers, strict=True):
        for start, end in _windows(text, WINDOW * chunk):
            for at, piece in _joined(split(text[start:end]), text[start:end], chunk):
                begin = offset + start + at
                yield piece, begin, begin + len(piece), number
        offset += len(text) + len(BREAK)


def _joined(found: Sequence[tuple[int, str]], text: str, chunk: int) -> Iterator[tuple[int, str]]:
    """Neighbours put together while they fit: a text of very short sections does not fall into as many pieces."""
    first = last = -1
    for start, piece in found:
        if first >= 0 and start + len(piece) - first > chunk:
            yield first, text[first:last]
            first = -1
        if first < 0:
            first = start
        last = start + len(piece)
    if first >= 0:
        yield first, text[first:last]


def _windows(text: str, size: int) -> Iterator[tuple[int, int]]:
    """Long stretches that end where a paragraph does, or else a line, or else a word."""
    start = 0
    while len(text) - start > size:
        end = start + size
        for mark in (BREAK, "\n", " "):
            found = text.rfind(mark, start + size // 2, end)
            if found >= 0:
                end = found + len(mark)
                break
        yield start, end
        start = end
    if start < len(text):
        yield start, len(text)


def _cleaned(text: str) -> str:
    """Line ends of one kind; no characters that neither people nor every store can do anything with."""
    return _UNWANTED.sub("", _BREAKS.sub("\n", text))


def summary(text: str) -> str:
    """The first sentences, on one line of at most 300 characters; an ellipsis where even the first is longer."""
    line = " ".join(text[: 20 * SUMMARY].split())
    if len(line) <= SUMMARY:
        return line
    ends = [m.end() for m in _SENTENCE.finditer(line, 0, SUMMARY)]
    if ends and ends[-1] >= SUMMARY // 4:
        return line[: ends[-1]]
    return line[: SUMMARY - 1].rsplit(" ", 1)[0] + "\u2026"


if __name__ == "__main__":
    main()
