"""Signals. SIGTERM and SIGINT: the first asks for an orderly end, the second for a quick one. SIGHUP: read anew."""

from __future__ import annotations

import asyncio
import signal


class Stop:
    """``asked`` is set by the first signal, ``hurried`` by the next one. Make it inside the running loop."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.hurried = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.ask)

    def ask(self) -> None:
        (self.hurried if self.asked.is_set() else self.asked).set()


class Hangup:
    """``asked`` is set by SIGHUP, where there is one. Make it inside the running loop."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        if hasattr(signal, "SIGHUP"):
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self.asked.set)
