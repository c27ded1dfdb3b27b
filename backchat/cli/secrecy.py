"""What keeps the memory of a server, with people's messages and keys in it, out of files and logs."""

from __future__ import annotations

import faulthandler
import os
import resource

from backchat.services.undumpable import make_undumpable

INSPECT = "BACKCHAT_INSPECT"
"""Set to anything, it lets tools of the same user look into the server: debuggers, profilers."""
_STDERR = 2


def guard_memory() -> None:
    """For this process and those that it starts: no core dumps, and nobody looks in.

    The limit alone does not do: a kernel that pipes dumps to a program, as most systems have it, does not obey it. What
    a crash leaves are the frames of all threads on standard error, without the values in them.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if not os.environ.get(INSPECT):
        make_undumpable()
    faulthandler.enable(_STDERR)
