"""Runs that this process works on."""

from __future__ import annotations

import asyncio
from typing import Literal

from backchat.domain.message import Message
from backchat.domain.run import Run
from backchat.errors import BackchatError
from backchat.services.runlog import RunLog

Reason = Literal["cancelled", "interrupted"]


class LiveRun:
    """A run that this process works on. ``calling``: the tools that its user allowed have been begun."""

    __slots__ = ("answer", "begun", "calling", "error", "finishing", "log", "reason", "run", "task")

    def __init__(self, run: Run, log: RunLog) -> None:
        self.run = run
        self.log = log
        self.answer: Message | None = None
        self.error: BackchatError | None = None
        self.reason: Reason | None = None
        self.begun = False
        self.calling = False
        self.finishing = False
        self.task: asyncio.Task[None] | None = None

    def stop(self, reason: Reason) -> None:
        """Ask the work to end early. Without effect once the end is being written.

        A task that has not begun is not cancelled, for it would end without a word: the work looks at the reason first.
        """
        if self.reason is None and not self.finishing and self.task is not None:
            self.reason = reason
            if self.begun:
                self.task.cancel()
