"""The directory of recordings: a file for each answer, there whole or not at all, and for its owner only.

A file's name is ``<digest of the request>.<when it was asked, in nanoseconds>.<random>.jsonl``: those of equal requests
are in order by name, and are found without a look into any.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import mkstemp
from uuid import uuid4

from backchat.errors import ConfigError
from backchat_replay.asked import Asked
from backchat_replay.written import About, Damaged, Recording, first_line, lines, recording

SUFFIX = ".jsonl"
MOST_COMPARED = 1000
"""Recordings that a request without one is compared with, the newest."""


def made(path: Path) -> None:
    """Make the directory, if it is missing. Raises ConfigError."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"path: the directory cannot be made: {error.strerror}") from None


def there(path: Path) -> None:
    """Raises ConfigError if the directory is not there."""
    if not path.is_dir():
        raise ConfigError("path: there is no such directory; the provider `record` makes one, with recordings")


def write(path: Path, found: Recording, asked_at: int) -> None:
    """``asked_at``: nanoseconds since 1970. Raises OSError."""
    place = path / f"{found.about.asked.digest}.{asked_at:020d}.{uuid4().hex[:8]}{SUFFIX}"
    handle, beside = mkstemp(prefix=".recording-", suffix=".part", dir=path)  # with mode 0600
    try:
        with open(handle, "wb") as sink:
            sink.write(lines(found))
            sink.flush()
            os.fsync(handle)
        os.replace(beside, place)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(beside)
        raise


def of_request(path: Path, asked: Asked) -> Sequence[str]:
    """Names of the recordings of this request, in the order in which they were asked. Raises OSError."""
    return sorted([file.name for file in path.glob(f"{asked.digest}.*{SUFFIX}")])


def read(path: Path, name: str) -> Recording:
    """Raises OSError, Damaged."""
    return recording((path / name).read_bytes())


def models(path: Path) -> Sequence[str]:
    """The models that were asked, first the provider's own of the oldest recording; each once. Raises OSError."""
    abouts = list(_abouts(_by_age(path)))
    return list(dict.fromkeys([*[a.own_model for a in abouts[:1]], *[a.model for a in abouts]]))


def nearest(path: Path, asked: Asked) -> tuple[int, Asked | None]:
    """How many recordings there are, and which of the newest was asked most nearly the same. Raises OSError."""
    names = _by_age(path)
    newest = [about.asked for about in _abouts(names[-MOST_COMPARED:])]
    return len(names), min(reversed(newest), key=asked.distance, default=None)


def _by_age(path: Path) -> list[Path]:
    return sorted(path.glob(f"*{SUFFIX}"), key=lambda p: p.name.partition(".")[2])


def _abouts(files: Sequence[Path]) -> Iterator[About]:
    """The first lines; those of damaged files are passed over, for they are no help."""
    for file in files:
        with suppress(Damaged, FileNotFoundError), file.open("rb") as source:
            yield first_line(source.readline())
