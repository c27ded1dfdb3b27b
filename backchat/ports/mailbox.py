"""Between a store that tells of records and the one who watches them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from backchat.ports.storage import Record


class Mailbox:
    """Records that were put in, in batches, until an error was. For use on one event loop; it never ends by itself."""

    def __init__(self) -> None:
        self._records: list[Record] = []
        self._error: Exception | None = None
        self._something = asyncio.Event()

    def put(self, records: Sequence[Record]) -> None:
        if records:
            self._records += records
            self._something.set()

    def fail(self, error: Exception) -> None:
        """The reader gets what was put in before, then this."""
        self._error = error
        self._something.set()

    def __aiter__(self) -> Mailbox:
        return self

    async def __anext__(self) -> Sequence[Record]:
        await self._something.wait()
        if self._records:
            told, self._records = self._records, []
            if self._error is None:
                self._something.clear()
            return told
        assert self._error is not None
        raise self._error
