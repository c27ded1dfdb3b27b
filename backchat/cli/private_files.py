"""Files that hold what nobody else may read: there whole or not at all, and for their owner only."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import mkstemp
from typing import IO


@contextmanager
def private_file(path: Path) -> Iterator[IO[bytes]]:
    """What to write to: a file beside ``path`` that becomes it at the end, in place of what is there.

    If anything is raised, it is gone, and what was at ``path`` is still there. Raises OSError.
    """
    # Made with mode 0600. Its name does not grow with that of the file, which may be as long as names can be.
    handle, beside = mkstemp(prefix=".backchat-", suffix=".part", dir=path.parent)
    try:
        with open(handle, "wb") as sink:
            yield sink
            sink.flush()
            os.fsync(handle)
        os.replace(beside, path)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(beside)
        raise
